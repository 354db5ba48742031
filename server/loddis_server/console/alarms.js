/** New alarms, on whatever page: a notice with a picture, their number in the title, and a tone if it is wanted. */

import { byId, h } from "./dom.js";
import { percent, time } from "./format.js";
import { repeat } from "./polling.js";
import { server } from "./session.js";
import { thumbnail } from "./thumbnail.js";

/** @import { Event } from "./client/types.js" */

const EVERY_MS = 2000;
const OVERLAP_MS = 30_000;
const KINDS = ["track.confirmed"];
const SHOWN_MS = 20_000;
const MOST_NOTICES = 4;
const STORED = "loddis.sound";
const TITLE = document.title;

let unseen = 0;

/** Follow the events of all streams from now on. */
export function followAlarms() {
  const { signal } = new AbortController(); // as long as the page is open
  const news = new NewEvents();
  repeat(async () => announce(await news.ask()), { everyMs: EVERY_MS, signal });
  const sound = byId("sound");
  const isOn = () => localStorage.getItem(STORED) === "on";
  sound.setAttribute("aria-pressed", String(isOn()));
  sound.addEventListener("click", () => {
    localStorage.setItem(STORED, isOn() ? "off" : "on");
    sound.setAttribute("aria-pressed", String(isOn()));
    if (isOn()) {
      beep(); // browsers let a page sound only after a click
    }
  });
  for (const sign of ["focus", "pointerdown", "keydown"]) {
    addEventListener(sign, () => showUnseen(0));
  }
}

/**
 * Events that were not there when it was last asked. Frames of one camera may come later than those of another: what was
 * captured in the last half minute is asked for each time, and told by its id from what is known.
 */
class NewEvents {
  /** @type {Map<string, number>} id -> when it was captured, milliseconds since 1970 */
  #known = new Map();
  #isFirst = true;

  /** @returns {Promise<Event[]>} the oldest first; none when it is first asked */
  async ask() {
    // The server's clock counts, not the browser's.
    const newest = Math.max(...this.#known.values());
    const since = Number.isFinite(newest) ? new Date(newest - OVERLAP_MS) : await this.#start();
    const news = [];
    for await (const event of server().eventsAll({ kinds: KINDS, order: "oldest", since })) {
      if (!this.#known.has(event.id)) {
        news.push(event);
        this.#known.set(event.id, Date.parse(event.occurred_at));
      }
    }
    for (const [id, captured] of this.#known) {
      if (since && captured < since.getTime()) {
        this.#known.delete(id);
      }
    }
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    return isFirst ? [] : news;
  }

  async #start() {
    const [newest] = (await server().events({ kinds: KINDS, limit: 1 })).events;
    return newest ? new Date(Date.parse(newest.occurred_at) - OVERLAP_MS) : undefined;
  }
}

/** @param {Event[]} events */
function announce(events) {
  if (events.length === 0) {
    return;
  }
  showUnseen(document.hasFocus() ? 0 : unseen + events.length);
  const notices = byId("notices");
  for (const event of events.slice(-MOST_NOTICES)) {
    notices.prepend(notice(event));
  }
  while (notices.children.length > MOST_NOTICES) {
    notices.lastElementChild?.remove();
  }
  if (localStorage.getItem(STORED) === "on") {
    beep();
  }
}

/** @param {Event} event */
function notice(event) {
  const element = h(
    "a",
    { class: "notice", href: `#/streams/${encodeURIComponent(event.stream_id)}` },
    event.has_thumbnail ? thumbnail(event.id) : null,
    h(
      "span",
      {},
      h("strong", {}, event.stream_id),
      h("br"),
      `target, score ${percent(event.score)}`,
      h("br"),
      time(event.occurred_at),
    ),
  );
  setTimeout(() => element.remove(), SHOWN_MS);
  return element;
}

/** @param {number} events that nobody has looked at */
function showUnseen(events) {
  unseen = events;
  document.title = unseen ? `(${unseen}) ${TITLE}` : TITLE;
}

function beep() {
  const audio = new AudioContext();
  const tone = new OscillatorNode(audio, { frequency: 880 });
  const gain = new GainNode(audio, { gain: 0.2 });
  tone.connect(gain).connect(audio.destination);
  tone.onended = () => audio.close();
  tone.start();
  tone.stop(audio.currentTime + 0.18);
}
