/** Streams, sockets, videos, pictures and events, against a real server. */

import assert from "node:assert/strict";
import { openAsBlob } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { BadRequest, ConnectionFailed, LateFrame, StreamNotFound, Unauthorised } from "../src/index.js";
import { movingSpot, spotFrame } from "./support/frames.js";
import { all, client, files, streamOf, until, withServer } from "./support/server.js";

const RAW = { width: 96, height: 64, dtype: "uint8" };
const FRAMES = 12;

test("frames of a stream become a track, which becomes an event with a picture", withServer, async (t) => {
  const streamId = streamOf(t);
  const results = [];
  for (const [index, frame] of movingSpot(FRAMES).entries()) {
    results.push(await client().detect(frame, { streamId, frameIndex: 10 + 2 * index, timestampS: index / 25 }));
  }
  const announced = results.flatMap((result) => result.alarms.new);
  assert.equal(announced.length, 1);
  const last = results.at(-1);
  assert.deepEqual([last.frame_index, last.timestamp_s, last.window.missing], [32, 11 / 25, 1]);
  assert.ok(last.tracks.some(({ track_id }) => track_id === announced[0]));

  const wanted = { streamId, kinds: ["track.confirmed"], since: new Date(Date.now() - 60_000), minScore: 0.1 };
  await until(async () => (await client().events(wanted)).events.length === 1);
  const [event] = await all(client().eventsAll({ ...wanted, order: "oldest", limit: 1 }));
  assert.equal((await client().event(event.id)).event.stream_id, streamId);
  assert.equal(event.has_thumbnail, true);
  assert.equal((await client().thumbnail(event.id)).type, "image/png");
  assert.deepEqual((await client().events({ ...wanted, until: new Date(0) })).events, []);
  await assert.rejects(client().events({ kinds: ["nonsense"] }), BadRequest);
});

test("a late frame has an error of its own, and a reset begins anew", withServer, async (t) => {
  const streamId = streamOf(t);
  const [first, second] = movingSpot(2);
  await client().detect(first, { streamId, frameIndex: 5 });
  await assert.rejects(client().detect(second, { streamId, frameIndex: 4 }), LateFrame);
  const again = await client().detect(second, { streamId, frameIndex: 0, reset: true });
  assert.deepEqual([again.frame_index, again.window.restart], [0, "reset"]);
});

test("streams are listed, described and ended", withServer, async (t) => {
  const streamId = streamOf(t);
  await assert.rejects(client().stream(streamId), StreamNotFound);
  await client().detect(spotFrame(40.5, 30.5), { streamId });
  assert.ok((await client().streams()).streams.some((stream) => stream.stream_id === streamId));
  assert.equal((await client().stream(streamId)).frames, 1);
  await client().deleteStream(streamId);
  await assert.rejects(client().deleteStream(streamId), StreamNotFound);
});

test("a source that the operator has not listed is refused", withServer, async () => {
  const wanted = {
    streamId: "refused",
    source: { path: "/nowhere/clip.mkv" },
    settings: { alarms: { wanted_per_hour: 1 } },
  };
  await assert.rejects(client().createStream(wanted), (error) => {
    assert.ok(error instanceof Unauthorised);
    assert.equal(error.slug, "source-not-allowed");
    return true;
  });
});

test("a source that is listed is read", withServer, async (t) => {
  const streamId = streamOf(t);
  const source = { path: join(files, "clip.mkv"), realtime: true };
  const status = await client().createStream({ streamId, source });
  assert.deepEqual([status.stream_id, status.kind], [streamId, "source"]);
});

test("what a stream says is heard until it ends", withServer, async (t) => {
  const streamId = streamOf(t);
  const [first, ...others] = movingSpot(FRAMES);
  await assert.rejects(client().streamDetections(streamId).next(), StreamNotFound);
  await client().detect(first, { streamId });
  const hearing = all(client().streamDetections(streamId));
  await until(async () => (await client().stream(streamId)).listeners === 1);
  for (const frame of others) await client().detect(frame, { streamId });
  await client().deleteStream(streamId);
  const messages = await hearing;
  assert.deepEqual(
    messages.map(({ type }) => type),
    [...others.map(() => "frame"), "end"],
  );
  assert.deepEqual([messages.at(-1).reason, messages.at(-1).frames], ["it was deleted", FRAMES]);
});

