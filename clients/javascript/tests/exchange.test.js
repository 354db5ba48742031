/** Requests and answers, without a server: errors, tries, time limits, signals. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, ConnectionFailed, LoddisClientError, ProtocolError, TimedOut } from "../src/index.js";
import { RetryPolicy } from "../src/retries.js";

const FRAME = { data: new Uint8Array(4), width: 2, height: 2 };
const FOUND = { detections: [] };
const LOST = Object.assign(new TypeError("fetch failed"), { cause: new Error("other side closed") });
const REFUSED = Object.assign(new TypeError("fetch failed"), {
  cause: Object.assign(new Error("connect"), { code: "ECONNREFUSED" }),
});

/** Give a client that is answered so, in turn; the last answer stays. Requests are noted in `asked`. */
function clientWith(answers, options) {
  const asked = [];
  const fetch = async (url, init) => {
    init.signal.throwIfAborted();
    asked.push({ url: String(url), ...init });
    const answer = answers[Math.min(asked.length, answers.length) - 1];
    if (answer instanceof Error) throw answer;
    return typeof answer === "function" ? answer(init) : answer.clone();
  };
  return { asked, client: new Client({ baseUrl: "http://server/under", fetch, ...options }) };
}

function problem(slug, status, headers) {
  const type = `/problems/${slug}`;
  const document = { type, title: "A title", status, detail: "what came", instance: "/", request_id: "1" };
  return Response.json(document, { status, headers });
}

/** A body that goes on until its request is ended. */
function endless({ signal }, first, headers) {
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(first));
      signal.addEventListener("abort", () => controller.error(signal.reason));
    },
  });
  return new Response(body, { headers });
}

test("what is asked stands in address and headers, the key never in the address", async () => {
  const { asked, client } = clientWith([Response.json(FOUND)], { apiKey: "top-secret", model: "spot" });
  await client.detect(FRAME, { scoreThreshold: 0.5, maxDetections: 3, streamId: "mast", frameIndex: 4, reset: true });
  const [{ url, method, headers, redirect }] = asked;
  assert.equal(url, "http://server/under/v1/detect?score_threshold=0.5&max_detections=3&model=spot");
  assert.deepEqual([method, redirect, headers.Authorization], ["POST", "manual", "Bearer top-secret"]);
  assert.deepEqual(
    [headers["X-Stream-Id"], headers["X-Frame-Index"], headers["X-Stream-Reset"]],
    ["mast", "4", "true"],
  );
});

for (const [name, slug, status] of [
  ["FrameRejected", "true-colour", 422],
  ["FrameRejected", "body-too-large", 413],
  ["LateFrame", "late-frame", 409],
  ["ModelNotFound", "unknown-model", 404],
  ["StreamNotFound", "unknown-stream", 404],
  ["NotFound", "unknown-event", 404],
  ["Unauthorised", "unauthorised", 401],
  ["Unauthorised", "forbidden", 403],
  ["BadRequest", "bad-parameter", 422],
  ["InternalError", "internal", 500],
  ["Overloaded", "too-many-streams", 429],
]) {
  test(`${slug} is ${name}`, async () => {
    const { client } = clientWith([problem(slug, status)], { retries: 0 });
    await assert.rejects(client.detect(FRAME), (error) => {
      assert.ok(error instanceof LoddisClientError);
      assert.deepEqual([error.name, error.slug, error.status, error.message], [name, slug, status, "what came"]);
      assert.equal(error.problem.request_id, "1");
      return true;
    });
  });
}

test("a page of a proxy is kept as text", async () => {
  const page = new Response("<h1>Bad\n Gateway</h1>", { status: 502, statusText: "Bad Gateway" });
  const { client } = clientWith([page]);
  await assert.rejects(client.models(), { name: "InternalError", message: /HTTP 502 Bad Gateway: <h1>Bad Gateway/ });
});

for (const [what, answer] of Object.entries({
  "a page": new Response("<html>"),
  "another document": Response.json({ hello: "there" }),
  "a list": Response.json([]),
  "a way elsewhere": new Response(null, { status: 307, headers: { Location: "http://other/" } }),
})) {
  test(`${what} is no answer of a Loddis server`, async () => {
    await assert.rejects(clientWith([answer]).client.models(), ProtocolError);
  });
}

for (const answer of [
  { results: 5 },
  { results: [null] },
  { results: [7] },
  { results: [{}] },
  { results: [{ result: null, problem: null }] },
  { results: [{ result: { detections: 5 } }] },
  { results: [{ problem: {} }] },
  { results: [{ problem: "late" }] },
  { results: [{ problem: { type: "about:blank", title: "A title", status: "422", detail: "what came" } }] },
  { results: [{ problem: { type: "about:blank", title: "A title", status: 422, detail: {} } }] },
]) {
  test(`${JSON.stringify(answer)} is no answer to a batch`, async () => {
    await assert.rejects(clientWith([Response.json(answer)]).client.detectBatch([FRAME]), ProtocolError);
  });
}

