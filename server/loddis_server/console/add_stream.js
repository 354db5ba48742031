/** The dialog that lets the server read a camera or file. */

import { fill, h } from "./dom.js";
import { messageOf } from "./format.js";
import { modelChoice } from "./model_choice.js";
import { server } from "./session.js";

const ORIGINS = {
  url: { label: "Camera", hint: "rtsp://user:password@10.0.5.23/thermal, or http:// for motion JPEG" },
  path: { label: "File or folder", hint: "/srv/clips/clip.mp4" },
  device: { label: "Device", hint: "/dev/video0" },
};

/** Ask for a stream and open it; the list shows it then. */
export function addStream() {
  const name = h("input", { name: "stream", required: true, maxlength: 64, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*" });
  const origin = h("select", { name: "origin" });
  fill(origin, ...Object.entries(ORIGINS).map(([value, { label }]) => h("option", { value }, label)));
  const place = h("input", { name: "place", required: true, autocomplete: "off", spellcheck: "false" });
  const model = modelChoice();
  const rate = numberField("rate", { min: 0.01, step: "any", placeholder: "not held" });
  const canary = numberField("canary", { min: 0.1, max: 600, step: "any", placeholder: "none" });
  const realtime = h("input", { name: "realtime", type: "checkbox" });
  const luma = h("input", { name: "luma", type: "checkbox" });
  const pace = h("label", { class: "check" }, realtime, "Play at its own pace, as a camera would");
  const fault = h("p", { class: "fault", role: "alert" });
  const dialog = h(
    "dialog",
    { "aria-label": "Add a stream", close: () => dialog.remove() },
    h(
      "form",
      { submit },
      h("h2", {}, "Add a stream"),
      fault,
      h("label", {}, "Name", name),
      h("label", {}, "Source", origin),
      h("label", {}, "Where it is", place),
      pace,
      h("label", { class: "check" }, luma, "A picture in colour: take its brightness"),
      h("label", {}, "Model", model),
      h("label", {}, "False alarms an hour to hold", rate),
      h("label", {}, "Synthetic targets a minute, to measure Pd", canary),
      h("p", { class: "quiet" }, "Either of the two replaces all of the server's defaults for streams."),
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "button", click: () => dialog.close() }, "Cancel"),
        h("button", { type: "submit", class: "main" }, "Add"),
      ),
    ),
  );
  function suit() {
    const kind = /** @type {keyof typeof ORIGINS} */ (origin.value);
    place.placeholder = ORIGINS[kind].hint;
    pace.hidden = kind !== "path";
  }
  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    const isFile = origin.value === "path";
    /** @type {Record<string, unknown>} */
    const settings = {};
    if (rate.value) {
      settings.alarms = { wanted_per_hour: rate.valueAsNumber };
    }
    if (canary.value) {
      settings.canary = { per_minute: canary.valueAsNumber };
    }
    try {
      await server().createStream({
        streamId: name.value,
        source: {
          [origin.value]: place.value.trim(),
          take_luma: luma.checked,
          ...(isFile ? { realtime: realtime.checked } : {}),
        },
        model: model.value || undefined,
        settings: Object.keys(settings).length ? settings : undefined,
      });
      dialog.close();
    } catch (reason) {
      fill(fault, messageOf(reason));
    }
  }
  origin.addEventListener("change", suit);
  suit();
  document.body.append(dialog);
  dialog.showModal();
}

/**
 * @param {string} name
 * @param {Record<string, unknown>} limits
 */
function numberField(name, limits) {
  return h("input", { name, type: "number", ...limits });
}
