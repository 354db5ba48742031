/** A frame or a video from this computer, tried on the server. */

import { FrameError } from "./client/index.js";
import { fill, h, table } from "./dom.js";
import { count, number, percent, point } from "./format.js";
import { modelChoice } from "./model_choice.js";
import { server } from "./session.js";
import { showPicture } from "./thumbnail.js";

const VIDEO = /\.(mp4|mkv|avi|mov|ts|webm|m4v)$/i;
const MOST_ROWS = 500;

/** @param {import("./main.js").Page} page */
export function showTry({ container, signal, onFault, onRefusal }) {
  const file = h("input", { type: "file", name: "file", change: run });
  const model = modelChoice({ change: run, onFault, signal });
  const threshold = h("input", {
    name: "threshold",
    type: "number",
    min: 0,
    max: 1,
    step: 0.05,
    placeholder: "the model's",
    change: run,
  });
  const result = h("div", { "aria-live": "polite" });
  const drop = h(
    "label",
    { class: "drop", dragover: allow, drop: take },
    "A frame or a video: drop it here, or ",
    file,
  );
  let trial = new AbortController();
  fill(
    container,
    h(
      "div",
      { class: "heading" },
      h("h1", {}, "Try a frame"),
      h("label", {}, "Model", model),
      h("label", {}, "Scores from", threshold),
    ),
    h("p", { class: "quiet" }, "PNG, JPEG, TIFF, PGM or .npy, of one channel, 8 or 16 bit; or a short video."),
    drop,
    result,
  );
  signal.addEventListener("abort", () => trial.abort());
  for (const sign of ["dragover", "drop"]) {
    document.addEventListener(sign, (event) => event.preventDefault(), { signal }); // the browser would open the file
  }

  /** @param {DragEvent} event */
  function allow(event) {
    event.preventDefault();
  }
  /** @param {DragEvent} event */
  function take(event) {
    event.preventDefault();
    if (event.dataTransfer?.files.length) {
      file.files = event.dataTransfer.files;
      run();
    }
  }
  async function run() {
    const [chosen] = file.files ?? [];
    if (!chosen || !threshold.reportValidity()) {
      return;
    }
    trial.abort(); // the one before
    trial = new AbortController();
    const mine = trial.signal;
    const options = {
      model: model.value || undefined,
      scoreThreshold: threshold.value ? threshold.valueAsNumber : undefined,
      signal: mine,
    };
    onRefusal("");
    fill(result, h("p", { class: "quiet" }, "…"));
    try {
      await (chosen.type.startsWith("video/") || VIDEO.test(chosen.name) ? tryVideo : tryFrame)(
        chosen,
        options,
        result,
      );
    } catch (fault) {
      if (!mine.aborted) {
        fill(result);
        onRefusal(fault instanceof FrameError ? `${chosen.name} is no file of a kind that the server reads` : fault);
      }
    }
  }
}

/**
 * @param {File} file
 * @param {{model?: string, scoreThreshold?: number, signal: AbortSignal}} options
 * @param {Element} result
 */
async function tryFrame(file, options, result) {
  const found = await server().detect(file, options);
  const picture = await server().detectImage(file, options);
  const image = h("img", { alt: `the frame with ${count(found.detections.length, "detection")}` });
  showPicture(image, picture);
  const { frame, model, timing_ms: timing } = found;
  const rows = found.detections.map((one) => [
    one.class_name,
    percent(one.score),
    point(one.centroid_xy),
    one.box_xyxy.map((side) => side.toFixed(1)).join(", "),
    number(one.snr),
  ]);
  fill(
    result,
    h("div", { class: "picture" }, image),
    h(
      "p",
      { class: "quiet" },
      `${frame.width} × ${frame.height} ${frame.dtype} · ${model.name}:${model.version} · `,
      `${number(timing.total)} ms, the network ${number(timing.infer)} ms`,
    ),
    table(["Class", "Score #", "x, y px #", "Box, px #", "SNR #"], rows, "nothing found"),
  );
}

/**
 * @param {File} file
 * @param {{model?: string, scoreThreshold?: number, signal: AbortSignal}} options
 * @param {Element} result
 */
async function tryVideo(file, options, result) {
  const progress = h("p", { role: "status" });
  const body = h("tbody");
  const heads = ["Frame", "Seconds", "Track", "x, y px", "Score"].map((name) => h("th", { scope: "col" }, name));
  const list = h("table", {}, h("thead", {}, h("tr", {}, heads)), body);
  fill(result, progress, h("div", { class: "table" }, list));
  let frames = 0;
  let targets = 0;
  const began = performance.now();
  for await (const message of server().detectVideo(file, options)) {
    if (message.type === "frame") {
      frames += 1;
      for (const id of message.alarms.new) {
        targets += 1;
        const track = message.tracks.find((one) => one.track_id === id);
        if (track && targets <= MOST_ROWS) {
          const cells = [
            message.frame_index,
            number(message.timestamp_s, 2),
            `#${id}`,
            point(track.centroid_xy),
            percent(track.score),
          ];
          body.append(h("tr", {}, ...cells.map((cell) => h("td", { class: "number" }, cell))));
        }
      }
      const rate = frames / Math.max((performance.now() - began) / 1000, 0.001);
      fill(progress, `${count(frames, "frame")}, ${number(rate)} a second; ${count(targets, "target")}`);
    } else if (message.type === "problem") {
      body.append(h("tr", {}, h("td", { colspan: 5, class: "bad" }, message.problem.detail)));
    } else if (message.type === "end") {
      fill(progress, `${count(frames, "frame")}, ${count(targets, "target")}: ${message.reason}`);
    }
  }
}
