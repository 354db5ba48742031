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
 * Do items side by side, and give what comes of them in their order or as it comes. Items are drawn as room comes free,
 * and a source that lets wait holds back neither results nor the signal; where it fails, that comes after the results of
 * what it gave.
 *
 * @template Item, Result
 * @param {Iterable<Item> | AsyncIterable<Item>} items
 * @param {(item: Item, signal: AbortSignal) => Promise<Result>} work
 * @param {{concurrency: number, isOrdered: boolean, signal: AbortSignal | undefined}} options
 * @returns {AsyncGenerator<Result, void, void>}
 */
export async function* inParallel(items, work, { concurrency, isOrdered, signal }) {
  signal?.throwIfAborted();
  const source = new Source(items);
  const controller = new AbortController();
  let wake = () => {};
  const leave = () => {
    controller.abort(signal?.reason);
    wake();
  };
  signal?.addEventListener("abort", leave);
  /** @type {{result: Promise<Result>, isSettled: boolean}[]} Drawn and not yet taken. */
  const running = [];
  /** @param {Item} item */
  const begin = (item) => {
    const one = { result: work(item, controller.signal), isSettled: false };
    const settle = () => {
      one.isSettled = true;
      wake();
    };
    one.result.then(settle, settle); // what failed is thrown when its turn comes
    running.push(one);
  };
  const hasRoom = () => running.length < concurrency && !controller.signal.aborted;
  try {
    for (;;) {
      signal?.throwIfAborted();
      if (!source.isDrawing && !source.isOver && hasRoom()) source.draw(begin, hasRoom).then(() => wake());
      const place = isOrdered ? 0 : running.findIndex(({ isSettled }) => isSettled);
      if (running[place]?.isSettled) {
        const [one] = running.splice(place, 1);
        yield await /** @type {{result: Promise<Result>}} */ (one).result;
      } else if (running.length === 0 && source.isOver) {
        return source.throwFault();
      } else {
        await new Promise((/** @type {(value?: undefined) => void} */ resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    signal?.removeEventListener("abort", leave);
    controller.abort();
    const closing = source.close();
    if (!source.isDrawing && !signal?.aborted) await closing; // else it may hang, and nobody wants to wait for it
  }
}

/**
 * Where items come from. Races are not run against its promises: one that lives long would gather what waited for it.
 *
 * @template Item
 */
class Source {
  #iterator;
  /** @type {{error: unknown} | null} */
  #fault = null;
  /** Whether an item is waited for. */
  isDrawing = false;
  /** Whether there are no more. */
  isOver = false;

  /** @param {Iterable<Item> | AsyncIterable<Item>} items */
  constructor(items) {
    const { [Symbol.asyncIterator]: waiting, [Symbol.iterator]: ready } = /** @type {any} */ (items);
    /** @type {Iterator<Item> | AsyncIterator<Item>} */
    this.#iterator = (waiting ?? ready).call(items);
  }

  /**
   * Draw items, one after the other, while there is room. An item is begun before the next is asked for: its buffer may
   * be that of the next.
   *
   * @param {(item: Item) => void} begin
   * @param {() => boolean} hasRoom
   */
  async draw(begin, hasRoom) {
    this.isDrawing = true;
    try {
      while (!this.isOver && hasRoom()) {
        const { done, value } = await this.#iterator.next();
        if (done) this.isOver = true;
        else {
          const item = await value; // as `for await` does where items are promises
          if (hasRoom()) begin(item);
        }
      }
    } catch (error) {
      this.isOver = true;
      this.#fault = { error };
    } finally {
      this.isDrawing = false;
    }
  }

  /** Throw what it failed with, if it did. */
  throwFault() {
    if (this.#fault) throw this.#fault.error;
  }

  /** Let it clean up, unless it has ended by itself. What goes wrong there is not heard: the results are what counts. */
  async close() {
    if (this.isOver) return;
    try {
      await this.#iterator.return?.();
    } catch {
      // see above
    }
  }
}
