/** What a stream says, in words, newest first. */

import { h } from "./dom.js";
import { causeOf, count, percent, point, time } from "./format.js";

/** @import { FrameMessage, StreamMessage } from "./client/types.js" */

const MOST_LINES = 200;

export class MessageList {
  element = h("ol", { class: "lines", reversed: true });

  /**
   * @param {string} text
   * @param {string} [kind]
   */
  add(text, kind = "") {
    this.element.prepend(h("li", { class: kind }, h("time", {}, time(Date.now() / 1000)), " ", text));
    while (this.element.children.length > MOST_LINES) {
      this.element.lastElementChild?.remove();
    }
  }

  /** @param {StreamMessage} message */
  addFrom(message) {
    switch (message.type) {
      case "frame":
        this.#addFrame(message);
        break;
      case "source":
        this.add(`source ${message.state}${message.cause ? `: ${causeOf(message)}` : ""}`);
        break;
      case "end":
        this.add(`the stream ended: ${message.reason}`);
    }
  }

  /** @param {FrameMessage} message */
  #addFrame({ alarms, frame_index: index, health, tracks, window }) {
    if (window.missing) {
      this.add(`${count(window.missing, "frame")} missing before ${index}`);
    }
    for (const condition of health.began) {
      this.add(`sensor: ${condition.replace("_", " ")}`, "bad");
    }
    for (const condition of health.ended) {
      this.add(`sensor: no longer ${condition.replace("_", " ")}`);
    }
    for (const id of alarms.ended) {
      this.add(`target #${id} is lost`);
    }
    for (const id of alarms.new) {
      const track = tracks.find((one) => one.track_id === id);
      const where = track ? ` at ${point(track.centroid_xy)}, score ${percent(track.score)}` : "";
      this.add(`target #${id}${where}`, "alarm");
    }
  }
}
