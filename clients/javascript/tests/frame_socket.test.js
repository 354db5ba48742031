/** Frames over a WebSocket, without a server. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { protocols } from "../src/frame_socket.js";
import { Client, ConnectionFailed, FrameError, LateFrame, ProtocolError, TimedOut, UsageError } from "../src/index.js";

const PNG = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const RAW = { width: 2, height: 1, dtype: "uint8" };

/** A WebSocket whose server is the test. */
class FakeSocket extends EventTarget {
  CONNECTING = 0;
  readyState = 0;
  bufferedAmount = 0;
  sent = [];

  constructor(url, asked) {
    super();
    Object.assign(this, { url: String(url), asked });
    FakeSocket.last = this;
  }

  open() {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }

  send(data) {
    this.sent.push(data);
  }

  answer(document) {
    this.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(document) }));
  }

  end(code, reason = "") {
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event("close"), { code, reason }));
  }

  close(code) {
    if (this.readyState !== 3) this.end(code);
  }
}

function connect(options, clientOptions) {
  const client = new Client({ baseUrl: "https://server/under/", WebSocket: FakeSocket, ...clientOptions });
  const socket = client.frames("mast", options);
  return { socket, fake: FakeSocket.last };
}

const raw = (...pixels) => ({ data: Uint8Array.from(pixels), width: 2, height: 1 });
const settle = () => new Promise((resolve) => setImmediate(resolve));

test("the address says what frames are, and the key is no part of it", () => {
  const { socket, fake } = connect({ ...RAW, model: "spot", scoreThreshold: 0.5 }, { apiKey: "kase?>" });
  assert.equal(
    fake.url,
    "wss://server/under/v1/streams/mast/frames?score_threshold=0.5&model=spot&width=2&height=1&dtype=uint8",
  );
  assert.deepEqual(fake.asked, ["loddis.v1", "loddis.key.a2FzZT8-"]);
  assert.deepEqual(protocols(undefined), ["loddis.v1"]);
  socket.close();
});

test("frames are answered in order, whatever they take to be read", async () => {
  const { socket, fake } = connect();
  const answers = [socket.send(new Blob([PNG]), { frameIndex: 4 }), socket.send(PNG, { timestampS: 0.5, reset: true })];
  fake.open();
  await settle();
  await settle();
  assert.equal(fake.sent.length, 4);
  assert.deepEqual([fake.sent[0], fake.sent[2]], ['{"frame_index":4}', '{"timestamp_s":0.5,"reset":true}']);
  assert.ok(fake.sent[1] instanceof Blob && fake.sent[3] instanceof Uint8Array);
  assert.equal(socket.waiting, 2);
  fake.answer({ type: "frame", frame_index: 4 });
  fake.answer({ type: "frame", frame_index: 5 });
  assert.deepEqual(
    (await Promise.all(answers)).map((answer) => answer.frame_index),
    [4, 5],
  );
  assert.equal(socket.waiting, 0);
  await socket.close();
});

test("a problem rejects its frame, and the stream goes on", async () => {
  const { socket, fake } = connect(RAW);
  fake.open();
  const [late, good] = [socket.send(raw(1, 2)), socket.send(raw(3, 4))];
  await settle();
  fake.answer({
    type: "problem",
    frame_index: 1,
    problem: { type: "/problems/late-frame", title: "A late frame", status: 409, detail: "late" },
  });
  fake.answer({ type: "frame", frame_index: 2 });
  await assert.rejects(late, LateFrame);
  assert.equal((await good).frame_index, 2);
  await socket.close();
});

test("what is no frame of this socket is refused, and the next one is sent", async () => {
  const { socket, fake } = connect(RAW);
  fake.open();
  await assert.rejects(socket.send(PNG), {
    name: "FrameError",
    message: /takes raw pixels of 2 x 1, uint8, got image/,
  });
  await assert.rejects(socket.send({ ...raw(1, 2), width: 1, height: 2 }), FrameError);
  await assert.rejects(socket.send(raw(1)), /must have 2 pixels, got 1/);
  await assert.rejects(socket.send(raw(1, 2), { frameIndex: -1 }), UsageError);
  assert.equal(fake.sent.length, 0);
  const answer = socket.send(raw(1, 2));
  await settle();
  fake.answer({ type: "frame", frame_index: 0 });
  assert.equal((await answer).frame_index, 0);
  await socket.close();
});

