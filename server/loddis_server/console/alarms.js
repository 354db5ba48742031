/** New alarms, on whatever page: notices with pictures, their number in the title, and a tone if it is wanted. */

import { byId, h } from "./dom.js";
import { count, percent, time } from "./format.js";
import { NewTargets } from "./new_events.js";
import { repeat } from "./polling.js";
import { beep, offerSound } from "./sound.js";
import { thumbnail } from "./thumbnail.js";

/** @import { Event } from "./client/types.js" */

const EVERY_MS = 2000;
const SHOWN_MS = 20_000;
const MOST_NOTICES = 4;
const TITLE = document.title;

let unseen = 0;

/** Follow the events of all streams from now on. */
export function followAlarms() {
  const targets = new NewTargets();
  const { signal } = new AbortController(); // as long as the page is open
  repeat(async () => announce(await targets.ask()), { everyMs: EVERY_MS, signal });
  offerSound();
  for (const sign of ["focus", "pointerdown", "keydown"]) {
    addEventListener(sign, () => showUnseen(0));
  }
  addEventListener("keydown", ({ key }) => {
    if (key === "Escape" && !document.querySelector("dialog[open]")) {
      byId("notices").replaceChildren();
    }
  });
}

/** @param {Event[]} events the oldest first */
function announce(events) {
  if (events.length === 0) {
    return;
  }
  showUnseen(document.hasFocus() ? 0 : unseen + events.length);
  const notices = byId("notices");
  const more = events.length - MOST_NOTICES;
  if (more > 0) {
    notices.prepend(notice(h("a", { href: "#/events" }, `and ${count(more, "more target")}`)));
  }
  for (const event of events.slice(-MOST_NOTICES)) {
    notices.prepend(notice(link(event)));
  }
  while (notices.children.length > MOST_NOTICES + Number(more > 0)) {
    notices.lastElementChild?.remove();
  }
  beep();
}

/** @param {Element} content */
function notice(content) {
  const close = h("button", { type: "button", "aria-label": "Close", click: () => element.remove() }, "×");
  const element = h("div", { class: "notice" }, content, close);
  setTimeout(() => element.remove(), SHOWN_MS);
  return element;
}

/** @param {Event} event */
function link(event) {
  return h(
    "a",
    { href: `#/streams/${encodeURIComponent(event.stream_id)}` },
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
}

/** @param {number} events that nobody has looked at */
function showUnseen(events) {
  unseen = events;
  document.title = unseen ? `(${unseen}) ${TITLE}` : TITLE;
}
