/**
 * Frames to request bodies: image files as they are, pixels as raw bytes with width, height and type in headers.
 *
 * Bytes are copied before the first `await`: a camera's buffer may be written over as soon as the call has returned.
 */

import { FrameError, UsageError } from "./errors.js";

/** @import { Dtype, Frame, RawFrame } from "./types.js" */

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */
/** @typedef {{width: number, height: number, dtype: Dtype}} RawForm */
/** @typedef {{body: Blob | Bytes, headers: Record<string, string>, raw: RawForm | null}} EncodedFrame */

const MAGIC = /** @type {const} */ ([
  [[0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a], "image/png"],
  [[0xff, 0xd8, 0xff], "image/jpeg"],
  [[0x49, 0x49, 0x2a, 0x00], "image/tiff"],
  [[0x4d, 0x4d, 0x00, 0x2a], "image/tiff"],
  [[0x49, 0x49, 0x2b, 0x00], "image/tiff"], // BigTIFF
  [[0x4d, 0x4d, 0x00, 0x2b], "image/tiff"],
  [[0x50, 0x35], "image/x-portable-graymap"],
  [[0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59], "application/x-npy"],
]);
const LONGEST_MAGIC = 8;
const HOST_IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/**
 * Make a request body of a frame.
 *
 * @param {Frame} frame
 * @returns {Promise<EncodedFrame>}
 * @throws {FrameError} It is no frame.
 */
export async function encodeFrame(frame) {
  if (frame instanceof Blob) {
    const start = new Uint8Array(await frame.slice(0, LONGEST_MAGIC).arrayBuffer());
    return { body: frame, headers: { "Content-Type": contentType(start) }, raw: null };
  }
  if (frame instanceof ArrayBuffer || frame instanceof Uint8Array) {
    const body = new Uint8Array(frame instanceof ArrayBuffer ? frame.slice() : frame); // of a buffer it would be a view
    return { body, headers: { "Content-Type": contentType(body) }, raw: null };
  }
  if (frame === null || typeof frame !== "object" || !("data" in frame)) {
    throw new FrameError(
      `a frame must be a Blob or the bytes of an image file, or {data, width, height}, got ${kindOf(frame)}`,
    );
  }
  return encodePixels(frame);
}

/**
 * Put several frames into the one body of a form; `FormData` cannot say the size of raw pixels in a part.
 *
 * @param {Iterable<Frame>} frames
 * @returns {Promise<{body: Blob, headers: Record<string, string>}>}
 */
export async function encodeBatch(frames) {
  const encoded = await Promise.all(Array.from(frames, encodeFrame));
  if (encoded.length === 0) throw new UsageError("a batch must have at least one frame");
  const boundary = `loddis-${crypto.getRandomValues(new BigUint64Array(2)).join("")}`;
  /** @type {BlobPart[]} */
  const pieces = [];
  for (const { body, headers } of encoded) {
    const described = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    pieces.push(`--${boundary}\r\nContent-Disposition: form-data; name="frame"; filename="frame"\r\n`);
    pieces.push(...described, "\r\n", body, "\r\n");
  }
  pieces.push(`--${boundary}--\r\n`);
  return { body: new Blob(pieces), headers: { "Content-Type": `multipart/form-data; boundary=${boundary}` } };
}

/**
 * Give the bytes of pixels as the server takes them.
 *
 * @param {Uint8Array | Uint16Array | Float32Array} data
 * @param {{isLittleEndian?: boolean}} [host] The order that `data` is in.
 * @returns {Bytes}
 */
export function littleEndian(data, { isLittleEndian = HOST_IS_LITTLE_ENDIAN } = {}) {
  const bytes = new Uint8Array(data.byteLength);
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  if (!isLittleEndian && data.BYTES_PER_ELEMENT > 1) {
    for (let start = 0; start < bytes.length; start += data.BYTES_PER_ELEMENT) {
      bytes.subarray(start, start + data.BYTES_PER_ELEMENT).reverse();
    }
  }
  return bytes;
}

/**
 * @param {RawFrame} frame
 * @returns {EncodedFrame}
 */
function encodePixels({ data, width, height }) {
  const dtype = dtypeOf(data);
  for (const [name, side] of Object.entries({ width, height })) {
    if (!Number.isSafeInteger(side) || side < 1) {
      throw new FrameError(`the ${name} of a frame must be a whole number from 1, got ${side}`);
    }
  }
  if (data.length !== width * height) {
    throw new FrameError(
      `a frame of ${width} x ${height} must have ${width * height} pixels, got ${data.length} (one channel is sent)`,
    );
  }
  return {
    body: littleEndian(data),
    headers: {
      "Content-Type": "application/octet-stream",
      "X-Frame-Width": String(width),
      "X-Frame-Height": String(height),
      "X-Frame-Dtype": dtype,
    },
    raw: { width, height, dtype },
  };
}

/**
 * @param {unknown} data
 * @returns {Dtype}
 */
function dtypeOf(data) {
  if (data instanceof Uint8Array) return "uint8";
  if (data instanceof Uint16Array) return "uint16";
  if (data instanceof Float32Array) return "float32";
  throw new FrameError(`the pixels of a frame must be a Uint8Array, Uint16Array or Float32Array, got ${kindOf(data)}`);
}

/** @param {Uint8Array} start */
function contentType(start) {
  if (start.length === 0) throw new FrameError("there is nothing in the frame");
  const known = MAGIC.find(([magic]) => magic.every((byte, place) => start[place] === byte));
  if (known === undefined) {
    throw new FrameError("the frame is neither PNG, JPEG, TIFF, PGM nor .npy; send pixels as {data, width, height}");
  }
  return known[1];
}

/** @param {unknown} value */
function kindOf(value) {
  return value === null || typeof value !== "object" ? String(value) : value.constructor?.name;
}
