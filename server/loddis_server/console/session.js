/** The server that this page talks to, and the key it brings. */

import { Client, ServerError } from "./client/index.js";
import { fill, h } from "./dom.js";
import { messageOf } from "./format.js";

/** Where the server is: the page's own folder, so that a proxy may put both under a path. */
const HERE = new URL("..", import.meta.url);
const STORED = `loddis.key ${HERE.pathname}`; // servers beside each other under one name have keys of their own

let client = clientWith(storedKey());

/** The client to use now; after the key has changed it is another one. */
export function server() {
  return client;
}

/**
 * Ask for the key.
 *
 * @param {string} [cause] why it is asked for
 * @returns {Promise<boolean>} whether one was given
 */
export function askForKey(cause = "") {
  if (document.querySelector("dialog.key")) {
    return Promise.resolve(false); // it is being asked for already
  }
  const key = h("input", { name: "key", type: "password", autocomplete: "off", spellcheck: "false" });
  const keep = h("input", { name: "keep", type: "checkbox" });
  key.value = storedKey() ?? "";
  keep.checked = localStorage.getItem(STORED) !== null;
  const fault = h("p", { class: "fault", role: "alert" }, cause);
  const dialog = h(
    "dialog",
    { class: "key", "aria-label": "API key" },
    h(
      "form",
      { submit },
      h("h2", {}, "API key"),
      fault,
      h("label", {}, "Key", key),
      h("label", { class: "check" }, keep, "Keep it on this computer, not only in this tab"),
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "button", click: () => dialog.close() }, "Cancel"),
        h("button", { type: "submit", class: "main" }, "Use it"),
      ),
    ),
  );
  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    let wanted;
    try {
      wanted = clientWith(key.value.trim() || undefined);
      if (key.value.trim()) {
        await wanted.models(); // none at all is not tried: it forgets the one there is
      }
    } catch (reason) {
      fill(fault, messageOf(reason));
      return;
    }
    store(key.value.trim(), keep.checked);
    client = wanted;
    dialog.close("used");
  }
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "used");
    });
  });
}

/**
 * Tell whether another key is what is wanted: one that may not do something is still one.
 *
 * @param {unknown} fault
 */
export function lacksKey(fault) {
  return fault instanceof ServerError && fault.status === 401;
}

/** @param {string | undefined} apiKey */
function clientWith(apiKey) {
  return new Client({ baseUrl: HERE, apiKey });
}

function storedKey() {
  return sessionStorage.getItem(STORED) ?? localStorage.getItem(STORED) ?? undefined;
}

/**
 * @param {string} key nothing forgets it
 * @param {boolean} forGood
 */
function store(key, forGood) {
  sessionStorage.removeItem(STORED);
  localStorage.removeItem(STORED);
  if (key) {
    (forGood ? localStorage : sessionStorage).setItem(STORED, key);
  }
}
