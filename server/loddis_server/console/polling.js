/** Work that is done again and again while a page is shown. */

const SLOWEST_MS = 15_000;

/**
 * Wait.
 *
 * @param {number} ms
 * @param {AbortSignal} signal ends the wait
 * @returns {Promise<void>}
 */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}

/**
 * Do something until the signal says so; after a failure, less and less often until it works again.
 *
 * @param {() => Promise<void>} work
 * @param {{everyMs: number, signal: AbortSignal, onFault?: (fault: unknown) => void}} options `onFault` is told of each
 *   failure
 */
export async function repeat(work, { everyMs, signal, onFault }) {
  let waitMs = everyMs;
  while (!signal.aborted) {
    try {
      await work();
      waitMs = everyMs;
    } catch (fault) {
      if (signal.aborted) {
        return;
      }
      onFault?.(fault);
      waitMs = Math.min(SLOWEST_MS, 2 * waitMs);
    }
    await pause(waitMs, signal);
  }
}

/**
 * Wait until somebody may see the page.
 *
 * @param {AbortSignal} signal ends the wait
 * @returns {Promise<void>}
 */
export function whenVisible(signal) {
  return new Promise((resolve) => {
    const look = () => {
      if (!document.hidden || signal.aborted) {
        document.removeEventListener("visibilitychange", look);
        signal.removeEventListener("abort", look);
        resolve();
      }
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look);
    look();
  });
}

/**
 * Give a signal of the time when nobody sees the page any more.
 *
 * @param {AbortSignal} signal ends it, too
 * @returns {AbortSignal}
 */
export function untilHidden(signal) {
  const hidden = new AbortController();
  const look = () => {
    if (document.hidden) {
      hidden.abort();
    }
  };
  document.addEventListener("visibilitychange", look, { signal: AbortSignal.any([signal, hidden.signal]) });
  return AbortSignal.any([signal, hidden.signal]);
}

/**
 * Tell whether a value differs from the one before.
 *
 * @returns {(value: unknown) => boolean}
 */
export function changes() {
  /** @type {string | undefined} */
  let before;
  return (value) => {
    const now = JSON.stringify(value);
    const differs = now !== before;
    before = now;
    return differs;
  };
}
