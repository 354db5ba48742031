/** Frames, batches, models and refusals, against a real server. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { BadRequest, Client, ConnectionFailed, FrameRejected, ModelNotFound, Unauthorised } from "../src/index.js";
import { movingSpot, spotFrame } from "./support/frames.js";
import { all, client, files, key, keyedUrl, withServer } from "./support/server.js";

/** Check that a target was found at a place. */
function assertFound({ detections }, x, y) {
  const [foundX, foundY] = detections[0].centroid_xy;
  assert.ok(Math.hypot(foundX - x, foundY - y) < 1, `found at ${foundX}, ${foundY}`);
}

test("a frame is detected however it is given", withServer, async () => {
  const png = await readFile(join(files, "frame.png"));
  const bytes = spotFrame(40.5, 30.5);
  const floats = { ...bytes, data: Float32Array.from(bytes.data, (level) => level / 255) };
  const words = spotFrame(40.5, 30.5, { Pixels: Uint16Array });
  for (const frame of [bytes, words, floats, png, new Blob([png]), new Uint8Array(png).buffer]) {
    const found = await client().detect(frame);
    assertFound(found, 40.5, 30.5);
    assert.deepEqual([found.frame.width, found.frame.height, found.model.name], [96, 64, "spot"]);
  }
});

test("options reach the server", withServer, async () => {
  const spot = client({ model: "spot:1" });
  const frame = spotFrame(40.5, 30.5);
  assert.equal((await spot.detect(frame, { scoreThreshold: 1 })).detections.length, 0);
  assert.equal((await spot.detect(frame, { scoreThreshold: 0, maxDetections: 1 })).detections.length, 1);
  const picture = await spot.detectImage(frame);
  assert.equal(picture.type, "image/png");
  assert.deepEqual([...new Uint8Array(await picture.slice(1, 4).arrayBuffer())], [0x50, 0x4e, 0x47]);
});

test("a batch has each frame's result or error in its place", withServer, async () => {
  const broken = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 1, 2, 3);
  const frames = [spotFrame(40.5, 30.5), broken, spotFrame(20.5, 20.5, { Pixels: Uint16Array })];
  const [first, refused, last] = await client().detectBatch(frames);
  assertFound(first, 40.5, 30.5);
  assert.ok(refused instanceof FrameRejected);
  assertFound(last, 20.5, 20.5);
});

test("many frames come back in order", withServer, async () => {
  const results = await all(client().detectMany(movingSpot(8), { concurrency: 3 }));
  assert.equal(results.length, 8);
  for (const [index, result] of results.entries()) assertFound(result, 20 + 1.5 * index, 30 + 0.5 * index);
});

test("the server's refusals have types", withServer, async () => {
  const frame = spotFrame(40.5, 30.5);
  await assert.rejects(client().detect(frame, { model: "nothing" }), (error) => {
    assert.ok(error instanceof ModelNotFound);
    assert.deepEqual([error.slug, error.status], ["unknown-model", 404]);
    return true;
  });
  const png = await readFile(join(files, "frame.png"));
  await assert.rejects(client().detect(png.subarray(0, -200)), { name: "FrameRejected", slug: "truncated-image" });
  await assert.rejects(client().detect(frame, { maxDetections: 10 ** 9 }), BadRequest);
});

test("models are listed, described, loaded and unloaded", withServer, async () => {
  const { models, repository } = await client().models();
  assert.deepEqual(
    models.map(({ name, version, state }) => [name, version, state]),
    [["spot", "1", "ready"]],
  );
  assert.ok(repository.some(({ name, version }) => name === "spot" && version === "2"));
  assert.deepEqual((await client().model("spot:1")).classes, ["target"]);
  assert.equal((await client().loadModel("spot", "2")).version, "2");
  assert.equal((await client().model("spot")).version, "2");
  assert.equal((await client().unloadModel("spot", "2")).name, "spot");
  await assert.rejects(client().model("nothing"), ModelNotFound);
});

test("the server says what it is, and whether it is ready", withServer, async () => {
  const info = await client().info();
  assert.deepEqual([info.name, info.status], ["loddis-server", "ready"]);
  assert.equal(await client().ready(), true);
});

test("a server that is not there is named", async () => {
  const nobody = new Client({ baseUrl: "http://127.0.0.1:9", retries: 1 });
  await assert.rejects(nobody.detect(spotFrame(1, 1)), (error) => {
    assert.ok(error instanceof ConnectionFailed);
    assert.match(error.message, /no connection to http:\/\/127\.0\.0\.1:9\/v1\/detect/);
    return true;
  });
  await assert.rejects(nobody.streamDetections("mast").next(), ConnectionFailed);
  await assert.rejects(nobody.frames("mast").opened, ConnectionFailed);
  assert.equal(await nobody.ready(), false);
});

test("a key opens the door, and the WebSocket's too", withServer, async (t) => {
  const frame = spotFrame(40.5, 30.5);
  const keyless = new Client({ baseUrl: keyedUrl });
  await assert.rejects(keyless.detect(frame), Unauthorised);
  await assert.rejects(keyless.frames("door").opened, ConnectionFailed);
  const holder = new Client({ baseUrl: keyedUrl, apiKey: key });
  t.after(() => holder.deleteStream("door"));
  assertFound(await holder.detect(frame), 40.5, 30.5);
  const socket = holder.frames("door", { width: 96, height: 64, dtype: "uint8" });
  assertFound(await socket.send(frame), 40.5, 30.5);
  await socket.close();
});
