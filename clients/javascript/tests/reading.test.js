/** Answers without end: they are read no further than they may be long, and their connections are closed. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { Client, ProtocolError } from "../src/index.js";
import { readUpTo } from "../src/reading.js";

const FRAME = { data: new Uint8Array(4), width: 2, height: 2 };
const MIB = 2 ** 20;

/** Give a client whose every answer is so long; `taken` counts bytes, `cancelled` the bodies that were left. */
function clientWith({ status = 200, type = "application/json", length, pieceLength = MIB }, options) {
  const seen = { taken: 0, cancelled: 0 };
  const piece = new Uint8Array(pieceLength).fill(0x20);
  const fetch = async () => {
    const source = {
      pull(controller) {
        if (seen.taken >= length) controller.error(new Error("more was taken than any answer has"));
        seen.taken += pieceLength;
        controller.enqueue(piece);
      },
      cancel() {
        seen.cancelled += 1;
        return new Promise(() => {}); // whoever waits for it hangs
      },
    };
    const body = new ReadableStream(source, { highWaterMark: 0 });
    return new Response(body, { status, headers: { "Content-Type": type, "Retry-After": "0" } });
  };
  return { seen, client: new Client({ baseUrl: "http://server", fetch, retries: 0, ...options }) };
}

for (const [what, call, type, mib] of [
  ["a document", (client) => client.models(), "application/json", 64],
  ["a detection", (client) => client.detect(FRAME), "application/json", 64],
  ["a batch", (client) => client.detectBatch([FRAME]), "application/json", 256],
  ["a drawn frame", (client) => client.detectImage(FRAME), "image/png", 256],
  ["a thumbnail", (client) => client.thumbnail("1"), "image/png", 64],
  ["a picture", (client) => client.picture("mast"), "image/jpeg", 64],
]) {
  test(`${what} without end is no answer of a Loddis server`, async () => {
    const { seen, client } = clientWith({ type, length: (mib + 16) * MIB });
    await assert.rejects(call(client), { name: "ProtocolError", message: new RegExp(`more than ${mib * MIB} bytes`) });
    assert.deepEqual(seen, { taken: (mib + 1) * MIB, cancelled: 1 });
  });
}

for (const [status, name] of [
  [500, "InternalError"],
  [503, "Overloaded"],
  [422, "BadRequest"],
]) {
  test(`of a page of ${status} without end only the beginning is read`, async () => {
    for (const call of [(client) => client.models(), (client) => client.streamDetections("mast").next()]) {
      const { seen, client } = clientWith({ status, length: MIB, pieceLength: 1000 });
      await assert.rejects(call(client), { name, status });
      assert.deepEqual(seen, { taken: 66_000, cancelled: 1 });
    }
  });
}

test("nothing is read of what leads elsewhere, or is asked for again", async () => {
  const elsewhere = clientWith({ status: 302, length: MIB });
  await assert.rejects(elsewhere.client.models(), ProtocolError);
  assert.deepEqual(elsewhere.seen, { taken: 0, cancelled: 1 });
  const full = clientWith({ status: 503, length: MIB, pieceLength: 1000 }, { retries: 2 });
  await assert.rejects(full.client.models(), { name: "Overloaded" });
  assert.deepEqual(full.seen, { taken: 66_000, cancelled: 3 });
});

test("whether a server is ready shows in its status, however much it says", async () => {
  for (const [status, isReady] of [
    [200, true],
    [503, false],
  ]) {
    const { seen, client } = clientWith({ status, length: MIB, pieceLength: 1000 });
    assert.equal(await client.ready(), isReady);
    assert.deepEqual(seen, { taken: 66_000, cancelled: 1 });
  }
});

test("what is as long as it may be is whole, wherever it is cut", async () => {
  const bytes = Uint8Array.from({ length: 37 }, (_, place) => place);
  for (const pieceLength of [1, 2, 7, 37]) {
    const response = () => {
      const pieces = [];
      for (let start = 0; start < 37; start += pieceLength) pieces.push(bytes.subarray(start, start + pieceLength));
      return new Response(ReadableStream.from(pieces));
    };
    for (const limit of [37, 38, 1000]) {
      assert.deepEqual(await readUpTo(response(), limit), { bytes, isWhole: true });
    }
    for (const limit of [1, 20, 36]) {
      assert.deepEqual(await readUpTo(response(), limit), { bytes: bytes.subarray(0, limit), isWhole: false });
    }
  }
  assert.deepEqual(await readUpTo(new Response(null), 9), { bytes: new Uint8Array(0), isWhole: true });
});

test("connections of answers that are left are closed, others are used again", async (t) => {
  let connections = 0;
  let requests = 0;
  const closed = [];
  const server = createServer((request, response) => {
    requests += 1;
    request.resume();
    if (requests > 2) return response.end('{"models": []}');
    response.writeHead(requests === 1 ? 503 : 500, { "Retry-After": "0" });
    closed.push(once(response, "close"));
    const write = () => {
      while (!response.destroyed && response.write(Buffer.alloc(10_000, " "))); // until it is not taken
    };
    response.on("drain", write);
    write();
  });
  server.on("connection", () => {
    connections += 1;
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const client = new Client({ baseUrl: `http://127.0.0.1:${server.address().port}`, retries: 1, timeoutMs: 3000 });
  await assert.rejects(client.models(), { name: "InternalError" });
  await Promise.all(closed);
  assert.equal(closed.length, 2);
  for (let count = 0; count < 20; count += 1) assert.deepEqual(await client.models(), { models: [] });
  assert.equal(requests, 22);
  assert.ok(connections < 10, String(connections));
});
