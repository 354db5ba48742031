/** One stream: live picture, tracks, and what it says. */

import { StreamNotFound } from "./client/index.js";
import { fill, h, table } from "./dom.js";
import { count, messageOf, number, percent, point, time } from "./format.js";
import { MessageList } from "./messages.js";
import { repeat, untilHidden, whenVisible } from "./polling.js";
import { server } from "./session.js";
import { signsOf, stateOf } from "./streams_page.js";

/** @import { StreamStatusDocument, TrackInfo } from "./client/types.js" */

const STATUS_MS = 1000;
const PICTURE_MS = 66; // at most fifteen pictures a second
const TABLE_MS = 200; // at most five new tables a second: nobody reads faster
const LISTEN_MS = 500;
const SCALE = 2;
const TRACK_COLUMNS = ["Track #", "State", "x, y px #", "px a frame #", "Score #", "SNR #", "Frames #"];

/** @param {import("./main.js").Page} page */
export function showStream({ container, signal, argument: name, onFault, onRefusal }) {
  const view = new StreamView(name, onRefusal);
  fill(container, view.element);
  repeat(
    async () => {
      view.showStatus(await server().stream(name, { signal }));
      onFault("");
    },
    {
      everyMs: STATUS_MS,
      signal,
      onFault: (fault) => {
        view.showStatus(null);
        onFault(fault);
      },
    },
  );
  repeat(() => view.draw(signal), { everyMs: PICTURE_MS, signal });
  repeat(() => view.listen(signal), {
    everyMs: LISTEN_MS,
    signal,
    onFault: (fault) => {
      if (!(fault instanceof StreamNotFound)) {
        view.messages.add(`connection lost: ${messageOf(fault)}`);
      }
    },
  });
}

/**
 * What is seen of a stream. One connection listens while the page is visible, and pictures are asked for one by one: a
 * browser holds few connections to a server, for all of its tabs together.
 */
class StreamView {
  messages = new MessageList();
  #badge = h("span", { class: "badge" });
  #canvas = h("canvas", { width: 640, height: 512, role: "img" });
  #figures = h("dl", { class: "figures" });
  #name;
  #signs = h("p", { class: "signs" });
  #tracks = h("div");
  /** @type {StreamStatusDocument | null} none while the stream is not known to be there */
  #status = null;
  /** @type {number | null} when the stream began whose end was told */
  #ended = null;
  /** @type {number | null} index of the frame that is drawn */
  #drawn = null;
  /** @type {number | null} index of the newest frame */
  #newest = null;

