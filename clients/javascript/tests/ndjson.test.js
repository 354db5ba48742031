/** Messages of answers that come in pieces. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectionFailed, ProtocolError } from "../src/errors.js";
import { MessageReader } from "../src/ndjson.js";

const URL_ = new URL("http://server/v1/streams/mast/detections");
const MESSAGES = [
  { type: "frame", frame_index: 1, stream_id: "mât" },
  { type: "source", state: "live", cause: "日本 🛰" },
  { type: "end", reason: "it was deleted", frames: 1 },
];
const [FRAME, SOURCE, END] = MESSAGES.map((message) => JSON.stringify(message));
const BYTES = new TextEncoder().encode(`${FRAME}\n\n${SOURCE}\r\n\n${END}\n`);

function read(chunks) {
  const reader = new MessageReader(URL_);
  const messages = chunks.flatMap((chunk) => [...reader.add(chunk)]);
  reader.finish();
  return messages;
}

test("messages are the same wherever the answer is cut", () => {
  for (let cut = 0; cut <= BYTES.length; cut += 1) {
    assert.deepEqual(read([BYTES.subarray(0, cut), BYTES.subarray(cut)]), MESSAGES);
  }
  assert.deepEqual(read(Array.from(BYTES, (byte) => Uint8Array.of(byte))), MESSAGES);
});

test("a message comes with its last byte", () => {
  const reader = new MessageReader(URL_);
  const bytes = new TextEncoder().encode(`${FRAME}\n`);
  assert.deepEqual([...reader.add(bytes.subarray(0, -1))], []);
  assert.deepEqual([...reader.add(bytes.subarray(-1))], [MESSAGES[0]]);
});

test("an answer that breaks off before its end is told of, wherever it is cut", () => {
  for (let cut = 0; cut < BYTES.length - 1; cut += 1) {
    assert.throws(() => read([BYTES.subarray(0, cut)]), ConnectionFailed);
  }
});

test("messages of unknown types are left out, and nothing is read after the end", () => {
  const bytes = new TextEncoder().encode(`{"type": "news"}\n${END}\nnonsense\n`);
  assert.deepEqual(read([bytes]), [MESSAGES[2]]);
});

for (const [what, text] of Object.entries({
  "no JSON": "<html>\n",
  "no object": "[1]\n",
  nothing: "null\n",
  "no type": '{"frames": 1}\n',
  "no problem document": '{"type": "problem", "problem": {"type": "about:blank", "detail": {}}}\n',
})) {
  test(`a line that is ${what} is no message`, () => {
    assert.throws(() => read([new TextEncoder().encode(text)]), ProtocolError);
  });
}

test("what is no UTF-8 is no message", () => {
  assert.throws(() => read([Uint8Array.of(0x7b, 0xff, 0x7d, 0x0a)]), ProtocolError);
});

test("a line without end is not kept", () => {
  const reader = new MessageReader(URL_);
  const chunk = new Uint8Array(2 ** 24).fill(0x20);
  assert.throws(() => {
    for (let count = 0; count < 5; count += 1) assert.deepEqual([...reader.add(chunk)], []);
  }, ProtocolError);
});
