/** The client: one method an ability of the server. */

import { documentOf, errorOf, LARGEST, LARGEST_PROBLEM, notOurs, outcomeOf, pictureOf } from "./answers.js";
import { encodeBatch, encodeFrame } from "./bodies.js";
import { FrameError, LoddisClientError, UsageError } from "./errors.js";
import { FrameSocket } from "./frame_socket.js";
import { checkMany, inParallel } from "./many.js";
import { MotionJpegReader, wholeNumber } from "./motion_jpeg.js";
import { MessageReader } from "./ndjson.js";
import {
  checkModel,
  checkStreamId,
  checkWhole,
  DEFAULT_URL,
  detectParams,
  eventParams,
  placeHeaders,
} from "./options.js";
import { readUpTo } from "./reading.js";
import { Transport } from "./transport.js";

/** @import * as Types from "./types.js" */
/** @import { CallOptions, DetectOptions, DetectResponse, Frame, FrameMessage, FramePlace } from "./types.js" */

const JSON_TYPE = "application/json";
const NDJSON = "application/x-ndjson";
const LOAD_MS = 600_000; // a model may be compiled first
const VIDEO_MS = 660_000; // a server takes ten minutes at most, and may say nothing before it has the whole

/**
 * Talk to a Loddis server.
 *
 *     const client = new Client({ baseUrl: "http://127.0.0.1:8080" });
 *     const { detections } = await client.detect(file);
 *
 * Answers are the server's documents as they are. Every method takes a `signal`, which ends the call with its own reason
 * and closes the connection. Methods throw `UsageError` for what cannot be asked, and else what `errors.js` lists:
 * `ServerError` where the server refuses, `ConnectionFailed`, `TimedOut`, `ProtocolError`.
 */
export class Client {
  #model;
  #transport;
  #WebSocket;

  /**
   * @param {object} [options]
   * @param {string | URL} [options.baseUrl] Of the server; a path is kept. In a browser it may be relative to the page.
   * @param {string} [options.apiKey] If the server asks for one.
   * @param {number} [options.timeoutMs] For a request to be answered.
   * @param {string} [options.model] Detects where a call names none; the server's default if none.
   * @param {number} [options.retries] Tries after the first one, where the server is full or cannot be reached.
   * @param {typeof fetch} [options.fetch] Replaces the platform's own.
   * @param {typeof WebSocket} [options.WebSocket] Replaces the platform's own.
   * @throws {UsageError} A base URL that is none, or a number out of range.
   */
  constructor({ baseUrl = DEFAULT_URL, apiKey, timeoutMs = 30_000, model, retries = 2, fetch, WebSocket } = {}) {
    this.#transport = new Transport({ baseUrl, apiKey, timeoutMs, retries, fetch });
    this.#model = model;
    this.#WebSocket = WebSocket;
  }

