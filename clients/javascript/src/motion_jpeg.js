/** Pictures of motion JPEG, `multipart/x-mixed-replace` with the length of each part, that comes in pieces, cut anywhere. */

import { notOurs } from "./answers.js";
import { ConnectionFailed } from "./errors.js";

/** @import { Picture } from "./types.js" */

const LARGEST_HEAD = 8192; // bytes
const LARGEST_PICTURE = 2 ** 26; // bytes

/** Reads one answer. */
export class MotionJpegReader {
  #url;
  #delimiter;
  #largestPicture;
  #head = "";
  /** @type {number | null} */
  #frameIndex = null;
  /** @type {Uint8Array<ArrayBuffer>[]} Pieces of the picture under way; a Blob joins them without a copy here. */
  #pieces = [];
  #missing = 0; // bytes of the picture under way
  /** Whether the last delimiter has come: nothing follows. */
  isOver = false;

  /**
   * @param {string | null} contentType Of the answer, which names the delimiter.
   * @param {URL} url That answers.
   * @param {{largestPicture?: number}} [limits] Bytes.
   */
  constructor(contentType, url, { largestPicture = LARGEST_PICTURE } = {}) {
    const boundary = /^multipart\/x-mixed-replace;\s*boundary="?([^";]+)"?/i.exec(contentType ?? "")?.[1];
    if (boundary === undefined)
      throw notOurs(url, `expected motion JPEG, got ${contentType ?? "nothing that is said"}`);
    this.#url = url;
    this.#delimiter = `--${boundary}`;
    this.#largestPicture = largestPicture;
  }

  /**
   * Take a piece; give the pictures that it completes.
   *
   * @param {Uint8Array<ArrayBuffer>} chunk
   * @returns {Generator<Picture, void, void>}
   * @throws {ProtocolError} It is not what a Loddis server says.
   */
  *add(chunk) {
    for (let start = 0; start < chunk.length && !this.isOver; ) {
      if (this.#missing === 0) {
        start += this.#addToHead(chunk.subarray(start, start + LARGEST_HEAD));
        continue;
      }
      const piece = chunk.subarray(start, start + this.#missing);
      this.#pieces.push(piece);
      this.#missing -= piece.length;
      start += piece.length;
      if (this.#missing === 0) {
        yield { frameIndex: this.#frameIndex, picture: new Blob(this.#pieces, { type: "image/jpeg" }) };
        this.#pieces = [];
      }
    }
  }

  /**
   * Nothing comes any more.
   *
   * @throws {ConnectionFailed} The stream had not ended.
   */
  finish() {
    if (!this.isOver) throw new ConnectionFailed(`${this.#url} broke off before the stream's end`);
  }

  /**
   * Take what belongs to the head of a part: the line break that ends the part before, the delimiter, and headers.
   *
   * @param {Uint8Array} bytes
   * @returns {number} How many were taken.
   */
  #addToHead(bytes) {
    const before = this.#head.length;
    const head = this.#head + String.fromCharCode(...bytes);
    const begin = head.startsWith("\r\n") ? 2 : 0;
    const delimiter = head.slice(begin, begin + this.#delimiter.length);
    if (!this.#delimiter.startsWith(delimiter) && head !== "\r")
      throw notOurs(this.#url, "a part does not begin as one");
    const end = head.indexOf("\r\n\r\n", begin);
    if (head.startsWith(`${this.#delimiter}--`, begin)) {
      this.isOver = true;
    } else if (end >= 0) {
      this.#readHead(head.slice(begin, end));
      this.#head = "";
      return end + 4 - before;
    } else if (head.length > LARGEST_HEAD) {
      throw notOurs(this.#url, `the head of a part has more than ${LARGEST_HEAD} bytes`);
    }
    this.#head = head;
    return bytes.length;
  }

  /** @param {string} head */
  #readHead(head) {
    /** @type {Map<string, string>} */
    const headers = new Map();
    for (const line of head.split("\r\n").slice(1)) {
      const [name = "", ...value] = line.split(":");
      headers.set(name.trim().toLowerCase(), value.join(":").trim());
    }
    const length = wholeNumber(headers.get("content-length"));
    if (!length) throw notOurs(this.#url, "a part does not say how long it is");
    if (length > this.#largestPicture) throw notOurs(this.#url, `a picture of ${length} bytes`);
    this.#missing = length;
    this.#frameIndex = wholeNumber(headers.get("x-frame-index"));
  }
}

/**
 * Read a whole number of a header.
 *
 * @param {string | null | undefined} text
 * @returns {number | null} Null: it is none.
 */
export function wholeNumber(text) {
  return text && /^\d{1,15}$/.test(text) ? Number(text) : null;
}
