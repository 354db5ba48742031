/** How long an exchange may take: until its time is over, or its caller's signal ends it. */

import { ConnectionFailed, LoddisClientError, TimedOut } from "./errors.js";

const LONGEST_TIMER_MS = 2 ** 31 - 1; // beyond it a timer fires at once

/** One exchange. `close` it, or its timer and listener stay. */
export class Deadline {
  #controller = new AbortController();
  #caller;
  #isOver = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #leave = () => this.#controller.abort(this.#caller?.reason);

  /** @param {AbortSignal | undefined} caller Its reason is thrown as it is. */
  constructor(caller) {
    caller?.throwIfAborted();
    this.#caller = caller;
    caller?.addEventListener("abort", this.#leave);
  }

  /** Ends what is given it. */
  get signal() {
    return this.#controller.signal;
  }

  /** Whether the caller or the clock ended the exchange. */
  get hasEnded() {
    return this.#controller.signal.aborted;
  }

  /**
   * Let time run, from now on.
   *
   * @param {number} limitMs
   */
  start(limitMs) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => {
        this.#isOver = true;
        this.#controller.abort();
      },
      Math.min(limitMs, LONGEST_TIMER_MS),
    );
  }

  /** Let time stand still: whoever takes messages may take their time. */
  stop() {
    clearTimeout(this.#timer);
  }

  /** The exchange is over; its connection is closed if something of it is still to come. */
  close() {
    this.stop();
    this.#caller?.removeEventListener("abort", this.#leave);
    this.#controller.abort();
  }

  /**
   * Give what to throw for an error of `fetch`, or of what reads its answer.
   *
   * @param {unknown} error
   * @param {URL} url
   * @returns {unknown}
   */
  translate(error, url) {
    if (error instanceof LoddisClientError) return error;
    if (this.#caller?.aborted) return this.#caller.reason;
    if (this.#isOver) return new TimedOut(`${url} did not answer in time`);
    const { cause, message } = /** @type {Error} */ (error);
    const why = (cause instanceof Error && (cause.message || /** @type {any} */ (cause).code)) || message;
    return new ConnectionFailed(`no connection to ${url}: ${why}`, { cause: error });
  }
}