  /**
   * Detect the targets in a frame; with `streamId`, as the next one of a stream.
   *
   * A frame of a stream is sent again only where the server refused it or could not be connected to: one that got lost
   * on the way may have become part of the stream.
   *
   * @template {DetectOptions & FramePlace & {streamId?: string | undefined}} Options
   * @param {Frame} frame
   * @param {Options} [options] `streamId` makes it a frame of this stream, which its first frame opens.
   * @returns {Promise<Options extends {streamId: string} ? FrameMessage : DetectResponse>}
   * @throws {FrameError} The frame cannot be sent.
   */
  async detect(frame, options) {
    return await this.#detect(frame, options ?? {}, JSON_TYPE, (response, url) =>
      documentOf(response, url, "detections"),
    );
  }

  /**
   * Detect, and give the frame as a PNG with the detections drawn in.
   *
   * @param {Frame} frame
   * @param {DetectOptions} [options]
   * @returns {Promise<Blob>}
   */
  async detectImage(frame, options = {}) {
    return await this.#detect(frame, options, "image/png", (response, url) =>
      pictureOf(response, url, "image/png", { limit: LARGEST }),
    );
  }

  /**
   * Detect in several frames with one request, which the server limits to 64 unless its operator says otherwise.
   *
   * @param {Iterable<Frame>} frames
   * @param {DetectOptions} [options]
   * @returns {Promise<(DetectResponse | LoddisClientError)[]>} In their order; where the server refused one, the error.
   * @throws {FrameError} One of them cannot be sent; none is, then.
   */
  async detectBatch(frames, options = {}) {
    const params = detectParams(options, this.#model);
    const { body, headers } = await encodeBatch(frames);
    const request = { method: "POST", path: "v1/detect/batch", params, accept: JSON_TYPE, headers, body };
    return await this.#transport.ask({ ...request, signal: options.signal }, async (response, url) => {
      const { results } = await documentOf(response, url, "results", { limit: LARGEST });
      return results.map((/** @type {unknown} */ one) => outcomeOf(one, url));
    });
  }

  /**
   * Detect in many frames, several at once.
   *
   * Frames are drawn as room comes free, never more than `concurrency` ahead of what was taken: an endless source is
   * fine, and so is one that lets wait. Whoever stops taking stops the work; `signal` does at once.
   *
   * @template {"throw" | "yield"} [OnError="throw"]
   * @param {Iterable<Frame> | AsyncIterable<Frame>} frames
   * @param {DetectOptions & {concurrency?: number, ordered?: boolean, onError?: OnError}} [options] `ordered`: results
   *   in the order of the frames, else as they come; `onError`: `throw` stops at the first frame that fails, `yield`
   *   gives its error in its place and goes on.
   * @returns {AsyncGenerator<OnError extends "yield" ? DetectResponse | LoddisClientError : DetectResponse, void, void>}
   */
  detectMany(frames, { concurrency = 4, ordered = true, onError, signal, ...options } = {}) {
    const whatToDo = onError ?? "throw";
    checkMany(frames, concurrency, whatToDo);
    detectParams(options, this.#model);
    /**
     * @param {Frame} frame
     * @param {AbortSignal} ended
     * @returns {Promise<any>}
     */
    const work = async (frame, ended) => {
      try {
        return await this.detect(frame, { ...options, signal: ended });
      } catch (error) {
        if (whatToDo === "yield" && error instanceof LoddisClientError) return error;
        throw error;
      }
    };
    return inParallel(frames, work, { concurrency, isOrdered: ordered, signal });
  }

  /**
   * Detect and track in a video; ends after the message `end`.
   *
   * Browsers read no answer before the whole video is sent, and the server takes no more of it than its answers are
   * taken: send short clips from there. Node does both at once.
   *
   * @param {Blob | ArrayBuffer | Uint8Array<ArrayBuffer>} video
   * @param {DetectOptions} [options]
   * @returns {AsyncGenerator<Types.StreamMessage, void, void>}
   */
  detectVideo(video, options = {}) {
    if (!(video instanceof Blob || video instanceof ArrayBuffer || video instanceof Uint8Array)) {
      throw new FrameError(`a video must be a Blob, or its bytes, got ${typeof video}`);
    }
    const params = detectParams(options, this.#model);
    const headers = { "Content-Type": "application/octet-stream" };
    const request = { method: "POST", path: "v1/videos", params, accept: NDJSON, headers, body: new Blob([video]) };
    return this.#messages({ ...request, timeoutMs: VIDEO_MS, signal: options.signal });
  }

  /**
   * List the streams.
   *
   * @param {CallOptions} [options]
   * @returns {Promise<Types.StreamList>} Their states are `streams`.
   */
  async streams({ signal } = {}) {
    return await this.#json({ path: "v1/streams", accept: JSON_TYPE, signal }, "streams");
  }

  /**
   * Tell how a stream goes.
   *
   * @param {string} streamId
   * @param {CallOptions} [options]
   * @returns {Promise<Types.StreamStatusDocument>}
   */
  async stream(streamId, { signal } = {}) {
    return await this.#json({ path: streamPath(streamId), accept: JSON_TYPE, signal }, "stream_id");
  }

  /**
   * Let the server read a camera or file that its operator has listed. The answer comes at once; its `source.state`, or
   * that of `stream`, tells how it goes.
   *
   * @param {object} stream
   * @param {string} stream.streamId
   * @param {Types.SourceSettings} stream.source A document as the server takes it, such as `{url: "rtsp://…"}`.
   * @param {string} [stream.model]
   * @param {Types.StreamSettings} [stream.settings] As the server takes them.
   * @param {AbortSignal} [stream.signal]
   * @returns {Promise<Types.StreamStatusDocument>}
   */
  async createStream({ streamId, source, model, settings, signal }) {
    checkStreamId(streamId);
    const wanted = { stream_id: streamId, source, model: model ?? this.#model, settings };
    const body = JSON.stringify(wanted); // leaves out what is undefined
    const headers = { "Content-Type": JSON_TYPE };
    const request = { method: "POST", path: "v1/streams", accept: JSON_TYPE, headers, body, isRepeatable: false };
    return await this.#json({ ...request, signal }, "stream_id");
  }

  /**
   * End a stream: its source is closed, its listeners are told, its tracks are forgotten.
   *
   * @param {string} streamId
   * @param {CallOptions} [options]
   * @returns {Promise<void>}
   */
  async deleteStream(streamId, { signal } = {}) {
    const request = { method: "DELETE", path: streamPath(streamId), accept: JSON_TYPE, isRepeatable: false, signal };
    await this.#transport.ask(request, async (response, url) => {
      if (!response.ok) throw await errorOf(response, url);
    });
  }

  /**
   * Listen to a stream: what it says from now on; ends after the message `end`.
   *
   * Who takes messages too slowly loses the oldest, which shows as a gap in `frame_index`.
   *
   * @param {string} streamId
   * @param {CallOptions} [options]
   * @returns {AsyncGenerator<Types.StreamMessage, void, void>}
   */
  streamDetections(streamId, { signal } = {}) {
    return this.#messages({ path: `${streamPath(streamId)}/detections`, accept: NDJSON, signal });
  }

  /**
   * Watch a stream: pictures with detections and tracks drawn in, as its frames come, until it ends.
   *
   * @param {string} streamId
   * @param {CallOptions & {fps?: number, scale?: number}} [options] Most pictures a second, and picture pixels per frame
   *   pixel.
   * @returns {AsyncGenerator<Types.Picture, void, void>}
   */
  preview(streamId, { fps, scale, signal } = {}) {
    const params = pictureParams(scale);
    if (fps !== undefined) params.set("fps", String(fps));
    const path = `${streamPath(streamId)}/preview`;
    return this.#transport.listen(
      { path, params, accept: "multipart/x-mixed-replace", signal },
      (response, url) => new MotionJpegReader(response.headers.get("Content-Type"), url),
    );
  }

  /**
   * Give the newest picture of a stream, with detections and tracks drawn in.
   *
   * @param {string} streamId
   * @param {CallOptions & {scale?: number}} [options] Picture pixels per frame pixel.
   * @returns {Promise<Types.Picture>}
   */
  async picture(streamId, { scale, signal } = {}) {
    const path = `${streamPath(streamId)}/picture`;
    const request = { path, params: pictureParams(scale), accept: "image/jpeg", signal };
    return await this.#transport.ask(request, async (response, url) => {
      const picture = await pictureOf(response, url, "image/jpeg");
      return { frameIndex: wholeNumber(response.headers.get("X-Frame-Index")), picture };
    });
  }

  /**
   * Open a WebSocket that frames of a stream go over: it saves the head of a request a frame.
   *
   * @param {string} streamId
   * @param {DetectOptions & {width?: number, height?: number, dtype?: Types.Dtype}} [options] Width, height and dtype of
   *   raw pixels, all three or none: frames are image files then. A signal closes the socket.
   * @returns {FrameSocket} `opened` tells when it is open; `send` waits for that.
   */
  frames(streamId, { width, height, dtype, signal, ...options } = {}) {
    const path = `${streamPath(streamId)}/frames`;
    const params = detectParams(options, this.#model);
    let raw = null;
    if (width !== undefined && height !== undefined && dtype !== undefined) {
      checkWhole("width", width, 1);
      checkWhole("height", height, 1);
      raw = { width, height, dtype };
      for (const [name, value] of Object.entries(raw)) params.set(name, String(value));
    } else if (width !== undefined || height !== undefined || dtype !== undefined) {
      throw new UsageError(`width, height and dtype must all be given or none, got ${width}, ${height}, ${dtype}`);
    }
    const { apiKey, timeoutMs } = this.#transport;
    const WebSocket = this.#WebSocket ?? globalThis.WebSocket;
    return new FrameSocket(this.#transport.url(path, params), { apiKey, raw, signal, timeoutMs, WebSocket });
  }

  /**
   * Give a page of events. With the oldest first, ask again with `next_cursor` for what has come since.
   *
   * @param {Types.EventOptions} [options]
   * @returns {Promise<Types.EventPage>}
   */
  async events(options = {}) {
    const params = eventParams(options);
    return await this.#json({ path: "v1/events", params, accept: JSON_TYPE, signal: options.signal }, "events");
  }

  /**
   * Give all events, page by page; with the oldest first, those that there are now.
   *
   * @param {Types.EventOptions} [options] `limit` is that of a page.
   * @returns {AsyncGenerator<Types.Event, void, void>}
   */
  eventsAll(options = {}) {
    eventParams(options);
    return this.#eventsAll(options, options.limit ?? 100);
  }

  /**
   * Give an event, and the receivers that have yet to get it or have refused it.
   *
   * @param {string} eventId
   * @param {CallOptions} [options]
   * @returns {Promise<Types.EventDetail>}
   */
  async event(eventId, { signal } = {}) {
    return await this.#json({ path: `v1/events/${encodeURIComponent(eventId)}`, accept: JSON_TYPE, signal }, "event");
  }

  /**
   * Give the picture of an event, where its `has_thumbnail` says that there is one.
   *
   * @param {string} eventId
   * @param {CallOptions} [options]
   * @returns {Promise<Blob>} A PNG.
   */
  async thumbnail(eventId, { signal } = {}) {
    const path = `v1/events/${encodeURIComponent(eventId)}/thumbnail`;
    const request = { path, accept: "image/png", signal };
    return await this.#transport.ask(request, (response, url) => pictureOf(response, url, "image/png"));
  }

  /**
   * Tell how storing events and delivering them to each receiver goes.
   *
   * @param {CallOptions} [options]
   * @returns {Promise<Types.DeliveryOverview>}
   */
  async deliveries({ signal } = {}) {
    return await this.#json({ path: "v1/deliveries", accept: JSON_TYPE, signal }, "receivers");
  }

  /**
   * Deliver the events again that receivers refused too often, and try at once what waits.
   *
   * @param {string} [receiver] Its name in the server's settings; all of them if none.
   * @param {CallOptions} [options]
   * @returns {Promise<number>} How many events were put back; an answer that got lost on the way is not counted.
   */
  async retryDeliveries(receiver, { signal } = {}) {
    const place = receiver === undefined ? "" : `/${encodeURIComponent(receiver)}`;
    const request = { method: "POST", path: `v1/deliveries${place}/retry`, accept: JSON_TYPE, signal };
    return (await this.#json(request, "put_back")).put_back;
  }

  /**
   * List the models that are served, `models`, and every version that could be, `repository`.
   *
   * @param {CallOptions} [options]
   * @returns {Promise<Types.ModelList>}
   */
  async models({ signal } = {}) {
    return await this.#json({ path: "v1/models", accept: JSON_TYPE, signal }, "models");
  }

  /**
   * Describe a model that is served.
   *
   * @param {string} model `NAME`, its newest version, or `NAME:VERSION`.
   * @param {CallOptions} [options]
   * @returns {Promise<Types.ModelDetail>}
   */
  async model(model, { signal } = {}) {
    checkModel(model);
    return await this.#json({ path: `v1/models/${encodeURIComponent(model)}`, accept: JSON_TYPE, signal }, "name");
  }

  /**
   * Load a version of a model from the repository; answers once it is warm and served. If that is not waited for, the
   * load goes on.
   *
   * @param {string} name
   * @param {string} version
   * @param {CallOptions} [options]
   * @returns {Promise<Types.ModelDetail>}
   */
  async loadModel(name, version, { signal } = {}) {
    const request = { method: "POST", path: `${versionPath(name, version)}/load`, accept: JSON_TYPE, signal };
    return await this.#json({ ...request, timeoutMs: LOAD_MS }, "name");
  }

  /**
   * Serve a version of a model no more; requests and streams under way finish on it.
   *
   * @param {string} name
   * @param {string} version
   * @param {CallOptions} [options]
   * @returns {Promise<Types.ModelVersion>}
   */
  async unloadModel(name, version, { signal } = {}) {
    const request = { method: "POST", path: `${versionPath(name, version)}/unload`, accept: JSON_TYPE, signal };
    return await this.#json({ ...request, isRepeatable: false }, "name");
  }

  /**
   * Name the server, its release and its state.
   *
   * @param {CallOptions} [options]
   * @returns {Promise<Types.ServerInfo>}
   */
  async info({ signal } = {}) {
    return await this.#json({ path: "", accept: JSON_TYPE, signal }, "version");
  }

  /**
   * Tell whether the server takes frames now; `false` also where it cannot be reached.
   *
   * @param {CallOptions} [options]
   * @returns {Promise<boolean>}
   */
  async ready({ signal } = {}) {
    try {
      return await this.#transport.ask({ path: "readyz", accept: JSON_TYPE, retries: 0, signal }, async (response) => {
        await readUpTo(response, LARGEST_PROBLEM); // to its end, so that its connection can be used again
        return response.ok;
      });
    } catch (error) {
      if (error instanceof LoddisClientError) return false;
      throw error;
    }
  }

  /**
   * @template T
   * @param {Frame} frame
   * @param {DetectOptions & FramePlace & {streamId?: string | undefined}} options
   * @param {string} accept
   * @param {(response: Response, url: URL) => Promise<T>} read
   */
  async #detect(frame, options, accept, read) {
    const params = detectParams(options, this.#model);
    if (accept === "image/png") params.set("return", "image");
    const place = placeHeaders(options);
    const { body, headers } = await encodeFrame(frame);
    const request = { method: "POST", path: "v1/detect", params, accept, headers: { ...headers, ...place }, body };
    const isRepeatable = options.streamId === undefined;
    return await this.#transport.ask({ ...request, isRepeatable, signal: options.signal }, read);
  }

  /**
   * @param {Types.EventOptions} options
   * @param {number} limit
   */
  async *#eventsAll(options, limit) {
    let { cursor } = options;
    for (;;) {
      const page = await this.events({ ...options, limit, cursor });
      yield* page.events;
      // With the oldest first there is always a next page: what has yet to happen. One that is not full is the last.
      if (page.next_cursor === null || page.events.length < limit) return;
      cursor = page.next_cursor;
    }
  }

  /**
   * @param {import("./transport.js").Request} request
   * @param {string} key
   */
  async #json(request, key) {
    return await this.#transport.ask(request, (response, url) => documentOf(response, url, key));
  }

  /**
   * @param {import("./transport.js").Request} request
   * @returns {AsyncGenerator<Types.StreamMessage, void, void>}
   */
  #messages(request) {
    return this.#transport.listen(request, (response, url) => {
      const type = response.headers.get("Content-Type") ?? "nothing that is said";
      if (!type.startsWith(NDJSON)) throw notOurs(url, `expected ${NDJSON}, got ${type}`);
      return new MessageReader(url);
    });
  }
}

/** @param {string} streamId */
function streamPath(streamId) {
  checkStreamId(streamId);
  return `v1/streams/${streamId}`;
}

/**
 * @param {string} name
 * @param {string} version
 */
function versionPath(name, version) {
  checkModel(name);
  checkModel(version);
  return `v1/models/${encodeURIComponent(name)}/${encodeURIComponent(version)}`;
}

/** @param {number | undefined} scale */
function pictureParams(scale) {
  const params = new URLSearchParams();
  if (scale !== undefined) {
    checkWhole("scale", scale, 1);
    params.set("scale", String(scale));
  }
  return params;
}