test("who stops listening, or is stopped by a signal, is forgotten", withServer, async (t) => {
  const streamId = streamOf(t);
  await client().detect(spotFrame(40.5, 30.5), { streamId });
  const listeners = async () => (await client().stream(streamId)).listeners;
  const controller = new AbortController();
  const stopped = all(client().streamDetections(streamId, { signal: controller.signal }));
  const broken = (async () => {
    for await (const _ of client().streamDetections(streamId)) break;
  })();
  await until(async () => (await listeners()) === 2);
  controller.abort();
  await assert.rejects(stopped, { name: "AbortError" });
  await client().detect(spotFrame(41, 31), { streamId });
  await broken;
  await until(async () => (await listeners()) === 0);
});

test("a preview shows frame after frame, and a picture the newest", withServer, async (t) => {
  const streamId = streamOf(t);
  const [first, ...others] = movingSpot(4);
  await client().detect(first, { streamId });
  const pictures = client().preview(streamId, { fps: 30, scale: 1 });
  let coming = pictures.next();
  await until(async () => (await client().stream(streamId)).listeners === 1);
  for (const [index, frame] of others.entries()) {
    await client().detect(frame, { streamId });
    const { frameIndex, picture } = (await coming).value;
    assert.equal(frameIndex, index + 1);
    assert.deepEqual([...new Uint8Array(await picture.slice(0, 2).arrayBuffer())], [0xff, 0xd8]);
    coming = pictures.next();
  }
  const newest = await client().picture(streamId, { scale: 1 });
  assert.deepEqual([newest.frameIndex, newest.picture.type], [3, "image/jpeg"]);
  await client().deleteStream(streamId);
  assert.equal((await coming).done, true);
});

test("frames over a socket are answered in order", withServer, async (t) => {
  const streamId = streamOf(t);
  const socket = client().frames(streamId, RAW);
  const answers = movingSpot(FRAMES).map((frame, index) => socket.send(frame, { frameIndex: 2 * index }));
  const results = await Promise.all(answers);
  assert.deepEqual(
    results.map(({ frame_index }) => frame_index),
    results.map((_, index) => 2 * index),
  );
  assert.equal(results.flatMap(({ alarms }) => alarms.new).length, 1);
  await assert.rejects(socket.send(spotFrame(1, 1), { frameIndex: 3 }), LateFrame);
  assert.equal((await socket.send(spotFrame(40, 30))).frame_index, 2 * FRAMES - 1);
  await socket.close();
});

test("files go over a socket, too, and the end of the stream is its error", withServer, async (t) => {
  const streamId = streamOf(t);
  const socket = client().frames(streamId);
  const png = await openAsBlob(join(files, "frame.png"));
  assert.equal((await socket.send(png)).detections.length, 1);
  await client().deleteStream(streamId);
  await socket.closed;
  await assert.rejects(socket.send(png), (error) => {
    assert.ok(error instanceof ConnectionFailed);
    assert.match(error.message, /it was deleted \(1001\)/);
    return true;
  });
});

test("a video is answered frame by frame", withServer, async () => {
  const clip = await openAsBlob(join(files, "clip.mkv"));
  for (const video of [clip, await clip.arrayBuffer()]) {
    const messages = await all(client().detectVideo(video));
    assert.deepEqual(
      messages.map(({ type }) => type),
      [...Array.from({ length: FRAMES }, () => "frame"), "end"],
    );
    assert.equal(messages.at(-1).frames, FRAMES);
  }
  await assert.rejects(all(client().detectVideo(new Blob(["no video at all"]))), BadRequest);
});

test("who leaves a video leaves no stream", withServer, async () => {
  const clip = await openAsBlob(join(files, "clip.mkv"));
  for await (const message of client().detectVideo(clip)) {
    assert.equal(message.type, "frame");
    break;
  }
  await until(async () => (await client().streams()).streams.every(({ kind }) => kind !== "video"));
});
