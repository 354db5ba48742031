/** Bodies of answers, read no further than they may be long: a server that is broken may write without end. */
/**
 * Read a body up to a limit. What is longer is cut there: the rest is left, and its connection is closed.
 *
 * @param {Response} response
 * @param {number} limit Bytes, after any decompression.
 * @returns {Promise<{bytes: Uint8Array<ArrayBuffer>, isWhole: boolean}>}
 */
export function readUpTo(response: Response, limit: number): Promise<{
    bytes: Uint8Array<ArrayBuffer>;
    isWhole: boolean;
}>;
/**
 * Leave a body unread; its connection is closed.
 *
 * @param {Response} response
 */
export function leave(response: Response): void;
