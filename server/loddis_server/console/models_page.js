/** Models: what is served, what could be, and how good each is. */

import { fill, h, table } from "./dom.js";
import { changes, repeat } from "./polling.js";
import { server } from "./session.js";

const EVERY_MS = 2000;

/** @param {import("./main.js").Page} page */
export function showModels({ container, signal, onFault, onRefusal }) {
  const repository = h("div");
  const served = h("div");
  fill(container, h("div", { class: "heading" }, h("h1", {}, "Models")), repository, served);
  const differs = changes();
  const refresh = async () => {
    const found = await server().models({ signal });
    onFault("");
    if (differs(found)) {
      fill(repository, versionTable(found.repository, act));
      fill(served, found.models.map(describe));
    }
  };
  /** @param {Promise<unknown>} change */
  async function act(change) {
    onRefusal("");
    try {
      await change;
      await refresh();
    } catch (fault) {
      onRefusal(fault);
    }
  }
  repeat(refresh, { everyMs: EVERY_MS, signal, onFault });
}

/**
 * @param {import("./client/types.js").ModelVersion[]} versions
 * @param {(change: Promise<unknown>) => void} act
 */
function versionTable(versions, act) {
  const rows = versions.map(({ name, version, state, cause, newest, default: isDefault, leases }) => {
    const kinds = { ready: "good", loading: "fair", unloading: "fair", failed: "bad", available: "" };
    const load = () => act(server().loadModel(name, version));
    const unload = () => act(server().unloadModel(name, version));
    return [
      name,
      version,
      h("span", { class: `badge ${kinds[state]}`, title: cause ?? "" }, state),
      [newest ? "newest" : "", isDefault ? "default" : ""].filter(Boolean).join(", "),
      leases,
      state === "ready"
        ? h("button", { type: "button", click: unload }, "Unload")
        : h("button", { type: "button", click: load, disabled: state === "loading" }, "Load"),
      cause,
    ];
  });
  return table(["Model", "Version", "State", "", "In use by #", "", ""], rows, "none");
}

/** @param {import("./client/types.js").ModelList["models"][number]} model */
function describe(model) {
  const [height, width] = model.size_hw;
  const domains = Object.entries(model.metrics);
  const names = [...new Set(domains.flatMap(([, metrics]) => Object.keys(metrics)))];
  const rows = domains.map(([domain, metrics]) => [domain, ...names.map((name) => shown(name, metrics[name]))]);
  return h(
    "section",
    {},
    h("h2", {}, `${model.name}:${model.version}`),
    h(
      "p",
      { class: "quiet" },
      `${model.variant}, ${width} × ${height}, ${model.precision} on ${model.device}, `,
      `${model.window === 1 ? "single frames" : `windows of ${model.window} frames`}; finds ${model.classes.join(", ")}`,
    ),
    table(["Domain", ...names.map((name) => `${title(name)} #`)], rows, "no figures"),
  );
}

/**
 * @param {string} name
 * @param {number | undefined} value
 */
function shown(name, value) {
  if (value === undefined) {
    return "–";
  }
  if (Number.isInteger(value) && value > 1) {
    return value.toLocaleString();
  }
  return name.startsWith("fa") || value > 1 ? value.toPrecision(3) : `${(100 * value).toFixed(1)} %`;
}

/**
 * Write a metric's name as the field does.
 *
 * @param {string} name as manifests have it
 */
function title(name) {
  const known = { map50: "mAP50", pr: "Pr", re: "Re", f1: "F1", pd: "Pd", fa_per_frame: "Fa per frame" };
  const other = name
    .replace(/^pd_at_fa_/, "Pd at Fa ")
    .replace(/_px$/, ", px")
    .replaceAll("_", " ");
  return Object.hasOwn(known, name) ? known[/** @type {keyof typeof known} */ (name)] : other;
}
