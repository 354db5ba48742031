/** Messages of NDJSON that comes in pieces, cut anywhere. */

import { checkProblem, notOurs, parseObject } from "./answers.js";
import { ConnectionFailed } from "./errors.js";

/** @import { StreamMessage } from "./types.js" */

const LARGEST_LINE = 2 ** 26; // characters; a frame with every detection that a model gives stays far below
const KNOWN = new Set(["frame", "source", "problem", "end"]);

/** Reads one answer. Messages of types that this client does not know are left out. */
export class MessageReader {
  #url;
  #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  /** @type {string[]} Pieces of the line under way; joined once, however small they are. */
  #pieces = [];
  #length = 0;
  /** Whether the message `end` has come: nothing follows. */
  isOver = false;

  /** @param {URL} url That answers. */
  constructor(url) {
    this.#url = url;
  }

  /**
   * Take a piece; give the messages that it completes.
   *
   * @param {Uint8Array} chunk
   * @returns {Generator<StreamMessage, void, void>}
   * @throws {ProtocolError} It is not what a Loddis server says.
   */
  *add(chunk) {
    const [first = "", ...others] = this.#decode(chunk).split("\n");
    this.#keep(first);
    for (const other of others) {
      const line = this.#pieces.join("").trim();
      this.#pieces = [];
      this.#length = 0;
      this.#keep(other);
      const message = line ? this.#message(line) : null; // an empty line is a sign of life
      if (message === null) continue;
      this.isOver = message.type === "end";
      yield message;
      if (this.isOver) return;
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

  /** @param {Uint8Array} chunk */
  #decode(chunk) {
    try {
      return this.#decoder.decode(chunk, { stream: true });
    } catch {
      throw notOurs(this.#url, "it is no UTF-8");
    }
  }

  /** @param {string} piece */
  #keep(piece) {
    this.#length += piece.length;
    if (this.#length > LARGEST_LINE) throw notOurs(this.#url, `a line of more than ${LARGEST_LINE} characters`);
    this.#pieces.push(piece);
  }

  /**
   * @param {string} line
   * @returns {StreamMessage | null}
   */
  #message(line) {
    const document = parseObject(line);
    if (typeof document?.type !== "string") throw notOurs(this.#url, `it says '${line.slice(0, 100)}'`);
    if (document.type === "problem") checkProblem(document.problem, this.#url);
    return KNOWN.has(document.type) ? document : null;
  }
}
