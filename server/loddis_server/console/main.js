/** The console: which page is shown, how the server is, and what happens meanwhile. */

import { followAlarms } from "./alarms.js";
import { byId, fill, h } from "./dom.js";
import { showEvents } from "./events_page.js";
import { messageOf } from "./format.js";
import { showModels } from "./models_page.js";
import { repeat } from "./polling.js";
import { askForKey, lacksKey, server } from "./session.js";
import { showStream } from "./stream_page.js";
import { showStreams } from "./streams_page.js";
import { showTry } from "./try_page.js";

/**
 * @typedef {object} Page
 * @property {HTMLElement} container to fill
 * @property {AbortSignal} signal that another page is shown
 * @property {string} argument what follows the page's name in the address
 * @property {(fault: unknown) => void} onFault tells above the page of what goes wrong by itself; an empty text takes it back
 * @property {(fault: unknown) => void} onRefusal tells above the page of what was asked for and did not work; it stays until
 *   something else is asked for
 */

/** @type {Record<string, (page: Page) => void>} */
const PAGES = {
  streams: (page) => (page.argument ? showStream(page) : showStreams(page)),
  events: showEvents,
  models: showModels,
  try: showTry,
};

let shown = new AbortController();
let hasDeclined = false; // to give a key; another page, or the button, asks again

function showPage() {
  shown.abort();
  shown = new AbortController();
  hasDeclined = false;
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.close(); // they belong to the page before
  }
  const { signal } = shown;
  const [name = "", argument = ""] = location.hash.replace(/^#\//, "").split("/");
  const known = Object.hasOwn(PAGES, name) ? name : "streams";
  for (const link of document.querySelectorAll("nav a")) {
    const isThis = link.getAttribute("href") === `#/${known}`;
    isThis ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  const container = h("div");
  const [fault, refusal] = [h("p", { class: "fault", role: "alert" }), h("p", { class: "fault", role: "alert" })];
  fill(byId("page"), refusal, fault, container);
  /** @type {(element: Element) => (reason: unknown) => void} */
  const telling = (element) => (reason) => {
    if (signal.aborted) {
      return;
    }
    fill(element, reason ? messageOf(reason) : "");
    if (lacksKey(reason) && !hasDeclined) {
      renewKey("The server asks for a key.");
    }
  };
  PAGES[known]?.({
    container,
    signal,
    argument: decoded(argument),
    onFault: telling(fault),
    onRefusal: telling(refusal),
  });
}

/** @param {string} part of the address; one that nobody encoded is taken as it is */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** @param {string} [cause] */
async function renewKey(cause) {
  if (await askForKey(cause)) {
    showPage();
  } else {
    hasDeclined = true;
  }
}

function watchServer() {
  const badge = byId("server");
  /**
   * @param {string} text
   * @param {string} kind
   */
  const say = (text, kind) => {
    if (badge.textContent !== text) {
      fill(badge, text);
      badge.className = `badge ${kind}`;
    }
  };
  repeat(
    async () => {
      const { version, status } = await server().info();
      say(`${status} · ${version}`, status === "ready" ? "good" : "bad");
    },
    { everyMs: 3000, signal: new AbortController().signal, onFault: () => say("cannot be reached", "bad") },
  );
}

byId("key").addEventListener("click", () => renewKey());
addEventListener("hashchange", () => {
  showPage();
  byId("page").focus({ preventScroll: true }); // where a keyboard goes on, and a screen reader begins
});
watchServer();
followAlarms();
showPage();
