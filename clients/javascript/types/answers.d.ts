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
export function documentOf(response: Response, url: URL, key: string, { limit }?: {
    limit?: number;
}): Promise<any>;
/**
 * Give what came of one frame of a batch: its result, or the error of its problem.
 *
 * @param {any} item
 * @param {URL} url That answered.
 * @returns {DetectResponse | LoddisClientError}
 * @throws {ProtocolError} It is neither.
 */
export function outcomeOf(item: any, url: URL): DetectResponse | LoddisClientError;
/**
 * Give a problem document, once it is sure to be one.
 *
 * @param {any} problem
 * @param {URL} url That answered.
 * @returns {ProblemDocument}
 * @throws {ProtocolError} It is none.
 */
export function checkProblem(problem: any, url: URL): ProblemDocument;
/**
 * Give the picture of an answer.
 *
 * @param {Response} response
 * @param {URL} url
 * @param {string} type
 * @param {{limit?: number}} [options] Bytes that it may have.
 * @returns {Promise<Blob>}
 */
export function pictureOf(response: Response, url: URL, type: string, { limit }?: {
    limit?: number;
}): Promise<Blob>;
/**
 * Give the error of an answer that is none of 200 to 299; a page that is no problem document (a proxy's, say) is kept
 * as text, what is longer than any is cut. A problem document that is none is a `ProtocolError`.
 *
 * @param {Response} response
 * @param {URL} url
 * @returns {Promise<LoddisClientError>}
 */
export function errorOf(response: Response, url: URL): Promise<LoddisClientError>;
/**
 * Give the seconds of `Retry-After`; a date, or nonsense, counts as none.
 *
 * @param {Response} response
 * @returns {number | null}
 */
export function retryAfterS(response: Response): number | null;
/**
 * Give the error of an answer that is not one of a Loddis server.
 *
 * @param {URL} url
 * @param {string} why
 */
export function notOurs(url: URL, why: string): ProtocolError;
/**
 * @param {string} text
 * @returns {any | null} Null: it is no JSON object.
 */
export function parseObject(text: string): any | null;
/** @import { DetectResponse, ProblemDocument } from "./types.js" */
/** @import { LoddisClientError } from "./errors.js" */
/** Bytes; of an answer, and of a picture as streams and events have them. */
export const LARGE: number;
/** Bytes; a picture of the largest frame that a server takes stays below, and so does the answer to a batch. */
export const LARGEST: number;
/** Bytes; of a refusal no more is read. */
export const LARGEST_PROBLEM: number;
import type { DetectResponse } from "./types.js";
import type { LoddisClientError } from "./errors.js";
import type { ProblemDocument } from "./types.js";
import { ProtocolError } from "./errors.js";
