/** The console: which page is shown, how the server is, and what happens meanwhile. */

import { followAlarms } from "./alarms.js";
import { byId, fill, h } from "./dom.js";
import { showEvents } from "./events_page.js";
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
 * @property {(fault: unknown) => void} onFault tells of what went wrong, above the page
 */

/** @type {Record<string, (page: Page) => void>} */
const PAGES = {
  streams: (page) => (page.argument ? showStream(page) : showStreams(page)),
  events: showEvents,
  models: showModels,
  try: showTry,
};

let shown = new AbortController();

function showPage() {
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  const [name = "", argument = ""] = location.hash.replace(/^#\//, "").split("/");
  const known = Object.hasOwn(PAGES, name) ? name : "streams";
  for (const link of document.querySelectorAll("nav a")) {
    const isThis = link.getAttribute("href") === `#/${known}`;
    isThis ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  const fault = h("p", { class: "fault", role: "alert" });
  const container = h("div");
  fill(byId("page"), fault, container);
  /** @param {unknown} reason */
  const onFault = (reason) => {
    if (signal.aborted) {
      return;
    }
    fill(fault, reason instanceof Error ? reason.message : reason ? String(reason) : "");
    if (lacksKey(reason)) {
      renewKey("The server asks for a key.");
    }
  };
  PAGES[known]?.({ container, signal, argument: decodeURIComponent(argument), onFault });
}

/** @param {string} [cause] */
async function renewKey(cause) {
  if (await askForKey(cause)) {
    showPage();
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
addEventListener("hashchange", showPage);
showPage();
watchServer();
followAlarms();
