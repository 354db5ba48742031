/** `WS /v1/streams/{id}/frames`: frames in, answers out, over one WebSocket. */

import { checkProblem, notOurs, parseObject } from "./answers.js";
import { encodeFrame } from "./bodies.js";
import { ConnectionFailed, errorOfProblem, FrameError, TimedOut, UsageError } from "./errors.js";
import { checkPlace } from "./options.js";

/** @import { EncodedFrame, RawForm } from "./bodies.js" */
/** @import { CallOptions, Frame, FrameMessage, FramePlace } from "./types.js" */

const PROTOCOL = "loddis.v1";
const NORMAL = 1000;

/** @typedef {{resolve: (answer: FrameMessage) => void, reject: (error: unknown) => void}} Waiting */

/**
 * A WebSocket that frames of one stream go over. `Client.frames` makes it.
 *
 * Each frame is answered, in order; what the server cannot use rejects its own `send`, and the stream goes on. The
 * server reads one frame while it works on another; what is sent faster than that gathers in memory here. So wait for an
 * answer before the frame after the next is sent, or look at `waiting`.
 */
export class FrameSocket {
  #closed = /** @type {PromiseWithResolvers<void>} */ (Promise.withResolvers());
  /** @type {Error | DOMException | null} Why nothing can be sent any more. */
  #failure = null;
  #opened = /** @type {PromiseWithResolvers<void>} */ (Promise.withResolvers());
  #raw;
  #sending = /** @type {Promise<unknown>} */ (Promise.resolve());
  #signal;
  #socket;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #timeoutMs;
  #url;
  /** @type {Waiting[]} In the order of their frames. */
  #waiting = [];
  #wasOpen = false;
  #leave = () => this.#end(this.#signal?.reason);

