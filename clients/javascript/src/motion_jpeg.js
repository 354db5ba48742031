/** Pictures of motion JPEG, `multipart/x-mixed-replace` with the length of each part, that comes in pieces, cut anywhere. */

import { notOurs } from "./answers.js";
import { ConnectionFailed } from "./errors.js";

/** @import { Picture } from "./types.js" */

const LINE_FEED = 0x0a;
const LONGEST_LINE = 8192; // bytes
const LARGEST_PICTURE = 2 ** 26; // bytes

/** Reads one answer. */
export class MotionJpegReader {
  #url;
  #delimiter;
  #largestPicture;
  #line = ""; // of a head, as far as it has come
  #isInHead = false; // whether the delimiter of a part has come, and its picture not yet
  /** @type {number | null} */
  #length = null;
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
        start += this.#addToLine(chunk.subarray(start, start + LONGEST_LINE));
        continue;
      }
      const piece = chunk.subarray(start, start + this.#missing);
      this.#pieces.push(piece);
      this.#missing -= piece.length;
      start += piece.length;
      if (this.#missing === 0) {
        const frameIndex = this.#frameIndex;
        const picture = new Blob(this.#pieces, { type: "image/jpeg" });
        this.#frameIndex = null;
        this.#pieces = [];
        yield { frameIndex, picture };
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
   * Take what belongs to a line between pictures: a line break, a delimiter, or a header.
   *
   * Lines are forgotten as they come: where a stream has no frame yet, the server writes on at the head of its first part.
   *
   * @param {Uint8Array} bytes
   * @returns {number} How many were taken.
   */
  #addToLine(bytes) {
    const length = bytes.indexOf(LINE_FEED) + 1 || bytes.length;
    this.#line += String.fromCharCode(...bytes.subarray(0, length));
    const text = this.#line.trimEnd();
    const isWhole = this.#line.endsWith("\n");
    if (text.startsWith(`${this.#delimiter}--`)) {
      this.isOver = true;
    } else if (!this.#isInHead && !(isWhole ? ["", this.#delimiter].includes(text) : this.#mayBecomeDelimiter(text))) {
      throw notOurs(this.#url, "a part does not begin as one");
    } else if (isWhole) {
      this.#line = "";
      if (this.#isInHead) this.#readHeader(text);
      else if (text) this.#isInHead = true;
    } else if (this.#line.length > LONGEST_LINE) {
      throw notOurs(this.#url, `a line between pictures has more than ${LONGEST_LINE} bytes`);
    }
    return length;
  }

  /** @param {string} text */
  #mayBecomeDelimiter(text) {
    return this.#delimiter.startsWith(text) || text === `${this.#delimiter}-`;
  }

  /** @param {string} text Empty: the picture follows. */
  #readHeader(text) {
    const [name = "", ...value] = text.split(":");
    const number = wholeNumber(value.join(":").trim());
    if (name.toLowerCase() === "content-length") this.#length = number;
    else if (name.toLowerCase() === "x-frame-index") this.#frameIndex = number;
    if (text) return;
    if (!this.#length) throw notOurs(this.#url, "a part does not say how long it is");
    if (this.#length > this.#largestPicture) throw notOurs(this.#url, `a picture of ${this.#length} bytes`);
    this.#missing = this.#length;
    this.#length = null;
    this.#isInHead = false;
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
