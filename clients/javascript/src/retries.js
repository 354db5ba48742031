/** When to try again, and how long to wait before. */

import { UsageError } from "./errors.js";

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 5000;
// Node's names for failures before anything was sent; browsers do not tell.
const NEVER_SENT = new Set(["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND", "EAI_AGAIN"]);

/** Statuses of a server that is full or not ready. */
export const RETRIED = new Set([429, 503]);

/**
 * Tries after the first one.
 *
 * Detecting in a frame changes nothing on the server, so such a request may be sent again where it got lost. One that
 * changes a stream may not: it may have arrived.
 */
export class RetryPolicy {
  /** @param {number} retries How many. */
  constructor(retries) {
    if (!Number.isSafeInteger(retries) || retries < 0) {
      throw new UsageError(`retries must be a whole number from 0, got ${retries}`);
    }
    this.retries = retries;
  }

  /**
   * Give the milliseconds to wait after failed attempt number `attempt` (from 0); null: give up.
   *
   * The pause doubles from try to try, and is stretched by up to half at random so that clients that failed together do
   * not come back together. What the server asked for is kept, up to 5 s.
   *
   * @param {number} attempt
   * @param {number | null} [retryAfterS]
   * @returns {number | null}
   */
  pauseMs(attempt, retryAfterS = null) {
    if (attempt >= this.retries) return null;
    const wanted = retryAfterS === null ? FIRST_PAUSE_MS * 2 ** attempt : retryAfterS * 1000;
    return Math.min(LONGEST_PAUSE_MS, wanted * (1 + Math.random() / 2));
  }
}

/**
 * Tell whether a failed `fetch` may have brought its request to the server.
 *
 * @param {unknown} error
 * @returns {boolean}
 */
export function mayHaveArrived(error) {
  const cause = error instanceof Error ? /** @type {{code?: string} | undefined} */ (error.cause) : undefined;
  return !NEVER_SENT.has(cause?.code ?? "");
}

/**
 * Wait, unless the signal ends that.
 *
 * @param {number} pauseMs
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<void>}
 */
export function pause(pauseMs, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const end = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", end);
      resolve();
    }, pauseMs);
    signal?.addEventListener("abort", end, { once: true });
  });
}