test("the reason of a close is that of all that waits and comes", async () => {
  const { socket, fake } = connect(RAW);
  fake.open();
  const answers = [socket.send(raw(1, 2)), socket.send(raw(3, 4))];
  await settle();
  fake.end(1001, "it was deleted");
  for (const answer of [...answers, socket.send(raw(5, 6))]) {
    await assert.rejects(answer, { name: "ConnectionFailed", message: /it was deleted \(1001\)/ });
  }
  await socket.closed;
});

test("a handshake that is refused is told of", async () => {
  const { socket, fake } = connect();
  const answer = socket.send(PNG);
  fake.end(1006);
  await assert.rejects(socket.opened, ConnectionFailed);
  await assert.rejects(answer, /wss:\/\/server\/under.*refused, or no server is there \(1006\)/);
});

test("after a close nothing is sent", async () => {
  const { socket, fake } = connect(RAW);
  fake.open();
  await socket.close();
  await assert.rejects(socket.send(raw(1, 2)), { name: "UsageError", message: /the socket is closed/ });
  assert.equal(fake.sent.length, 0);
});

test("an answer that does not come in time closes the connection", async () => {
  const { socket, fake } = connect(RAW, { timeoutMs: 20 });
  fake.open();
  await assert.rejects(socket.send(raw(1, 2)), TimedOut);
  await socket.closed;
  const never = connect(RAW, { timeoutMs: 20 });
  await assert.rejects(never.socket.opened, TimedOut);
});

test("what is no answer closes the connection", async () => {
  const { socket, fake } = connect(RAW);
  fake.open();
  const answer = socket.send(raw(1, 2));
  await settle();
  fake.answer({ hello: "there" });
  await assert.rejects(answer, ProtocolError);
  await socket.closed;
});

for (const [what, message] of Object.entries({
  "without its document": { type: "problem" },
  "that is nothing": { type: "problem", problem: null },
  "that is a text": { type: "problem", problem: "late" },
  "without a type": { type: "problem", problem: { title: "A late frame", status: 409, detail: "late" } },
  "whose detail is an object": {
    type: "problem",
    problem: { type: "/problems/late-frame", title: "A late frame", status: 409, detail: {} },
  },
})) {
  test(`a problem ${what} closes the connection, waited for or not`, async () => {
    const { socket, fake } = connect(RAW);
    fake.open();
    const answers = [socket.send(raw(1, 2)), socket.send(raw(3, 4))];
    await settle();
    fake.answer(message); // what a listener throws ends the process
    for (const answer of [...answers, socket.send(raw(5, 6))]) await assert.rejects(answer, ProtocolError);
    await socket.closed;

    const unasked = connect(RAW);
    unasked.fake.open();
    unasked.fake.answer(message);
    await assert.rejects(unasked.socket.send(raw(1, 2)), ProtocolError);
    await unasked.socket.closed;
  });
}

test("a signal closes the socket, or ends the wait for one answer alone", async () => {
  const controller = new AbortController();
  const { socket, fake } = connect({ ...RAW, signal: controller.signal });
  fake.open();
  const patience = new AbortController();
  const [left, kept] = [socket.send(raw(1, 2), { signal: patience.signal }), socket.send(raw(3, 4))];
  await settle();
  patience.abort("enough");
  await assert.rejects(left, (reason) => reason === "enough");
  fake.answer({ type: "frame", frame_index: 0 });
  fake.answer({ type: "frame", frame_index: 1 });
  assert.equal((await kept).frame_index, 1);
  const waiting = socket.send(raw(5, 6));
  await settle();
  controller.abort("over");
  await assert.rejects(waiting, (reason) => reason === "over");
  await socket.closed;
});