test("a batch gives results, and errors in their places", async () => {
  const refused = { type: "/problems/true-colour", title: "A title", status: 422, detail: "what came" };
  const results = [
    { name: null, result: FOUND, problem: null },
    { name: null, result: null, problem: refused },
  ];
  const [found, error] = await clientWith([Response.json({ results })]).client.detectBatch([FRAME, FRAME]);
  assert.deepEqual(found, FOUND);
  assert.deepEqual([error.name, error.message], ["FrameRejected", "what came"]);
});

for (const [name, value] of [
  ["type", 5],
  ["title", ["A title"]],
  ["detail", { loc: "body" }],
]) {
  test(`a refusal whose ${name} is no text is no answer of a Loddis server`, async () => {
    const { client } = clientWith([Response.json({ [name]: value }, { status: 422 })]);
    await assert.rejects(client.detect(FRAME), {
      name: "ProtocolError",
      message: new RegExp(`the ${name} of a problem`),
    });
  });
}

test("a list that is none is no answer of a Loddis server", async () => {
  const { client } = clientWith([Response.json({ events: 5, detections: 5, next_cursor: null })]);
  await assert.rejects(client.eventsAll().next(), ProtocolError);
  await assert.rejects(client.detect(FRAME), ProtocolError);
});

test("pictures and messages that are none are told of", async () => {
  const { client } = clientWith([Response.json({})]);
  await assert.rejects(client.detectImage(FRAME), ProtocolError);
  await assert.rejects(client.thumbnail("1"), ProtocolError);
  await assert.rejects(client.picture("mast"), ProtocolError);
  await assert.rejects(client.streamDetections("mast").next(), ProtocolError);
  await assert.rejects(client.preview("mast").next(), ProtocolError);
});

test("a server that is full is asked again, as it says", async () => {
  const full = problem("overloaded", 503, { "Retry-After": "0.01" });
  const { asked, client } = clientWith([full, full, Response.json(FOUND)]);
  assert.deepEqual(await client.detect(FRAME, { streamId: "mast" }), FOUND); // it was refused: it never arrived
  assert.equal(asked.length, 3);
  await assert.rejects(clientWith([full], { retries: 1 }).client.detect(FRAME), {
    name: "Overloaded",
    retryAfterS: 0.01,
  });
});

test("what got lost is sent again, but for what may have become part of a stream", async () => {
  const frame = clientWith([LOST, Response.json(FOUND)]);
  await frame.client.detect(FRAME);
  assert.equal(frame.asked.length, 2);
  const deliveries = clientWith([LOST, Response.json({ put_back: 0 })]);
  assert.equal(await deliveries.client.retryDeliveries("pager"), 0); // asking twice does no harm
  assert.equal(deliveries.asked.length, 2);
  for (const call of [
    (client) => client.detect(FRAME, { streamId: "mast" }),
    (client) => client.createStream({ streamId: "mast", source: { url: "rtsp://camera" } }),
    (client) => client.deleteStream("mast"),
    (client) => client.unloadModel("spot", "1"),
  ]) {
    const once = clientWith([LOST]);
    await assert.rejects(call(once.client), { name: "ConnectionFailed", message: /server\/under.*other side closed/ });
    assert.equal(once.asked.length, 1);
    const never = clientWith([REFUSED]);
    await assert.rejects(call(never.client), ConnectionFailed);
    assert.equal(never.asked.length, 3);
  }
});

test("pauses double, keep to what the server asked for, and have a limit", () => {
  const policy = new RetryPolicy(3);
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const pause = policy.pauseMs(attempt);
    assert.ok(pause >= 50 * 2 ** attempt && pause <= 75 * 2 ** attempt, String(pause));
  }
  assert.equal(policy.pauseMs(3), null);
  const asked = policy.pauseMs(0, 2);
  assert.ok(asked >= 2000 && asked <= 3000);
  assert.equal(policy.pauseMs(0, 3600), 5000);
});

test("an answer that does not come in time is told of, and not asked for again", async () => {
  const late = clientWith([(init) => endless(init, "{", { "Content-Type": "application/json" })], { timeoutMs: 20 });
  await assert.rejects(late.client.detect(FRAME), TimedOut);
  assert.equal(late.asked.length, 1);
  assert.equal(await late.client.ready(), false);
});

