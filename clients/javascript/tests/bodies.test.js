/** Frames to request bodies. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeBatch, encodeFrame, littleEndian } from "../src/bodies.js";
import { FrameError, UsageError } from "../src/errors.js";

const PNG = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 1, 2, 3);

test("pixels go as they are, with their size and type in headers", async () => {
  const data = new Uint16Array([1, 258, 65535, 4, 5, 6]);
  const { body, headers } = await encodeFrame({ data, width: 3, height: 2 });
  assert.deepEqual([...body], [1, 0, 2, 1, 255, 255, 4, 0, 5, 0, 6, 0]);
  assert.deepEqual(headers, {
    "Content-Type": "application/octet-stream",
    "X-Frame-Width": "3",
    "X-Frame-Height": "2",
    "X-Frame-Dtype": "uint16",
  });
  const part = new Float32Array([9, 1, -0.5, 9]).subarray(1, 3);
  const { body: floats } = await encodeFrame({ data: part, width: 1, height: 2 });
  assert.deepEqual([...new Float32Array(floats.buffer)], [1, -0.5]);
});

test("pixels of a machine of the other byte order are turned round", () => {
  assert.deepEqual([...littleEndian(new Uint16Array([0x0102]), { isLittleEndian: false })], [1, 2]);
  assert.deepEqual([...littleEndian(new Uint8Array([1, 2]), { isLittleEndian: false })], [1, 2]);
  const turned = littleEndian(new Float32Array([1]), { isLittleEndian: false });
  assert.equal(new DataView(turned.buffer).getFloat32(0), 1);
});

test("a buffer may be written over once the call has returned", async () => {
  const data = new Uint8Array([7, 7]);
  const encoding = encodeFrame({ data, width: 2, height: 1 });
  data.fill(0);
  assert.deepEqual([...(await encoding).body], [7, 7]);
});

test("the bytes of an image file are copied, and once", async (t) => {
  const slice = t.mock.method(Object.getPrototypeOf(Uint8Array.prototype), "slice");
  for (const given of [PNG, PNG.buffer, Buffer.from(PNG)]) {
    const { body } = await encodeFrame(given);
    assert.deepEqual([...body], [...PNG]);
    assert.notEqual(body.buffer, given.buffer ?? given);
  }
  assert.equal(slice.mock.callCount(), 0); // that would be of the copy
});

test("image files are known by their first bytes", async () => {
  for (const given of [PNG, PNG.buffer, new Blob([PNG]), new Blob([PNG], { type: "text/plain" })]) {
    assert.equal((await encodeFrame(given)).headers["Content-Type"], "image/png");
  }
  for (const [start, type] of [
    ["\xff\xd8\xff", "image/jpeg"],
    ["II*\0", "image/tiff"],
    ["MM\0*", "image/tiff"],
    ["II+\0", "image/tiff"],
    ["MM\0+", "image/tiff"],
    ["P5", "image/x-portable-graymap"],
    ["\x93NUMPY", "application/x-npy"],
  ]) {
    const bytes = Uint8Array.from(Buffer.from(`${start}…`, "latin1"));
    assert.equal((await encodeFrame(bytes)).headers["Content-Type"], type);
  }
});

for (const [what, frame, message] of [
  ["too few pixels", { data: new Uint8Array(5), width: 3, height: 2 }, /3 x 2 must have 6 pixels, got 5/],
  ["colour", { data: new Uint8Array(24), width: 3, height: 2 }, /6 pixels, got 24/],
  ["no width", { data: new Uint8Array(5), height: 2 }, /the width of a frame must be a whole number from 1/],
  ["doubles", { data: new Float64Array(6), width: 3, height: 2 }, /Float32Array, got Float64Array/],
  ["a list", { data: [1, 2], width: 2, height: 1 }, /Float32Array, got Array/],
  ["a name", "frame.png", /must be a Blob or the bytes/],
  ["nothing", null, /must be a Blob or the bytes/],
  ["an empty file", new Blob(), /there is nothing in the frame/],
  ["a text", new TextEncoder().encode("no image"), /neither PNG, JPEG/],
]) {
  test(`${what} is no frame`, async () => {
    await assert.rejects(encodeFrame(frame), (error) => {
      assert.ok(error instanceof FrameError && error instanceof UsageError);
      assert.match(error.message, message);
      return true;
    });
  });
}

test("a batch says of each frame what it is", async () => {
  const { body, headers } = await encodeBatch([PNG, { data: new Uint8Array([65, 66]), width: 2, height: 1 }]);
  const text = await body.text();
  const boundary = headers["Content-Type"].split("boundary=")[1];
  assert.equal(text.split(`--${boundary}\r\n`).length, 3);
  assert.match(text, /X-Frame-Width: 2\r\nX-Frame-Height: 1\r\nX-Frame-Dtype: uint8\r\n\r\nAB\r\n/);
  assert.ok(text.endsWith(`\r\n--${boundary}--\r\n`));
  await assert.rejects(encodeBatch([]), /at least one frame/);
});
