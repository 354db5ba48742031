/** Whether events are stored and reach their receivers; silent where there is nothing to say. */

import { fill, h } from "./dom.js";
import { count, time } from "./format.js";
import { changes, repeat } from "./polling.js";
import { server } from "./session.js";

const EVERY_MS = 3000;

/**
 * @param {Element} element to fill
 * @param {AbortSignal} signal
 * @param {(fault: unknown) => void} onRefusal tells of what was asked for and did not work
 */
export function showDeliveries(element, signal, onRefusal) {
  const differs = changes();
  const refresh = async () => {
    const overview = await server().deliveries({ signal });
    const shown = [storeLine(overview.store), ...overview.receivers.map((receiver) => receiverLine(receiver, retry))];
    if (differs([overview.store, overview.receivers.map(({ lag_s, ...rest }) => rest)])) {
      fill(element, shown);
    }
  };
  /** @param {string} receiver */
  async function retry(receiver) {
    onRefusal("");
    try {
      await server().retryDeliveries(receiver);
      await refresh();
    } catch (fault) {
      onRefusal(fault);
    }
  }
  repeat(refresh, { everyMs: EVERY_MS, signal });
}

/** @param {import("./client/types.js").DeliveryOverview["store"]} store */
function storeLine({ state, waiting, dropped }) {
  if (state === "ok" && !dropped) {
    return null;
  }
  const lost = dropped ? `; ${count(dropped, "event")} lost since the server started` : "";
  return h("p", { class: "bad" }, `Event database: ${state}, ${count(waiting, "event")} in memory${lost}`);
}

/**
 * @param {import("./client/types.js").DeliveryOverview["receivers"][number]} receiver
 * @param {(name: string) => void} retry
 */
function receiverLine({ name, kind, state, cause, failing_since: since, waiting, set_aside: aside }, retry) {
  const kinds = { idle: "good", delivering: "good", failing: "bad", standby: "" };
  return h(
    "p",
    {},
    h("strong", {}, name),
    ` ${kind} `,
    h("span", { class: `badge ${kinds[state]}` }, state),
    since ? ` since ${time(since)}: ${cause}` : "",
    waiting ? ` · ${waiting} waiting` : "",
    aside ? ` · ${aside} set aside ` : "",
    aside ? h("button", { type: "button", click: () => retry(name) }, "Deliver again") : null,
  );
}
