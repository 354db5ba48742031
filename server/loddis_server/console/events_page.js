/** What happened: events of all streams, as they are stored. */

import { showDeliveries } from "./deliveries.js";
import { fill, h, table } from "./dom.js";
import { count, messageOf, number, percent, point, time } from "./format.js";
import { repeat } from "./polling.js";
import { server } from "./session.js";
import { thumbnail } from "./thumbnail.js";

const EVERY_MS = 3000;
const PAGE_EVENTS = 50;
const KINDS = {
  "track.confirmed": "target found",
  "track.ended": "target lost",
  health: "sensor",
  drift: "scene",
  source: "camera",
};

/** @typedef {import("./client/types.js").Event} EventRecord */

/** @param {import("./main.js").Page} page */
export function showEvents({ container, signal, onFault, onRefusal }) {
  const stream = h("input", { name: "stream", placeholder: "all", maxlength: 128, change: renew });
  const kind = h("select", { name: "kind", change: renew }, h("option", { value: "" }, "all"));
  kind.append(...Object.entries(KINDS).map(([value, text]) => h("option", { value }, text)));
  const until = h("input", { name: "until", type: "datetime-local", change: renew });
  const heads = ["", "When", "Stream", "What", "Score", ""].map((text) => h("th", { scope: "col" }, text));
  const body = h("tbody");
  const list = h("div", { class: "table" }, h("table", {}, h("thead", {}, h("tr", {}, heads)), body));
  const nothing = h("p", { class: "quiet", hidden: true }, "No events.");
  const older = h("button", { type: "button", hidden: true, click: () => goOn() }, "Older ones");
  const deliveries = h("div", { class: "deliveries" });
  fill(
    container,
    h(
      "div",
      { class: "heading" },
      h("h1", {}, "Events"),
      h("label", {}, "Stream", stream),
      h("label", {}, "Kind", kind),
      h("label", {}, "Before", until),
    ),
    deliveries,
    list,
    nothing,
    older,
  );
  /** @type {Map<string, HTMLElement>} */
  const rows = new Map();
  /** @type {EventRecord[]} */
  let events = [];
  /** @type {string | null} */
  let next = null;
  let isReadingOn = false; // older ones: what was read stays where it is
  let search = 0; // counts; what was asked for another one comes too late

  /** @param {string} [cursor] */
  function ask(cursor) {
    return server().events({
      streamId: stream.value || undefined,
      kinds: kind.value ? [kind.value] : undefined,
      until: until.value ? new Date(until.value) : undefined,
      limit: PAGE_EVENTS,
      cursor,
      signal,
    });
  }
  async function newest() {
    if (isReadingOn) {
      return;
    }
    const mine = search;
    const page = await ask();
    if (mine === search && !isReadingOn) {
      onFault("");
      show(page.events, page.next_cursor);
    }
  }
  async function renew() {
    search += 1;
    isReadingOn = false;
    onRefusal("");
    try {
      await newest();
    } catch (fault) {
      onRefusal(fault);
    }
  }
  async function goOn() {
    const mine = search;
    isReadingOn = true;
    older.disabled = true;
    onRefusal("");
    try {
      const page = await ask(next ?? undefined);
      if (mine === search) {
        show([...events, ...page.events], page.next_cursor);
      }
    } catch (fault) {
      onRefusal(fault);
    } finally {
      older.disabled = false;
    }
  }
  /**
   * Show events; rows that are there stay as they are, with their pictures and the keyboard's focus.
   *
   * @param {EventRecord[]} found
   * @param {string | null} cursor
   */
  function show(found, cursor) {
    [events, next] = [found, cursor];
    older.hidden = next === null;
    const before = new Map(rows);
    rows.clear();
    for (const [at, event] of events.entries()) {
      const row = before.get(event.id) ?? rowOf(event);
      rows.set(event.id, row);
      before.delete(event.id);
      if (body.children[at] !== row) {
        body.insertBefore(row, body.children[at] ?? null);
      }
    }
    for (const row of before.values()) {
      row.remove();
    }
    nothing.hidden = events.length > 0;
  }
  repeat(newest, { everyMs: EVERY_MS, signal, onFault });
  showDeliveries(deliveries, signal, onRefusal);
}

/** @param {EventRecord} event */
function rowOf(event) {
  const cells = [
    event.has_thumbnail ? thumbnail(event.id) : null,
    time(event.occurred_at),
    h("a", { href: `#/streams/${encodeURIComponent(event.stream_id)}` }, event.stream_id),
    describe(event),
    event.score === null ? null : percent(event.score),
    h("button", { type: "button", click: () => showDetails(event) }, "Details"),
  ];
  return h("tr", {}, ...cells.map((cell) => h("td", {}, cell)));
}

/**
 * Say what happened.
 *
 * @param {EventRecord} event
 */
function describe({ kind, payload }) {
  const said = /** @type {Record<string, any>} */ (payload);
  const what = KINDS[kind];
  switch (kind) {
    case "track.confirmed":
      return Array.isArray(said.centroid_xy) ? `${what} at ${point(said.centroid_xy)}, SNR ${number(said.snr)}` : what;
    case "track.ended":
      return `${what} after ${count(said.age_frames, "frame")}`;
    case "health":
      return `${what}: ${said.holds ? "" : "no longer "}${String(said.condition).replace("_", " ")}`;
    case "drift":
      return `${what}: ${said.is_unlike ? "unlike" : "like"} the training domains, ${number(said.distance)} from ${said.domain}`;
    case "source":
      return `${what} ${said.state}${said.cause ? `: ${said.cause}` : ""}`;
  }
}

/** @param {EventRecord} event */
async function showDetails(event) {
  const deliveries = h("div", {}, "…");
  const dialog = h(
    "dialog",
    { "aria-label": "Event", close: () => dialog.remove() },
    h("h2", {}, KINDS[event.kind]),
    h("pre", {}, JSON.stringify(event, null, 2)),
    h("h3", {}, "Yet to be delivered"),
    deliveries,
    h("div", { class: "buttons" }, h("button", { type: "button", click: () => dialog.close() }, "Close")),
  );
  document.body.append(dialog);
  dialog.showModal();
  try {
    const found = await server().event(event.id);
    const rows = found.deliveries.map((one) => [one.receiver, one.state.replace("_", " "), one.refusals, one.reason]);
    fill(deliveries, table(["Receiver", "State", "Refusals #", "Last reason"], rows, "nothing"));
  } catch (fault) {
    fill(deliveries, messageOf(fault));
  }
}
