/** All streams at a glance: a picture of each, and how it goes. */

import { addStream } from "./add_stream.js";
import { fill, h } from "./dom.js";
import { causeOf, count, number, percent } from "./format.js";
import { pause, repeat, whenVisible } from "./polling.js";
import { server } from "./session.js";
import { showPicture } from "./thumbnail.js";

const STATUS_MS = 1000;
const PICTURE_MS = 400; // between rounds; one picture after the other, as a browser holds few connections to a server

/** @typedef {import("./client/types.js").StreamStatusDocument} StreamStatus */

/** @param {import("./main.js").Page} page */
export function showStreams({ container, signal, onFault }) {
  /** @type {Map<string, Card>} */
  const cards = new Map();
  const grid = h("div", { class: "streams" });
  const nothing = h("p", { class: "quiet", hidden: true }, "No streams: add one, or send frames with X-Stream-Id.");
  fill(
    container,
    h(
      "div",
      { class: "heading" },
      h("h1", {}, "Streams"),
      h("button", { type: "button", class: "main", click: () => addStream() }, "Add a stream"),
    ),
    nothing,
    grid,
  );
  repeat(
    async () => {
      const { streams } = await server().streams({ signal });
      onFault("");
      nothing.hidden = streams.length > 0;
      for (const status of streams) {
        let card = cards.get(status.stream_id);
        if (!card) {
          card = new Card(status.stream_id);
          cards.set(status.stream_id, card);
          grid.append(card.element);
        }
        card.show(status);
      }
      for (const [name, card] of cards) {
        if (!streams.some((status) => status.stream_id === name)) {
          card.element.remove();
          cards.delete(name);
        }
      }
    },
    { everyMs: STATUS_MS, signal, onFault },
  );
  showPictures(cards, signal);
}

/**
 * @param {Map<string, Card>} cards
 * @param {AbortSignal} signal
 */
async function showPictures(cards, signal) {
  while (!signal.aborted) {
    await whenVisible(signal);
    for (const card of [...cards.values()]) {
      if (!signal.aborted) {
        await card.showPicture(signal);
      }
    }
    await pause(PICTURE_MS, signal);
  }
}

class Card {
  #picture = h("img", { alt: "" });
  #state = h("span", { class: "badge" });
  #figures = h("p", { class: "figures" });
  #signs = h("p", { class: "signs" });
  #name;
  /** @type {number | null} */
  #newest = null;
  /** @type {number | null} */
  #drawn = null;

  /** @param {string} name */
  constructor(name) {
    this.#name = name;
    this.element = h(
      "a",
      { class: "card", href: `#/streams/${encodeURIComponent(name)}` },
      h("div", { class: "picture" }, this.#picture),
      h("p", { class: "name" }, h("strong", {}, name), this.#state),
      this.#figures,
      this.#signs,
    );
  }

  /** @param {StreamStatus} status */
  show(status) {
    const [state, kind] = stateOf(status);
    fill(this.#state, state);
    this.#state.className = `badge ${kind}`;
    const lag = status.lag_ms === null ? "" : ` · ${number(status.lag_ms, 0)} ms`;
    fill(this.#figures, `${number(status.fps)} FPS${lag} · ${count(status.tracks, "track")}`);
    fill(this.#signs, signsOf(status), livePd(status));
    this.#newest = status.last_frame_index;
  }

  /** @param {AbortSignal} signal */
  async showPicture(signal) {
    if (this.#newest === null || this.#newest === this.#drawn || !isInView(this.element)) {
      return;
    }
    try {
      const { frameIndex, picture } = await server().picture(this.#name, { scale: 1, signal });
      this.#drawn = frameIndex;
      showPicture(this.#picture, picture);
    } catch {
      // The stream is gone, or the server away: the list tells.
    }
  }
}

/**
 * Say in a word how a stream goes, and whether that is well.
 *
 * @param {StreamStatus} status
 * @returns {[string, string]}
 */
export function stateOf(status) {
  if (status.source) {
    const kinds = { live: "good", connecting: "fair", stalled: "bad", ended: "", failed: "bad" };
    return [status.source.state, kinds[status.source.state]];
  }
  return status.fps > 0 ? ["receiving", "good"] : ["waiting", "fair"];
}

/**
 * Say what an operator should know of a stream.
 *
 * @param {StreamStatus} status
 */
export function signsOf(status) {
  const { source, health, drift, false_alarms: alarms } = status;
  const signs = [];
  if (source?.cause && source.state !== "live") {
    signs.push(h("span", { class: "bad" }, causeOf(source)));
  }
  for (const condition of health?.conditions ?? []) {
    const kind = condition === "moving" ? "fair" : "bad"; // a camera may turn
    signs.push(h("span", { class: `badge ${kind}` }, condition.replace("_", " ")));
  }
  if (drift?.is_unlike) {
    signs.push(h("span", { class: "badge bad" }, "unlike the training domains"));
  }
  if (alarms) {
    const held = alarms.held_per_hour === null ? "" : `${number(alarms.held_per_hour)} of `;
    const settled = alarms.settled ? "" : " (settling)";
    signs.push(h("span", {}, `${held}${alarms.wanted_per_hour} false alarms an hour${settled}`));
  }
  return signs;
}

/**
 * Say how many of the injected targets are found, those of the middle SNR: all of them are on the stream's own page.
 *
 * @param {StreamStatus} status
 */
function livePd({ canary }) {
  const level = canary?.levels[Math.floor(canary.levels.length / 2)];
  return level?.pd == null ? null : h("span", {}, `Pd ${percent(level.pd)} at SNR ${level.snr}`);
}

/** @param {Element} element */
function isInView(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}
