/** From what is asked to what goes over the wire, and back: addresses, keys, time limits, tries. */

import { errorOf, retryAfterS } from "./answers.js";
import { Deadline } from "./deadline.js";
import { LoddisClientError, UsageError } from "./errors.js";
import { checkApiKey, checkBaseUrl } from "./options.js";
import { leave } from "./reading.js";
import { mayHaveArrived, pause, RETRIED, RetryPolicy } from "./retries.js";

const SILENCE_MS = 30_000; // of a stream: a server that has nothing to say gives a sign of life every ten seconds

/**
 * A request, ready to be sent.
 *
 * @typedef {object} Request
 * @property {string} [method] Of HTTP; GET if none.
 * @property {string} path Below the base URL, without a leading slash.
 * @property {URLSearchParams} [params]
 * @property {string} accept
 * @property {Record<string, string>} [headers]
 * @property {BodyInit} [body]
 * @property {boolean} [isRepeatable] Whether it may be sent again where nobody knows if it arrived; if not said, it may.
 * @property {number} [retries] If others than the client's.
 * @property {number} [timeoutMs] If it may take longer than others.
 * @property {AbortSignal | undefined} signal
 */

/**
 * What makes items of an answer that comes in pieces.
 *
 * @template Item
 * @typedef {object} Reader
 * @property {(chunk: Uint8Array<ArrayBuffer>) => Iterable<Item>} add
 * @property {() => void} finish
 * @property {boolean} isOver
 */

/** What all requests of a client have in common. */
export class Transport {
  #apiKey;
  #baseUrl;
  #fetch;
  #retries;
  #timeoutMs;

  /**
   * @param {object} options
   * @param {string | URL} options.baseUrl
   * @param {string | undefined} options.apiKey
   * @param {number} options.timeoutMs
   * @param {number} options.retries
   * @param {typeof fetch | undefined} options.fetch
   */
  constructor({ baseUrl, apiKey, timeoutMs, retries, fetch }) {
    if (!(Number.isFinite(timeoutMs) && timeoutMs > 0)) {
      throw new UsageError(`timeoutMs must be above 0 and finite, got ${timeoutMs}`);
    }
    checkApiKey(apiKey);
    this.#apiKey = apiKey;
    this.#baseUrl = checkBaseUrl(baseUrl);
    this.#retries = new RetryPolicy(retries);
    this.#timeoutMs = timeoutMs;
    this.#fetch = fetch ?? ((/** @type {any} */ url, /** @type {any} */ init) => globalThis.fetch(url, init));
  }

  get apiKey() {
    return this.#apiKey;
  }

  get timeoutMs() {
    return this.#timeoutMs;
  }

  /**
   * @param {string} path
   * @param {URLSearchParams} [params]
   */
  url(path, params) {
    const url = new URL(path, this.#baseUrl);
    url.search = params?.toString() ?? "";
    return url;
  }

  /**
   * Ask, again where that may help, and read the answer.
   *
   * @template T
   * @param {Request} request
   * @param {(response: Response, url: URL) => Promise<T>} read
   * @returns {Promise<T>}
   */
  async ask(request, read) {
    const url = this.url(request.path, request.params);
    const retries = request.retries === undefined ? this.#retries : new RetryPolicy(request.retries);
    for (let attempt = 0; ; attempt += 1) {
      const deadline = new Deadline(request.signal);
      /** @type {number | null} */
      let pauseMs = null;
      try {
        deadline.start(Math.max(request.timeoutMs ?? 0, this.#timeoutMs));
        const response = await this.#send(request, url, deadline);
        if (RETRIED.has(response.status)) pauseMs = retries.pauseMs(attempt, retryAfterS(response));
        if (pauseMs === null) return await read(response, url);
        leave(response); // it may be long, or never end
      } catch (error) {
        const isLost = !(error instanceof LoddisClientError || deadline.hasEnded);
        const mayRepeat = request.isRepeatable !== false || !mayHaveArrived(error);
        if (isLost && mayRepeat) pauseMs = retries.pauseMs(attempt);
        if (pauseMs === null) throw deadline.translate(error, url);
      } finally {
        deadline.close(); // what was read to its end keeps its connection
      }
      await pause(pauseMs, request.signal);
    }
  }

  /**
   * Ask once, and give what the answer holds as it comes. Whoever stops taking closes the connection.
   *
   * @template Item
   * @param {Request} request `timeoutMs` is how long the answer may pause.
   * @param {(response: Response, url: URL) => Reader<Item>} readerOf
   * @returns {AsyncGenerator<Item, void, void>}
   */
  async *listen(request, readerOf) {
    const url = this.url(request.path, request.params);
    const silenceMs = Math.max(request.timeoutMs ?? SILENCE_MS, this.#timeoutMs);
    const deadline = new Deadline(request.signal);
    /**
     * @template T
     * @param {() => Promise<T>} step
     */
    const inTime = async (step) => {
      try {
        deadline.start(silenceMs);
        return await step();
      } catch (error) {
        throw deadline.translate(error, url);
      } finally {
        deadline.stop();
      }
    };
    try {
      const response = await inTime(async () => {
        const response = await this.#send(request, url, deadline);
        if (response.status !== 200) throw await errorOf(response, url);
        return response;
      });
      const reader = readerOf(response, url);
      const body = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body).getReader();
      while (!reader.isOver) {
        const { done, value } = await inTime(() => body.read());
        if (done) return reader.finish();
        for (const item of reader.add(value)) {
          request.signal?.throwIfAborted();
          yield item;
        }
      }
    } finally {
      deadline.close();
    }
  }

  /**
   * @param {Request} request
   * @param {URL} url
   * @param {Deadline} deadline
   */
  #send({ method = "GET", accept, headers, body }, url, deadline) {
    const key = this.#apiKey ? { Authorization: `Bearer ${this.#apiKey}` } : null;
    return this.#fetch(url, {
      method,
      headers: { Accept: `${accept}, application/problem+json`, ...key, ...headers },
      redirect: "manual", // a Loddis server sends nobody elsewhere, and a key should not travel
      signal: deadline.signal,
      ...(body === undefined ? null : { body }),
    });
  }
}
