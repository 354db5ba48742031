/**
 * Make a request body of a frame.
 *
 * @param {Frame} frame
 * @returns {Promise<EncodedFrame>}
 * @throws {FrameError} It is no frame.
 */
export function encodeFrame(frame: Frame): Promise<EncodedFrame>;
/**
 * Put several frames into the one body of a form; `FormData` cannot say the size of raw pixels in a part.
 *
 * @param {Iterable<Frame>} frames
 * @returns {Promise<{body: Blob, headers: Record<string, string>}>}
 */
export function encodeBatch(frames: Iterable<Frame>): Promise<{
    body: Blob;
    headers: Record<string, string>;
}>;
/**
 * Give the bytes of pixels as the server takes them.
 *
 * @param {Uint8Array | Uint16Array | Float32Array} data
 * @param {{isLittleEndian?: boolean}} [host] The order that `data` is in.
 * @returns {Bytes}
 */
export function littleEndian(data: Uint8Array | Uint16Array | Float32Array, { isLittleEndian }?: {
    isLittleEndian?: boolean;
}): Bytes;
export type Bytes = Uint8Array<ArrayBuffer>;
export type RawForm = {
    width: number;
    height: number;
    dtype: Dtype;
};
export type EncodedFrame = {
    body: Blob | Bytes;
    headers: Record<string, string>;
    raw: RawForm | null;
};
import type { Frame } from "./types.js";
import type { Dtype } from "./types.js";
