/**
 * Tell whether a failed `fetch` may have brought its request to the server.
 *
 * @param {unknown} error
 * @returns {boolean}
 */
export function mayHaveArrived(error: unknown): boolean;
/**
 * Wait, unless the signal ends that.
 *
 * @param {number} pauseMs
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<void>}
 */
export function pause(pauseMs: number, signal: AbortSignal | undefined): Promise<void>;
/** Statuses of a server that is full or not ready. */
export const RETRIED: Set<number>;
/**
 * Tries after the first one.
 *
 * Detecting in a frame changes nothing on the server, so such a request may be sent again where it got lost. One that
 * changes a stream may not: it may have arrived.
 */
export class RetryPolicy {
    /** @param {number} retries How many. */
    constructor(retries: number);
    retries: number;
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
    pauseMs(attempt: number, retryAfterS?: number | null): number | null;
}
