/** Pictures of motion JPEG that comes in pieces. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectionFailed, ProtocolError } from "../src/errors.js";
import { MotionJpegReader } from "../src/motion_jpeg.js";

const URL_ = new URL("http://server/v1/streams/mast/preview");
const TYPE = "multipart/x-mixed-replace; boundary=loddis-frame";
// The second looks like what stands between pictures.
const PICTURES = ["\xff\xd8 one", "\r\n--loddis-frame\r\nContent-Length: 3\r\n\r\n", "\xff"];

/** Write pictures as the server does. */
function written(pictures, end = "--loddis-frame--\r\n") {
  const parts = pictures.map(
    (picture, index) =>
      `--loddis-frame\r\nContent-Type: image/jpeg\r\nContent-Length: ${picture.length}\r\n` +
      `X-Frame-Index: ${index + 7}\r\n\r\n${picture}\r\n`,
  );
  return Uint8Array.from(Buffer.from(parts.join("") + end, "latin1"));
}

function read(chunks, options) {
  const reader = new MotionJpegReader(TYPE, URL_, options);
  const pictures = chunks.flatMap((chunk) => [...reader.add(chunk)]);
  reader.finish();
  return pictures;
}

async function texts(pictures) {
  return await Promise.all(
    pictures.map(async ({ picture }) => Buffer.from(await picture.arrayBuffer()).toString("latin1")),
  );
}

test("pictures are the same wherever the answer is cut", async () => {
  const bytes = written(PICTURES);
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const pictures = read([bytes.subarray(0, cut), bytes.subarray(cut)]);
    assert.deepEqual(await texts(pictures), PICTURES);
    assert.deepEqual(
      pictures.map(({ frameIndex, picture }) => [frameIndex, picture.type]),
      [7, 8, 9].map((index) => [index, "image/jpeg"]),
    );
  }
  assert.deepEqual(await texts(read(Array.from(bytes, (byte) => Uint8Array.of(byte)))), PICTURES);
});

/** What the server writes for an hour while there is no frame. */
const AWAITED = `--loddis-frame\r\n${"X-Frame-Awaited: true\r\n".repeat(1000)}`;

for (const [what, before] of Object.entries({
  "an empty line": "\r\n",
  "empty lines": "\r\n".repeat(3),
  "the head of a part that grew": AWAITED.slice("--loddis-frame\r\n".length),
})) {
  test(`pictures are the same after ${what}`, async () => {
    const text = Buffer.from(written(PICTURES)).toString("latin1");
    const begin = before.startsWith("X") ? "--loddis-frame\r\n".length : 0;
    const bytes = Uint8Array.from(Buffer.from(text.slice(0, begin) + before + text.slice(begin), "latin1"));
    for (const size of [1, 2, 7, bytes.length]) {
      const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
        bytes.subarray(index * size, (index + 1) * size),
      );
      assert.deepEqual(await texts(read(chunks)), PICTURES);
    }
  });
}

test("a stream may end while its first picture is awaited", () => {
  assert.deepEqual(read([new TextEncoder().encode(`${AWAITED}--loddis-frame--\r\n`)]), []);
});

test("a part that does not say which frame it shows is not that of the part before", () => {
  const anonymous = "--loddis-frame\r\nContent-Length: 1\r\n\r\n.\r\n--loddis-frame--\r\n";
  const chunks = [written(["picture"], ""), new TextEncoder().encode(anonymous)];
  assert.deepEqual(
    read(chunks).map(({ frameIndex }) => frameIndex),
    [7, null],
  );
});

test("a picture comes with its last byte", () => {
  const reader = new MotionJpegReader(TYPE, URL_);
  const bytes = written(["picture"], "").slice(0, -2);
  assert.equal([...reader.add(bytes.subarray(0, -1))].length, 0);
  assert.equal([...reader.add(bytes.subarray(-1))].length, 1);
});

test("a stream may end without a picture", () => {
  assert.deepEqual(read([written([])]), []);
});

test("an answer that breaks off is told of", () => {
  const bytes = written(PICTURES);
  for (let cut = 0; cut < bytes.length - 4; cut += 1) {
    assert.throws(() => read([bytes.subarray(0, cut)]), ConnectionFailed);
  }
});

test("a picture beyond the limit is refused before it is read", () => {
  const head = "--loddis-frame\r\nContent-Length: 1001\r\n\r\n";
  assert.throws(() => read([new TextEncoder().encode(head)], { largestPicture: 1000 }), ProtocolError);
});

for (const [what, text] of Object.entries({
  "another delimiter": "--other\r\nContent-Length: 3\r\n\r\n",
  "no delimiter": "<html>",
  "no length": "--loddis-frame\r\nContent-Type: image/jpeg\r\n\r\n",
  "a length that is none": "--loddis-frame\r\nContent-Length: -3\r\n\r\n",
  "a head without end": `--loddis-frame\r\nX: ${"x".repeat(10_000)}`,
})) {
  test(`${what} is no motion JPEG`, () => {
    assert.throws(() => read([new TextEncoder().encode(text)]), ProtocolError);
  });
}

test("another type of answer is no motion JPEG", () => {
  for (const type of [null, "text/html", "multipart/x-mixed-replace"]) {
    assert.throws(() => new MotionJpegReader(type, URL_), ProtocolError);
  }
});
