/** What makes no sense is refused before anything is sent. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, UsageError } from "../src/index.js";
import { checkBaseUrl } from "../src/options.js";

const FRAME = { data: new Uint8Array(4), width: 2, height: 2 };

function silent() {
  return new Client({ fetch: () => assert.fail("something was sent"), WebSocket: class {} });
}

for (const [options, message] of [
  [{ baseUrl: "127.0.0.1:8080" }, /baseUrl must be such as/],
  [{ baseUrl: "ftp://host" }, /baseUrl must be such as/],
  [{ baseUrl: "http://" }, /baseUrl must be such as/],
  [{ baseUrl: "" }, /baseUrl must be such as/],
  [{ baseUrl: "http://host/?a=b" }, /baseUrl must be such as/],
  [{ baseUrl: "http://me:secret@host" }, /must not hold a user name/],
  [{ timeoutMs: 0 }, /timeoutMs must be above 0/],
  [{ timeoutMs: Number.POSITIVE_INFINITY }, /timeoutMs must be above 0/],
  [{ retries: -1 }, /retries must be a whole number from 0/],
  [{ apiKey: "clé" }, /visible ASCII/],
]) {
  test(`a client with ${JSON.stringify(options)} is refused`, () => {
    assert.throws(() => new Client(options), { name: "UsageError", message });
  });
}

for (const [options, message] of [
  [{ scoreThreshold: 2 }, /scoreThreshold must be in \[0, 1\], got 2/],
  [{ scoreThreshold: Number.NaN }, /scoreThreshold must be in/],
  [{ maxDetections: 0 }, /maxDetections must be a whole number from 1/],
  [{ maxDetections: 1.5 }, /maxDetections must be a whole number from 1/],
  [{ model: "a\nb" }, /model must be NAME/],
  [{ frameIndex: 3 }, /streamId must say which/],
  [{ reset: true }, /streamId must say which/],
  [{ streamId: "no such/name" }, /streamId must be 1 to 64/],
  [{ streamId: "a", frameIndex: -1 }, /frameIndex must be a whole number from 0/],
  [{ streamId: "a", timestampS: Number.NaN }, /timestampS must be a finite number/],
]) {
  test(`a frame with ${JSON.stringify(options)} is refused`, async () => {
    await assert.rejects(silent().detect(FRAME, options), { name: "UsageError", message });
  });
}

test("generators refuse when they are called, not when they are first asked", () => {
  const client = silent();
  for (const call of [
    () => client.detectMany(7),
    () => client.detectMany([], { concurrency: 0 }),
    () => client.detectMany([], { onError: "ignore" }),
    () => client.detectVideo("clip.mp4"),
    () => client.streamDetections("no/name"),
    () => client.preview("no/name"),
    () => client.preview("mast", { scale: 0 }),
    () => client.eventsAll({ minScore: 2 }),
    () => client.eventsAll({ since: new Date("nonsense") }),
    () => client.frames("no/name"),
    () => client.frames("mast", { width: 3 }),
  ]) {
    assert.throws(call, UsageError);
  }
});

test("a base URL keeps its path, and may be relative to a page", (t) => {
  assert.equal(checkBaseUrl("http://host/a/b").href, "http://host/a/b/");
  globalThis.location = { href: "https://host/a/console/index.html" };
  t.after(() => delete globalThis.location);
  assert.equal(checkBaseUrl("..").href, "https://host/a/");
  assert.equal(checkBaseUrl("/").href, "https://host/");
});
