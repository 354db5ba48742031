/** Bodies of answers, read no further than they may be long: a server that is broken may write without end. */

/**
 * Read a body up to a limit. What is longer is cut there: the rest is left, and its connection is closed.
 *
 * @param {Response} response
 * @param {number} limit Bytes, after any decompression.
 * @returns {Promise<{bytes: Uint8Array<ArrayBuffer>, isWhole: boolean}>}
 */
export async function readUpTo(response, limit) {
  let bytes = new Uint8Array(0); // one buffer that grows: pieces may be so small that a list of them takes far more
  let size = 0;
  if (response.body === null) return { bytes, isWhole: true };
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { bytes: bytes.subarray(0, size), isWhole: true };
    const piece = value.subarray(0, limit - size);
    if (size + piece.length > bytes.length) {
      const grown = new Uint8Array(Math.min(limit, Math.max(2 * bytes.length, size + piece.length)));
      grown.set(bytes.subarray(0, size));
      bytes = grown;
    }
    bytes.set(piece, size);
    size += piece.length;
    if (piece.length < value.length) {
      reader.cancel().catch(() => undefined); // not waited for: it is the server's to end it
      return { bytes: bytes.subarray(0, size), isWhole: false };
    }
  }
}

/**
 * Leave a body unread; its connection is closed.
 *
 * @param {Response} response
 */
export function leave(response) {
  response.body?.cancel().catch(() => undefined);
}
