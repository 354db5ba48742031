/** One stream: live picture, tracks, and what it says. */

import { StreamNotFound } from "./client/index.js";
import { fill, h, table } from "./dom.js";
import { count, number, percent, point, time } from "./format.js";
import { repeat } from "./polling.js";
import { server } from "./session.js";
import { signsOf, stateOf } from "./streams_page.js";

const STATUS_MS = 1000;
const TABLE_MS = 200; // at most five new tables a second: nobody reads faster
const RECONNECT_MS = 500;
const MOST_LINES = 200;
const PREVIEW = { fps: 15, scale: 2 };

/** @typedef {import("./client/types.js").FrameMessage} FrameMessage */

/** @param {import("./main.js").Page} page */
export function showStream({ container, signal, argument: name, onFault, onRefusal }) {
  const canvas = h("canvas", { width: 640, height: 512, role: "img", "aria-label": `Live picture of ${name}` });
  const badge = h("span", { class: "badge" });
  const figures = h("dl", { class: "figures" });
  const signs = h("p", { class: "signs" });
  const tracks = h("div");
  const lines = new Lines();
  fill(
    container,
    h(
      "div",
      { class: "heading" },
      h("h1", {}, name, badge),
      h("button", { type: "button", click: () => canvas.requestFullscreen() }, "Full screen"),
      h("button", { type: "button", class: "danger", click: () => endStream(name, onRefusal) }, "End the stream"),
    ),
    h(
      "div",
      { class: "stream" },
      h("div", {}, h("div", { class: "picture" }, canvas), signs),
      h("div", {}, figures, h("h2", {}, "Tracks"), tracks, h("h2", {}, "Messages"), lines.element),
    ),
  );
  repeat(
    async () => {
      const status = await server().stream(name, { signal });
      onFault("");
      const [state, kind] = stateOf(status);
      fill(badge, state);
      badge.className = `badge ${kind}`;
      fill(signs, signsOf(status));
      fill(figures, figuresOf(status));
    },
    { everyMs: STATUS_MS, signal, onFault },
  );
  repeat(() => draw(name, canvas, signal), { everyMs: RECONNECT_MS, signal });
  repeat(() => listen(name, tracks, lines, signal), {
    everyMs: RECONNECT_MS,
    signal,
    onFault: (fault) => {
      fill(tracks, table(TRACK_COLUMNS, [], "none"));
      if (!(fault instanceof StreamNotFound)) {
        lines.add(`connection lost: ${fault instanceof Error ? fault.message : fault}`);
      }
    },
  });
}

/**
 * @param {string} name
 * @param {HTMLCanvasElement} canvas
 * @param {AbortSignal} signal
 */
async function draw(name, canvas, signal) {
  for await (const { picture } of server().preview(name, { ...PREVIEW, signal })) {
    if (document.hidden) {
      continue;
    }
    const bitmap = await createImageBitmap(picture);
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
    bitmap.close();
  }
}

const TRACK_COLUMNS = ["Track #", "State", "x, y px #", "px a frame #", "Score #", "SNR #", "Frames #"];

/**
 * @param {string} name
 * @param {Element} tracks
 * @param {Lines} lines
 * @param {AbortSignal} signal
 */
async function listen(name, tracks, lines, signal) {
  let shownAt = 0;
  for await (const message of server().streamDetections(name, { signal })) {
    if (message.type === "frame") {
      lines.addFrom(message);
      const now = performance.now();
      if (now - shownAt >= TABLE_MS) {
        shownAt = now;
        fill(tracks, table(TRACK_COLUMNS, message.tracks.map(trackRow), "none"));
      }
    } else if (message.type === "source") {
      lines.add(`source ${message.state}${message.cause ? `: ${message.cause}` : ""}`);
    } else if (message.type === "end") {
      lines.add(`the stream ended: ${message.reason}`);
    }
  }
}

/** @param {FrameMessage["tracks"][number]} track */
function trackRow(track) {
  return [
    `#${track.track_id}`,
    track.state,
    point(track.centroid_xy),
    point(track.velocity_xy),
    percent(track.score),
    number(track.snr),
    track.age_frames,
  ];
}

/** @param {import("./client/types.js").StreamStatusDocument} status */
function figuresOf(status) {
  const { source, canary, drift, health } = status;
  /** @type {[string, string][]} */
  const figures = [
    ["Rate", `${number(status.fps)} FPS`],
    ["Frame in to answer out", status.lag_ms === null ? "–" : `${number(status.lag_ms)} ms`],
    ["Frames", `${status.frames}${status.refused ? `, ${status.refused} refused` : ""}`],
    ["Model", `${status.model.name}:${status.model.version}`],
    ["Threshold", number(status.score_threshold, 3)],
    ["Listeners", String(status.listeners)],
  ];
  if (source) {
    figures.push(["Source", `${source.state} since ${time(source.since)}`]);
    figures.push(["Reconnected", count(source.restarts, "time")]);
    figures.push(["Frames skipped", String(source.dropped)]);
  }
  if (health) {
    figures.push(["Sensor", health.conditions.join(", ").replace("_", " ") || "well"]);
  }
  if (drift) {
    const known = drift.distance === null ? drift.cause : `${number(drift.distance)} from ${drift.domain}`;
    figures.push(["Scene", known ?? "–"]);
  }
  for (const level of canary?.levels ?? []) {
    figures.push([`Pd at SNR ${level.snr}`, `${percent(level.pd)} of ${level.trials}`]);
  }
  return figures.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
}

/**
 * @param {string} name
 * @param {(fault: unknown) => void} onRefusal
 */
async function endStream(name, onRefusal) {
  if (!confirm(`End ${name}? Its tracks are forgotten, whoever listens is told.`)) {
    return;
  }
  try {
    await server().deleteStream(name);
    location.hash = "#/streams";
  } catch (fault) {
    onRefusal(fault);
  }
}

/** What happened, newest first. */
class Lines {
  element = h("ol", { class: "lines", reversed: true });

  /**
   * @param {string} text
   * @param {string} [kind]
   */
  add(text, kind = "") {
    this.element.prepend(h("li", { class: kind }, h("time", {}, time(Date.now() / 1000)), " ", text));
    while (this.element.children.length > MOST_LINES) {
      this.element.lastElementChild?.remove();
    }
  }

  /** @param {FrameMessage} message */
  addFrom(message) {
    const { alarms, health, tracks, window } = message;
    for (const id of alarms.new) {
      const track = tracks.find((one) => one.track_id === id);
      this.add(
        track ? `target #${id} at ${point(track.centroid_xy)}, score ${percent(track.score)}` : `target #${id}`,
        "alarm",
      );
    }
    for (const id of alarms.ended) {
      this.add(`target #${id} is lost`);
    }
    for (const condition of health.began) {
      this.add(`sensor: ${condition.replace("_", " ")}`, "bad");
    }
    for (const condition of health.ended) {
      this.add(`sensor: no longer ${condition.replace("_", " ")}`);
    }
    if (window.missing) {
      this.add(`${count(window.missing, "frame")} missing before ${message.frame_index}`);
    }
  }
}
