/** What calls may ask for: checked before anything is sent, and put into addresses and headers. */

import { UsageError } from "./errors.js";

/** @import { DetectOptions, EventOptions, FramePlace } from "./types.js" */

export const DEFAULT_URL = "http://127.0.0.1:8080";
const STREAM_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/**
 * Give the base URL with a trailing slash, so that a path is kept. In a browser it may be relative to the page.
 *
 * @param {string | URL} baseUrl
 * @returns {URL}
 */
export function checkBaseUrl(baseUrl) {
  let url;
  try {
    url = new URL(String(baseUrl), globalThis.location?.href);
  } catch {
    url = null;
  }
  if (url === null || !["http:", "https:"].includes(url.protocol) || url.search || url.hash) {
    throw new UsageError(`baseUrl must be such as ${DEFAULT_URL}, got '${baseUrl}'`);
  }
  if (url.username || url.password) {
    throw new UsageError("baseUrl must not hold a user name; servers ask for an apiKey, if for anything");
  }
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url;
}

/** @param {string | undefined} apiKey */
export function checkApiKey(apiKey) {
  if (apiKey && !/^[\x21-\x7e]+$/.test(apiKey)) throw new UsageError("apiKey must be of visible ASCII characters");
}

/** @param {string} streamId */
export function checkStreamId(streamId) {
  if (typeof streamId !== "string" || !STREAM_ID.test(streamId)) {
    throw new UsageError(
      `streamId must be 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit, got ${shown(streamId)}`,
    );
  }
}

/**
 * Give the parameters of a detection.
 *
 * @param {DetectOptions} options
 * @param {string | undefined} defaultModel
 * @returns {URLSearchParams}
 */
export function detectParams({ scoreThreshold, maxDetections, model }, defaultModel) {
  const params = new URLSearchParams();
  if (scoreThreshold !== undefined) {
    checkShare("scoreThreshold", scoreThreshold);
    params.set("score_threshold", String(scoreThreshold));
  }
  if (maxDetections !== undefined) {
    checkWhole("maxDetections", maxDetections, 1);
    params.set("max_detections", String(maxDetections));
  }
  const wanted = model || defaultModel;
  if (wanted !== undefined) {
    checkModel(wanted);
    params.set("model", wanted);
  }
  return params;
}

/** @param {string} model */
export function checkModel(model) {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what no name has
  if (typeof model !== "string" || !model || /[\x00-\x1f\x7f]/.test(model)) {
    throw new UsageError(`model must be NAME or NAME:VERSION, got ${shown(model)}`);
  }
}

/**
 * Check where a frame belongs; the names are those that the server takes.
 *
 * @param {FramePlace} place
 */
export function checkPlace({ frameIndex, timestampS, reset }) {
  if (frameIndex !== undefined) checkWhole("frameIndex", frameIndex, 0);
  if (timestampS !== undefined && !Number.isFinite(timestampS)) {
    throw new UsageError(`timestampS must be a finite number of seconds, got ${shown(timestampS)}`);
  }
  return { frame_index: frameIndex, timestamp_s: timestampS, reset: reset || undefined };
}

/**
 * Give the headers that make a frame one of a stream; none where it stands for itself.
 *
 * @param {FramePlace & {streamId?: string | undefined}} options
 * @returns {Record<string, string>}
 */
export function placeHeaders({ streamId, frameIndex, timestampS, reset }) {
  if (streamId === undefined) {
    if (frameIndex !== undefined || timestampS !== undefined || reset) {
      throw new UsageError("frameIndex, timestampS and reset are of a stream: streamId must say which");
    }
    return {};
  }
  checkStreamId(streamId);
  const place = checkPlace({ frameIndex, timestampS, reset });
  /** @type {Record<string, string>} */
  const headers = { "X-Stream-Id": streamId };
  if (place.frame_index !== undefined) headers["X-Frame-Index"] = String(place.frame_index);
  if (place.timestamp_s !== undefined) headers["X-Frame-Timestamp"] = String(place.timestamp_s);
  if (place.reset) headers["X-Stream-Reset"] = "true";
  return headers;
}

/**
 * Give the parameters of a search for events.
 *
 * @param {EventOptions} options
 * @returns {URLSearchParams}
 */
export function eventParams({ streamId, kinds = [], since, until, minScore, order, limit, cursor }) {
  const params = new URLSearchParams();
  if (streamId !== undefined) params.set("stream_id", streamId);
  for (const kind of kinds) params.append("kind", kind);
  if (since !== undefined) params.set("since", timeText("since", since));
  if (until !== undefined) params.set("until", timeText("until", until));
  if (minScore !== undefined) {
    checkShare("minScore", minScore);
    params.set("min_score", String(minScore));
  }
  if (order !== undefined) params.set("order", order);
  if (limit !== undefined) {
    checkWhole("limit", limit, 1);
    params.set("limit", String(limit));
  }
  if (cursor !== undefined) params.set("cursor", cursor);
  return params;
}

/**
 * @param {string} name
 * @param {number} value
 * @param {number} least
 */
export function checkWhole(name, value, least) {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new UsageError(`${name} must be a whole number from ${least}, got ${shown(value)}`);
  }
}

/**
 * @param {string} name
 * @param {number} value
 */
function checkShare(name, value) {
  if (typeof value !== "number" || !(value >= 0 && value <= 1)) {
    throw new UsageError(`${name} must be in [0, 1], got ${shown(value)}`);
  }
}

/**
 * @param {string} name
 * @param {Date | string} time
 */
function timeText(name, time) {
  if (!(time instanceof Date)) return time;
  if (Number.isNaN(time.getTime())) throw new UsageError(`${name} must be a time, got an invalid Date`);
  return time.toISOString();
}

/** @param {unknown} value */
function shown(value) {
  return typeof value === "string" ? `'${value}'` : String(value);
}