  /**
   * @param {string} name
   * @param {(fault: unknown) => void} onRefusal
   */
  constructor(name, onRefusal) {
    this.#name = name;
    this.#canvas.setAttribute("aria-label", `Live picture of ${name}`);
    const end = h(
      "button",
      { type: "button", class: "danger", click: () => endStream(name, onRefusal) },
      "End the stream",
    );
    this.element = h(
      "div",
      {},
      h(
        "div",
        { class: "heading" },
        h("h1", {}, name, this.#badge),
        h("button", { type: "button", click: () => this.#canvas.requestFullscreen() }, "Full screen"),
        end,
      ),
      h(
        "div",
        { class: "stream" },
        h("div", {}, h("div", { class: "picture" }, this.#canvas), this.#signs),
        h(
          "div",
          {},
          this.#figures,
          h("h2", {}, "Tracks"),
          this.#tracks,
          h("h2", {}, "Messages"),
          this.messages.element,
        ),
      ),
    );
    this.showStatus(null);
  }

  /** @param {StreamStatusDocument | null} status none: it is not there, or nobody knows */
  showStatus(status) {
    this.#status = status;
    this.element.classList.toggle("gone", status === null);
    const [state, kind] = status ? stateOf(status) : ["", ""];
    fill(this.#badge, state);
    this.#badge.className = `badge ${kind}`;
    fill(this.#signs, status ? signsOf(status) : []);
    fill(this.#figures, status ? figuresOf(status) : []);
    if (status === null) {
      this.#showTracks([]);
    }
    this.#newest = status?.last_frame_index ?? null;
  }

  /**
   * Draw the newest frame, if it is another one than before.
   *
   * @param {AbortSignal} signal
   */
  async draw(signal) {
    await whenVisible(signal);
    if (this.#newest === null || this.#newest === this.#drawn) {
      return;
    }
    const { frameIndex, picture } = await server().picture(this.#name, { scale: SCALE, signal });
    const bitmap = await createImageBitmap(picture);
    if (this.#canvas.width !== bitmap.width || this.#canvas.height !== bitmap.height) {
      this.#canvas.width = bitmap.width;
      this.#canvas.height = bitmap.height;
    }
    this.#canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
    bitmap.close();
    this.#drawn = frameIndex;
  }

  /**
   * Show what the stream says until it ends, or the page is hidden.
   *
   * @param {AbortSignal} signal
   */
  async listen(signal) {
    await whenVisible(signal);
    if (this.#status === null || this.#status.created_at === this.#ended) {
      return;
    }
    const began = this.#status.created_at;
    const visible = untilHidden(signal);
    let shownAt = 0;
    try {
      for await (const message of server().streamDetections(this.#name, { signal: visible })) {
        this.messages.addFrom(message);
        if (message.type === "end") {
          this.#ended = began;
        } else if (message.type === "frame") {
          this.#newest = message.frame_index;
          const now = performance.now();
          if (now - shownAt >= TABLE_MS) {
            shownAt = now;
            this.#showTracks(message.tracks);
          }
        }
      }
    } catch (fault) {
      if (!visible.aborted) {
        throw fault;
      }
    }
  }

  /** @param {TrackInfo[]} tracks */
  #showTracks(tracks) {
    fill(this.#tracks, table(TRACK_COLUMNS, tracks.map(trackRow), "none"));
  }
}

/** @param {TrackInfo} track */
function trackRow(track) {
  return [
    `#${track.track_id}`,
    track.state,
    point(track.centroid_xy),
    point(track.velocity_xy),
    percent(track.score),
    number(track.snr),
    track.age_frames,
  ];
}

/** @param {StreamStatusDocument} status */
function figuresOf(status) {
  const { source, canary, drift, health } = status;
  /** @type {[string, string][]} */
  const figures = [
    ["Rate", `${number(status.fps)} FPS`],
    ["Frame in to answer out", status.lag_ms === null ? "–" : `${number(status.lag_ms)} ms`],
    ["Frames", `${status.frames}${status.refused ? `, ${status.refused} refused` : ""}`],
    ["Model", `${status.model.name}:${status.model.version}`],
    ["Threshold", number(status.score_threshold, 3)],
    ["Listeners", String(status.listeners)],
  ];
  if (source) {
    figures.push(["Source", `${source.state} since ${time(source.since)}`]);
    figures.push(["Reconnected", count(source.restarts, "time")]);
    figures.push(["Frames skipped", String(source.dropped)]);
  }
  if (health) {
    figures.push(["Sensor", health.conditions.join(", ").replace("_", " ") || "well"]);
  }
  if (drift) {
    const known = drift.distance === null ? drift.cause : `${number(drift.distance)} from ${drift.domain}`;
    figures.push(["Scene", known ?? "–"]);
  }
  for (const level of canary?.levels ?? []) {
    figures.push([`Pd at SNR ${level.snr}`, `${percent(level.pd)} of ${level.trials}`]);
  }
  return figures.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
}

/**
 * @param {string} name
 * @param {(fault: unknown) => void} onRefusal
 */
async function endStream(name, onRefusal) {
  if (!confirm(`End ${name}? Its tracks are forgotten, whoever listens is told.`)) {
    return;
  }
  try {
    await server().deleteStream(name);
    location.hash = "#/streams";
  } catch (fault) {
    onRefusal(fault);
  }
}
