/** New alarms, on whatever page: a notice with a picture, their number in the title, and a tone if it is wanted. */

import { byId, h } from "./dom.js";
import { percent, time } from "./format.js";
import { repeat } from "./polling.js";
import { server } from "./session.js";

const EVERY_MS = 2000;
const SHOWN_MS = 20_000;
const MOST_NOTICES = 4;
const STORED = "loddis.sound";
const TITLE = document.title;

let unseen = 0;

/** Follow the events of all streams from now on. */
export function followAlarms() {
  const { signal } = new AbortController(); // as long as the page is open
  const kinds = ["track.confirmed"];
  /** @type {string | undefined} */
  let since;
  /** @type {string | undefined} */
  let cursor;
  const seen = new Set();
  repeat(
    async () => {
      if (since === undefined) {
        // The server's clock counts, not the browser's: what is new comes after the newest event that there is.
        const [newest] = (await server().events({ kinds, limit: 1 })).events;
        since = newest?.occurred_at ?? new Date(0).toISOString();
        seen.add(newest?.id);
      }
      const page = await server().events({ kinds, order: "oldest", limit: 100, since, cursor });
      cursor = page.next_cursor ?? undefined;
      const news = page.events.filter((event) => !seen.has(event.id));
      if (news.length) {
        seen.clear();
        announce(news);
      }
    },
    { everyMs: EVERY_MS, signal },
  );
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
    addEventListener(sign, () => count(0));
  }
}

/** @param {import("./client/types.js").Event[]} events */
function announce(events) {
  count(document.hasFocus() ? 0 : unseen + events.length);
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

/** @param {import("./client/types.js").Event} event */
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

/**
 * Show the picture of an event; it is fetched, since an image element brings no key.
 *
 * @param {string} eventId
 */
export function thumbnail(eventId) {
  const image = h("img", { alt: "the target", width: 64, height: 64, class: "thumbnail" });
  server()
    .thumbnail(eventId)
    .then((picture) => {
      image.addEventListener("load", () => URL.revokeObjectURL(image.src));
      image.src = URL.createObjectURL(picture);
    })
    .catch(() => image.remove()); // deleted meanwhile
  return image;
}

/** @param {number} events that nobody has looked at */
function count(events) {
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