test("a signal ends each kind of call with its own reason, and its connection", async () => {
  const waiting = (init, controller) => {
    setImmediate(() => controller.abort("enough"));
    return endless(init, '{"type": "frame"}\n', { "Content-Type": "application/x-ndjson" });
  };
  for (const call of [
    (client, signal) => client.detect(FRAME, { signal }),
    (client, signal) => client.detectBatch([FRAME], { signal }),
    (client, signal) => Array.fromAsync(client.detectMany([FRAME, FRAME], { signal })),
    (client, signal) => Array.fromAsync(client.streamDetections("mast", { signal })),
    (client, signal) => Array.fromAsync(client.detectVideo(new Blob(["…"]), { signal })),
    (client, signal) => Array.fromAsync(client.eventsAll({ signal })),
  ]) {
    const controller = new AbortController();
    const { asked, client } = clientWith([(init) => waiting(init, controller)]);
    await assert.rejects(call(client, controller.signal), (reason) => reason === "enough");
    assert.ok(asked[0].signal.aborted);
  }
});

test("a signal that was given before ends a call before it begins, and one in a pause ends the pause", async () => {
  const { asked, client } = clientWith([problem("overloaded", 503, { "Retry-After": "5" })]);
  await assert.rejects(client.detect(FRAME, { signal: AbortSignal.abort("enough") }), (reason) => reason === "enough");
  assert.equal(asked.length, 0);
  await assert.rejects(client.ready({ signal: AbortSignal.abort("enough") }), (reason) => reason === "enough");
  const signal = AbortSignal.timeout(20);
  await assert.rejects(client.detect(FRAME, { signal }), { name: "TimeoutError" });
  assert.equal(asked.length, 1);
});

test("whoever stops taking messages closes the connection", async () => {
  const { asked, client } = clientWith([
    (init) => endless(init, '{"type": "frame"}\n', { "Content-Type": "application/x-ndjson" }),
  ]);
  for await (const message of client.streamDetections("mast")) {
    assert.equal(message.type, "frame");
    break;
  }
  assert.ok(asked[0].signal.aborted);
});

test("whoever takes messages may take longer than the server may be silent", async () => {
  const lines = '{"type": "frame"}\n{"type": "end"}\n';
  const answer = new Response(lines, { headers: { "Content-Type": "application/x-ndjson" } });
  const { client } = clientWith([answer], { timeoutMs: 10 });
  const types = [];
  for await (const { type } of client.streamDetections("mast")) {
    await new Promise((resolve) => setTimeout(resolve, 30));
    types.push(type);
  }
  assert.deepEqual(types, ["frame", "end"]);
});

test("many frames are drawn no further than needed, and given in order or as they come", async () => {
  let drawn = 0;
  function* endlessly() {
    for (;;) {
      drawn += 1;
      yield { data: Uint8Array.of(drawn), width: 1, height: 1 };
    }
  }
  // The first of four is the slowest.
  const answer = async ({ body }) => {
    await new Promise((resolve) => setTimeout(resolve, body[0] === 1 ? 40 : 1));
    return Response.json({ detections: [], frame: body[0] });
  };
  for (const [ordered, first] of [
    [true, 1],
    [false, 2],
  ]) {
    drawn = 0;
    const { asked, client } = clientWith([answer]);
    const results = client.detectMany(endlessly(), { concurrency: 3, ordered });
    assert.equal((await results.next()).value.frame, first);
    await results.next();
    await results.return();
    assert.ok(drawn <= 2 + 3, String(drawn));
    assert.ok(asked.at(-1).signal.aborted);
  }
});

test("results come while the source lets wait, and it is drawn from while they are not taken", async () => {
  for (const ordered of [true, false]) {
    const { promise: taken, resolve: take } = Promise.withResolvers();
    let drawn = 0;
    async function* slowly() {
      for (;;) {
        if (drawn === 1) await taken;
        drawn += 1;
        yield FRAME;
      }
    }
    const { client } = clientWith([Response.json(FOUND)]);
    const results = client.detectMany(slowly(), { concurrency: 3, ordered });
    assert.deepEqual((await results.next()).value, FOUND);
    take();
    for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
    assert.equal(drawn, 1 + 3);
    await results.return();
  }
});

test("results keep the order of the frames where the first is the slowest, or come before it", async () => {
  for (const [ordered, order] of [
    [true, [1, 2]],
    [false, [2, 1]],
  ]) {
    const { promise: answered, resolve: answer } = Promise.withResolvers();
    async function* slowly() {
      yield { data: Uint8Array.of(1), width: 1, height: 1 };
      yield { data: Uint8Array.of(2), width: 1, height: 1 };
      await answered;
    }
    const { client } = clientWith([
      async ({ body }) => {
        if (body[0] === 1) await answered;
        else setImmediate(answer);
        return Response.json({ detections: [], frame: body[0] });
      },
    ]);
    const given = await Array.fromAsync(client.detectMany(slowly(), { ordered }));
    assert.deepEqual(
      given.map(({ frame }) => frame),
      order,
    );
  }
});

