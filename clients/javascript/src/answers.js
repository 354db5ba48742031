/** What the server answered: documents as they are, or the error that they stand for. */

import { errorOfProblem, ProtocolError } from "./errors.js";
import { leave, readUpTo } from "./reading.js";

/** @import { DetectResponse, ProblemDocument } from "./types.js" */
/** @import { LoddisClientError } from "./errors.js" */

/** Bytes; of an answer, and of a picture as streams and events have them. */
export const LARGE = 2 ** 26;
/** Bytes; a picture of the largest frame that a server takes stays below, and so does the answer to a batch. */
export const LARGEST = 2 ** 28;
/** Bytes; of a refusal no more is read. */
export const LARGEST_PROBLEM = 2 ** 16;
const LONGEST_EXCERPT = 200;
const LISTS = new Set(["detections", "events", "models", "receivers", "results", "streams"]);

/**
 * Give the JSON object of an answer.
 *
 * @param {Response} response
 * @param {URL} url
 * @param {string} key That every such object has.
 * @param {{limit?: number}} [options] Bytes that it may have.
 * @returns {Promise<any>}
 * @throws {ServerError} The server refused.
 * @throws {ProtocolError} The answer is not one of a Loddis server.
 */
export async function documentOf(response, url, key, { limit = LARGE } = {}) {
  if (!response.ok) throw await errorOf(response, url);
  const document = parseObject(new TextDecoder().decode(await readWhole(response, url, limit)));
  if (document === null) throw notOurs(url, "it is no JSON object");
  if (!(key in document)) throw notOurs(url, `it has no ${key}`);
  if (LISTS.has(key) && !Array.isArray(document[key])) throw notOurs(url, `its ${key} are no list`);
  return document;
}

/**
 * Give what came of one frame of a batch: its result, or the error of its problem.
 *
 * @param {any} item
 * @param {URL} url That answered.
 * @returns {DetectResponse | LoddisClientError}
 * @throws {ProtocolError} It is neither.
 */
export function outcomeOf(item, url) {
  const { problem = null, result = null } = item ?? {};
  if (problem !== null) return errorOfProblem(checkProblem(problem, url));
  if (!Array.isArray(result?.detections)) throw notOurs(url, "one of its results is neither a result nor a problem");
  return result;
}

/**
 * Give a problem document, once it is sure to be one.
 *
 * @param {any} problem
 * @param {URL} url That answered.
 * @returns {ProblemDocument}
 * @throws {ProtocolError} It is none.
 */
export function checkProblem(problem, url) {
  if (problem === null || typeof problem !== "object") throw notOurs(url, "a problem is no problem document");
  for (const name of ["type", "title", "detail"]) {
    if (typeof problem[name] !== "string") throw notOurs(url, `the ${name} of a problem is no text`);
  }
  if (typeof problem.status !== "number") throw notOurs(url, "the status of a problem is no number");
  return problem;
}

/**
 * Give the picture of an answer.
 *
 * @param {Response} response
 * @param {URL} url
 * @param {string} type
 * @param {{limit?: number}} [options] Bytes that it may have.
 * @returns {Promise<Blob>}
 */
export async function pictureOf(response, url, type, { limit = LARGE } = {}) {
  if (!response.ok) throw await errorOf(response, url);
  const came = response.headers.get("Content-Type") ?? "nothing that is said";
  if (came.split(";")[0]?.trim() !== type) throw notOurs(url, `expected ${type}, got ${came}`);
  return new Blob([await readWhole(response, url, limit)], { type });
}

/**
 * Give the error of an answer that is none of 200 to 299; a page that is no problem document (a proxy's, say) is kept
 * as text, what is longer than any is cut. A problem document that is none is a `ProtocolError`.
 *
 * @param {Response} response
 * @param {URL} url
 * @returns {Promise<LoddisClientError>}
 */
export async function errorOf(response, url) {
  const { status, statusText } = response;
  if (status < 400) {
    leave(response);
    return notOurs(url, `status ${status} was not expected`); // 0 and 3xx: it leads elsewhere
  }
  const text = new TextDecoder().decode((await readUpTo(response, LARGEST_PROBLEM)).bytes);
  const came = parseObject(text);
  const excerpt = text.trim().replace(/\s+/g, " ").slice(0, LONGEST_EXCERPT);
  const said = `HTTP ${status} ${statusText}`.trim();
  /** @type {ProblemDocument} */
  const problem = {
    type: "about:blank",
    title: statusText || `HTTP ${status}`,
    detail: came?.title ?? (excerpt ? `${said}: ${excerpt}` : said),
    instance: url.pathname,
    request_id: response.headers.get("X-Request-Id") ?? "",
    ...came,
    status,
  };
  return errorOfProblem(checkProblem(problem, url), { retryAfterS: retryAfterS(response) });
}

/**
 * Give the seconds of `Retry-After`; a date, or nonsense, counts as none.
 *
 * @param {Response} response
 * @returns {number | null}
 */
export function retryAfterS(response) {
  const seconds = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

/**
 * Give the error of an answer that is not one of a Loddis server.
 *
 * @param {URL} url
 * @param {string} why
 */
export function notOurs(url, why) {
  return new ProtocolError(`${url} did not answer as a Loddis server does: ${why}`);
}

/**
 * @param {Response} response
 * @param {URL} url
 * @param {number} limit
 */
async function readWhole(response, url, limit) {
  const { bytes, isWhole } = await readUpTo(response, limit);
  if (!isWhole) throw notOurs(url, `it has more than ${limit} bytes`);
  return bytes;
}

/**
 * @param {string} text
 * @returns {any | null} Null: it is no JSON object.
 */
export function parseObject(text) {
  try {
    const document = JSON.parse(text);
    return typeof document === "object" && !Array.isArray(document) ? document : null;
  } catch {
    return null;
  }
}