  /**
   * @param {URL} url Of http or https.
   * @param {object} options
   * @param {string | undefined} options.apiKey
   * @param {RawForm | null} options.raw Of every frame, if they are raw pixels.
   * @param {AbortSignal | undefined} options.signal
   * @param {number} options.timeoutMs For the connection, and for each answer.
   * @param {typeof WebSocket} options.WebSocket
   */
  constructor(url, { apiKey, raw, signal, timeoutMs, WebSocket }) {
    signal?.throwIfAborted();
    this.#raw = raw;
    this.#signal = signal;
    this.#timeoutMs = timeoutMs;
    this.#url = new URL(url);
    this.#url.protocol = url.protocol.replace("http", "ws");
    this.#opened.promise.catch(() => undefined); // whoever only sends is told there
    this.#socket = new WebSocket(this.#url, protocols(apiKey));
    this.#socket.binaryType = "arraybuffer";
    this.#socket.addEventListener("open", () => this.#onOpen());
    this.#socket.addEventListener("message", (event) => this.#receive(event.data));
    this.#socket.addEventListener("close", (event) => this.#onClose(event));
    this.#socket.addEventListener("error", () => undefined); // `close` follows, and says as much as browsers tell
    signal?.addEventListener("abort", this.#leave);
    this.#watch();
  }

  /** Resolves once frames can be sent; rejects if they never can. `send` waits for it. */
  get opened() {
    return this.#opened.promise;
  }

  /** Resolves once the connection is closed, whatever closed it. */
  get closed() {
    return this.#closed.promise;
  }

  /** Frames that are not answered yet. */
  get waiting() {
    return this.#waiting.length;
  }

  /** Bytes that are not on their way yet. */
  get bufferedAmount() {
    return this.#socket.bufferedAmount;
  }

  /**
   * Send a frame, after those that were sent before.
   *
   * @param {Frame} frame Raw pixels if, and only if, the socket was opened for them.
   * @param {FramePlace & CallOptions} [options] With a signal that ends the wait; a frame that is sent stays sent.
   * @returns {Promise<FrameMessage>} Its answer.
   * @throws {FrameError} It cannot be sent.
   * @throws {ServerError} The server cannot use it: `FrameRejected`, `LateFrame`, `Overloaded` and so on.
   * @throws {ConnectionFailed} The connection is closed; the message has the server's reason.
   */
  send(frame, { signal, ...place } = {}) {
    /** @type {PromiseWithResolvers<FrameMessage>} */
    const answer = Promise.withResolvers();
    answer.promise.catch(() => undefined); // frames may be sent in a row and waited for later
    const leave = () => answer.reject(signal?.reason);
    const forget = () => signal?.removeEventListener("abort", leave);
    answer.promise.then(forget, forget);
    signal?.addEventListener("abort", leave);
    try {
      signal?.throwIfAborted();
      const note = checkPlace(place);
      const encoded = encodeFrame(frame);
      encoded.catch(() => undefined); // it is waited for below, perhaps later
      this.#sending = this.#sending
        .then(async () => {
          const body = this.#bodyOf(await encoded);
          await this.#opened.promise;
          signal?.throwIfAborted();
          this.#transmit(body, note, answer);
        })
        .catch(answer.reject);
    } catch (error) {
      answer.reject(error);
    }
    return answer.promise;
  }

  /**
   * Close the connection; the stream stays open for a while, and whoever connects again goes on with it.
   *
   * Frames that are not answered yet reject.
   *
   * @returns {Promise<void>} Resolves once it is closed.
   */
  close() {
    this.#end(new UsageError("the socket is closed"));
    return this.closed;
  }

  /** @param {EncodedFrame} encoded */
  #bodyOf({ body, raw }) {
    if (!isSame(raw, this.#raw)) {
      throw new FrameError(`this socket takes ${formOf(this.#raw)}, got ${formOf(raw)}`);
    }
    return body;
  }

  /**
   * @param {EncodedFrame["body"]} body
   * @param {ReturnType<typeof checkPlace>} note
   * @param {Waiting} answer
   */
  #transmit(body, note, answer) {
    if (this.#failure !== null) throw this.#failure;
    const said = JSON.stringify(note); // leaves out what is undefined
    if (said !== "{}") this.#socket.send(said);
    this.#socket.send(body);
    this.#waiting.push(answer);
    if (this.#waiting.length === 1) this.#watch();
  }

  #onOpen() {
    this.#wasOpen = true;
    this.#watch();
    this.#opened.resolve();
  }

  /**
   * Take an answer. What is none ends the connection, and throws nothing: from a listener it would end the process.
   *
   * @param {unknown} data
   */
  #receive(data) {
    const answer = this.#waiting.shift();
    try {
      const message = typeof data === "string" ? parseObject(data) : null;
      if (message?.type === "frame") answer?.resolve(message);
      else if (message?.type === "problem") {
        const problem = checkProblem(message.problem, this.#url); // whether it is waited for or not
        answer?.reject(errorOfProblem(problem));
      } else throw notOurs(this.#url, "a message is neither a frame's answer nor a problem");
    } catch (failure) {
      answer?.reject(failure);
      this.#end(failure);
    }
    this.#watch();
  }

  /** Let the time for the next answer, or for the connection, begin; none runs where nothing is waited for. */
  #watch() {
    clearTimeout(this.#timer);
    const isConnecting = this.#socket.readyState === this.#socket.CONNECTING;
    if (this.#failure !== null || !(isConnecting || this.#waiting.length > 0)) return;
    const late = () => this.#end(new TimedOut(`${this.#url} did not answer in time`));
    this.#timer = setTimeout(late, this.#timeoutMs);
  }

  /** @param {CloseEvent} event */
  #onClose({ code, reason }) {
    const why = reason || (this.#wasOpen ? "the connection broke" : "refused, or no server is there");
    this.#end(new ConnectionFailed(`no connection to ${this.#url}: ${why} (${code})`));
    this.#signal?.removeEventListener("abort", this.#leave);
    this.#closed.resolve();
  }

  /**
   * Nothing can be sent any more.
   *
   * @param {any} failure
   */
  #end(failure) {
    if (this.#failure !== null) return;
    this.#failure = failure;
    clearTimeout(this.#timer);
    this.#opened.reject(failure);
    for (const answer of this.#waiting.splice(0)) answer.reject(failure);
    this.#socket.close(NORMAL);
  }
}

/**
 * Name the subprotocols. A browser's WebSocket brings no headers, so the key goes with them: addresses end up in logs.
 *
 * @param {string | undefined} apiKey
 * @returns {string[]}
 */
export function protocols(apiKey) {
  if (!apiKey) return [PROTOCOL];
  const text = String.fromCharCode(...new TextEncoder().encode(apiKey));
  return [PROTOCOL, `loddis.key.${btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`];
}

/**
 * @param {RawForm | null} one
 * @param {RawForm | null} other
 */
function isSame(one, other) {
  return one?.width === other?.width && one?.height === other?.height && one?.dtype === other?.dtype;
}

/** @param {RawForm | null} raw */
function formOf(raw) {
  return raw === null ? "image files" : `raw pixels of ${raw.width} x ${raw.height}, ${raw.dtype}`;
}