for (const [what, hanging] of Object.entries({
  "that hangs": (said) => ({
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise(() => {}),
      return: () => {
        said.push("return");
        return new Promise(() => {});
      },
    }),
  }),
  "that is between two frames": (said) => ({
    *[Symbol.iterator]() {
      try {
        for (;;) yield FRAME;
      } finally {
        said.push("return");
      }
    },
  }),
  "that ends by itself then": (said, signal) => ({
    async *[Symbol.asyncIterator]() {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      said.push("return");
    },
  }),
})) {
  test(`a signal ends many frames of a source ${what}, and the source`, async () => {
    const controller = new AbortController();
    const said = [];
    const { client } = clientWith([(init) => endless(init, "{")]);
    const frames = hanging(said, controller.signal);
    const results = Array.fromAsync(client.detectMany(frames, { signal: controller.signal }));
    setImmediate(() => controller.abort("enough"));
    await assert.rejects(results, (reason) => reason === "enough");
    assert.deepEqual(said, ["return"]);
  });
}

test("whoever stops taking results waits until the source has cleaned up", async () => {
  let isClean = false;
  async function* cleaning() {
    try {
      for (;;) yield FRAME;
    } finally {
      await new Promise(setImmediate);
      isClean = true;
    }
  }
  const { client } = clientWith([Response.json(FOUND)]);
  for await (const result of client.detectMany(cleaning(), { concurrency: 1 })) {
    assert.deepEqual(result, FOUND);
    break;
  }
  assert.ok(isClean);
});

test("a frame that fails is thrown, or given in its place", async () => {
  const frames = [FRAME, { data: new Uint8Array(3), width: 2, height: 2 }, FRAME];
  const { client } = clientWith([Response.json(FOUND)]);
  const given = await Array.fromAsync(client.detectMany(frames, { onError: "yield" }));
  assert.deepEqual(
    given.map((one) => one instanceof LoddisClientError),
    [false, true, false],
  );
  await assert.rejects(Array.fromAsync(client.detectMany(frames)), /must have 4 pixels, got 3/);
});

test("an error of the source comes through, after the results of what it gave", async () => {
  async function* broken() {
    yield FRAME;
    throw new RangeError("the camera fell over");
  }
  const { client } = clientWith([Response.json(FOUND)]);
  const results = client.detectMany(broken());
  assert.deepEqual((await results.next()).value, FOUND);
  await assert.rejects(results.next(), RangeError);
});

test("a search for events names what it wants, and goes on page by page", async () => {
  const pages = [
    { events: [{ id: "1" }, { id: "2" }], next_cursor: "more" },
    { events: [{ id: "3" }], next_cursor: "later" },
  ];
  const { asked, client } = clientWith(pages.map((page) => Response.json(page)));
  const found = client.eventsAll({
    streamId: "mast",
    kinds: ["health", "drift"],
    since: new Date(0),
    until: "2030-01-01T00:00:00Z",
    minScore: 0.5,
    order: "oldest",
    limit: 2,
  });
  assert.deepEqual(
    (await Array.fromAsync(found)).map(({ id }) => id),
    ["1", "2", "3"],
  );
  const [first, second] = asked.map(({ url }) => new URL(url).searchParams);
  assert.deepEqual(first.getAll("kind"), ["health", "drift"]);
  assert.deepEqual(
    [first.get("since"), first.get("min_score"), first.get("cursor")],
    ["1970-01-01T00:00:00.000Z", "0.5", null],
  );
  assert.deepEqual([second.get("cursor"), second.get("order"), asked.length], ["more", "oldest", 2]);
});

test("all events come to an end where the page has no size that is said, or nothing is left", async () => {
  for (const options of [{}, { limit: undefined }, { limit: 1 }]) {
    const { asked, client } = clientWith([Response.json({ events: [], next_cursor: "later" })]);
    assert.deepEqual(await Array.fromAsync(client.eventsAll({ ...options, order: "oldest" })), []);
    assert.equal(asked.length, 1);
    assert.equal(new URL(asked[0].url).searchParams.get("limit"), String(options.limit ?? 100));
  }
});

test("a picture says which frame it shows, if the answer does", async () => {
  const headers = { "Content-Type": "image/jpeg", "X-Frame-Index": "12" };
  const { asked, client } = clientWith([new Response("jpeg", { headers })]);
  const { frameIndex, picture } = await client.picture("mast", { scale: 2 });
  assert.deepEqual([frameIndex, await picture.text()], [12, "jpeg"]);
  assert.equal(asked[0].url, "http://server/under/v1/streams/mast/picture?scale=2");
  const mute = clientWith([new Response("jpeg", { headers: { "Content-Type": "image/jpeg" } })]);
  assert.equal((await mute.client.picture("mast")).frameIndex, null);
});
