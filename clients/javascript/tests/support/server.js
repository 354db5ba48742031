/** The servers that `tests/clients/test_javascript.py` starts; without them the tests that need one skip. */

import { Client } from "../../src/index.js";

const { LODDIS_TEST_URL: url, LODDIS_TEST_KEYED_URL: keyedUrl, LODDIS_TEST_KEY: key } = process.env;

/** A folder with `frame.png` and `clip.mkv`. */
export const files = process.env.LODDIS_TEST_FILES;
export const withServer = { skip: url ? false : "LODDIS_TEST_URL names no server" };
export { key, keyedUrl, url };

let streams = 0;

/** Give a client of the server without keys. */
export function client(options) {
  return new Client({ baseUrl: url, ...options });
}

/** Give the name of a stream that ends with the test. */
export function streamOf(test) {
  streams += 1;
  const streamId = `js-${process.pid}-${streams}`;
  test.after(() =>
    client()
      .deleteStream(streamId)
      .catch(() => undefined),
  );
  return streamId;
}

/** Wait for what comes about elsewhere. */
export async function until(condition) {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Give all that comes. */
export async function all(items) {
  return await Array.fromAsync(items);
}
