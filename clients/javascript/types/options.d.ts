/**
 * Give the base URL with a trailing slash, so that a path is kept. In a browser it may be relative to the page.
 *
 * @param {string | URL} baseUrl
 * @returns {URL}
 */
export function checkBaseUrl(baseUrl: string | URL): URL;
/** @param {string | undefined} apiKey */
export function checkApiKey(apiKey: string | undefined): void;
/** @param {string} streamId */
export function checkStreamId(streamId: string): void;
/**
 * Give the parameters of a detection.
 *
 * @param {DetectOptions} options
 * @param {string | undefined} defaultModel
 * @returns {URLSearchParams}
 */
export function detectParams({ scoreThreshold, maxDetections, model }: DetectOptions, defaultModel: string | undefined): URLSearchParams;
/** @param {string} model */
export function checkModel(model: string): void;
/**
 * Check where a frame belongs; the names are those that the server takes.
 *
 * @param {FramePlace} place
 */
export function checkPlace({ frameIndex, timestampS, reset }: FramePlace): {
    frame_index: number | undefined;
    timestamp_s: number | undefined;
    reset: true | undefined;
};
/**
 * Give the headers that make a frame one of a stream; none where it stands for itself.
 *
 * @param {FramePlace & {streamId?: string | undefined}} options
 * @returns {Record<string, string>}
 */
export function placeHeaders({ streamId, frameIndex, timestampS, reset }: FramePlace & {
    streamId?: string | undefined;
}): Record<string, string>;
/**
 * Give the parameters of a search for events.
 *
 * @param {EventOptions} options
 * @returns {URLSearchParams}
 */
export function eventParams({ streamId, kinds, since, until, minScore, order, limit, cursor }: EventOptions): URLSearchParams;
/**
 * @param {string} name
 * @param {number} value
 * @param {number} least
 */
export function checkWhole(name: string, value: number, least: number): void;
/** @import { DetectOptions, EventOptions, FramePlace } from "./types.js" */
export const DEFAULT_URL: "http://127.0.0.1:8080";
import type { DetectOptions } from "./types.js";
import type { FramePlace } from "./types.js";
import type { EventOptions } from "./types.js";
