/** Many frames at once. */

import { UsageError } from "./errors.js";

/**
 * Refuse options of `detectMany` that make no sense.
 *
 * @param {unknown} frames
 * @param {number} concurrency
 * @param {string} onError
 */
export function checkMany(frames, concurrency, onError) {
  const source = /** @type {any} */ (frames);
  if (typeof (source?.[Symbol.asyncIterator] ?? source?.[Symbol.iterator]) !== "function") {
    throw new UsageError(`frames must be an iterable, got ${typeof frames}`);
  }
  if (!Number.isSafeInteger(concurrency) || concurrency < 1) {
    throw new UsageError(`concurrency must be a whole number from 1, got ${concurrency}`);
  }
  if (onError !== "throw" && onError !== "yield") {
    throw new UsageError(`onError must be 'throw' or 'yield', got '${onError}'`);
  }
}

/**
 * Do items side by side, and give what comes of them in their order or as it comes. Items are drawn as room comes free.
 *
 * @template Item, Result
 * @param {Iterable<Item> | AsyncIterable<Item>} items
 * @param {(item: Item, signal: AbortSignal) => Promise<Result>} work
 * @param {{concurrency: number, isOrdered: boolean, signal: AbortSignal | undefined}} options
 * @returns {AsyncGenerator<Result, void, void>}
 */
export async function* inParallel(items, work, { concurrency, isOrdered, signal }) {
  const controller = new AbortController();
  const leave = () => controller.abort(signal?.reason);
  signal?.throwIfAborted();
  signal?.addEventListener("abort", leave);
  /** @type {Promise<Result>[]} */
  const running = [];
  const next = async () => {
    const place = isOrdered ? 0 : await Promise.race(running.map(settled));
    return /** @type {Promise<Result>} */ (running.splice(place, 1)[0]);
  };
  try {
    for await (const item of items) {
      const one = work(item, controller.signal);
      one.catch(() => undefined); // it is thrown when its turn comes, and nobody waits for those after it
      running.push(one);
      if (running.length >= concurrency) yield await next();
    }
    while (running.length > 0) yield await next();
  } finally {
    signal?.removeEventListener("abort", leave);
    controller.abort();
  }
}

/**
 * Wait for a promise, however it ends, and give its place: itself it would be unpacked.
 *
 * @param {Promise<unknown>} promise
 * @param {number} place
 */
async function settled(promise, place) {
  await promise.catch(() => undefined);
  return place;
}
