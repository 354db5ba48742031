/**
 * Refuse options of `detectMany` that make no sense.
 *
 * @param {unknown} frames
 * @param {number} concurrency
 * @param {string} onError
 */
export function checkMany(frames: unknown, concurrency: number, onError: string): void;
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
export function inParallel<Item, Result>(items: Iterable<Item> | AsyncIterable<Item>, work: (item: Item, signal: AbortSignal) => Promise<Result>, { concurrency, isOrdered, signal }: {
    concurrency: number;
    isOrdered: boolean;
    signal: AbortSignal | undefined;
}): AsyncGenerator<Result, void, void>;
