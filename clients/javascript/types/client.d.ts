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
    constructor({ baseUrl, apiKey, timeoutMs, model, retries, fetch, WebSocket }?: {
        baseUrl?: string | URL | undefined;
        apiKey?: string | undefined;
        timeoutMs?: number | undefined;
        model?: string | undefined;
        retries?: number | undefined;
        fetch?: typeof globalThis.fetch | undefined;
        WebSocket?: {
            new (url: string | URL, protocols?: string | string[]): WebSocket;
            prototype: WebSocket;
            readonly CONNECTING: 0;
            readonly OPEN: 1;
            readonly CLOSING: 2;
            readonly CLOSED: 3;
        } | undefined;
    });
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
    detect<Options extends Types.DetectOptions & Types.FramePlace & {
        streamId?: string | undefined;
    }>(frame: Types.Frame, options?: Options): Promise<Options extends {
        streamId: string;
    } ? Types.FrameMessage : Types.DetectResponse>;
    /**
     * Detect, and give the frame as a PNG with the detections drawn in.
     *
     * @param {Frame} frame
     * @param {DetectOptions} [options]
     * @returns {Promise<Blob>}
     */
    detectImage(frame: Types.Frame, options?: Types.DetectOptions): Promise<Blob>;
    /**
     * Detect in several frames with one request, which the server limits to 64 unless its operator says otherwise.
     *
     * @param {Iterable<Frame>} frames
     * @param {DetectOptions} [options]
     * @returns {Promise<(DetectResponse | LoddisClientError)[]>} In their order; where the server refused one, the error.
     * @throws {FrameError} One of them cannot be sent; none is, then.
     */
    detectBatch(frames: Iterable<Types.Frame>, options?: Types.DetectOptions): Promise<(Types.DetectResponse | LoddisClientError)[]>;
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
    detectMany<OnError extends "throw" | "yield" = "throw">(frames: Iterable<Types.Frame> | AsyncIterable<Types.Frame>, { concurrency, ordered, onError, signal, ...options }?: Types.DetectOptions & {
        concurrency?: number;
        ordered?: boolean;
        onError?: OnError;
    }): AsyncGenerator<OnError extends "yield" ? Types.DetectResponse | LoddisClientError : Types.DetectResponse, void, void>;
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
    detectVideo(video: Blob | ArrayBuffer | Uint8Array<ArrayBuffer>, options?: Types.DetectOptions): AsyncGenerator<Types.StreamMessage, void, void>;
    /**
     * List the streams.
     *
     * @param {CallOptions} [options]
     * @returns {Promise<Types.StreamList>} Their states are `streams`.
     */
    streams({ signal }?: Types.CallOptions): Promise<Types.StreamList>;
    /**
     * Tell how a stream goes.
     *
     * @param {string} streamId
     * @param {CallOptions} [options]
     * @returns {Promise<Types.StreamStatusDocument>}
     */
    stream(streamId: string, { signal }?: Types.CallOptions): Promise<Types.StreamStatusDocument>;
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
    createStream({ streamId, source, model, settings, signal }: {
        streamId: string;
        source: Types.SourceSettings;
        model?: string | undefined;
        settings?: {
            max_gap?: number | undefined;
            tracker?: {
                score_threshold?: number | undefined;
                confirm_hits?: number | undefined;
                confirm_frames?: number | undefined;
                coast_frames?: number | undefined;
                near_buffer_px?: number | undefined;
                far_buffer_px?: number | undefined;
                min_overlap?: number | undefined;
                gate_sigmas?: number | undefined;
                position_noise_px?: number | undefined;
                acceleration_px?: number | undefined;
                initial_speed_px?: number | undefined;
                compensate_motion?: boolean | undefined;
            } | undefined;
            alarms?: {
                wanted_per_hour?: number | undefined;
                score_floor?: number | undefined;
                score_ceiling?: number | undefined;
                presumed_real_hits?: number | undefined;
                confidence?: number | undefined;
                memory_alarms?: number | undefined;
                min_memory_s?: number | undefined;
                max_memory_s?: number | undefined;
                loosen_time_s?: number | undefined;
            } | null | undefined;
            health?: {
                measure_every?: number | undefined;
                frozen_frames?: number | undefined;
                frozen_quiet_frames?: number | undefined;
                unchanged_share?: number | undefined;
                shutter_contrast?: number | undefined;
                shutter_open?: number | undefined;
                shutter_flatness?: number | undefined;
                shutter_jump?: number | undefined;
                shutter_frames?: number | undefined;
                hold_back_frames?: number | undefined;
                bit_depth?: 8 | 16 | 10 | 12 | 14 | null | undefined;
                float_range?: number[] | null | undefined;
                saturated?: {
                    begin?: number | undefined;
                    end?: number | undefined;
                    begin_after?: number | undefined;
                    end_after?: number | undefined;
                } | undefined;
                dead_pixels?: {
                    begin?: number | undefined;
                    end?: number | undefined;
                    begin_after?: number | undefined;
                    end_after?: number | undefined;
                } | undefined;
                dead_deviation?: number | undefined;
                dead_isolation?: number | undefined;
                dead_measurements?: number | undefined;
                stripes?: {
                    begin?: number | undefined;
                    end?: number | undefined;
                    begin_after?: number | undefined;
                    end_after?: number | undefined;
                } | undefined;
                defocused?: {
                    begin?: number | undefined;
                    end?: number | undefined;
                    begin_after?: number | undefined;
                    end_after?: number | undefined;
                } | undefined;
                defocused_sharpness?: number | undefined;
                history?: number | undefined;
                moving?: {
                    begin?: number | undefined;
                    end?: number | undefined;
                    begin_after?: number | undefined;
                    end_after?: number | undefined;
                } | undefined;
            } | undefined;
            drift?: {
                measure_every?: number | undefined;
                window?: number | undefined;
                least?: number | undefined;
                false_drift_probability?: number | undefined;
                end_probability?: number | undefined;
                named?: number | undefined;
            } | undefined;
            canary?: {
                per_minute?: number | undefined;
                snr_levels?: number[] | undefined;
                psf_fwhm_px?: number | undefined;
                speed_px_per_frame?: number[] | undefined;
                border_px?: number | undefined;
                clearance_px?: number | undefined;
                centre_distance_px?: number | undefined;
                window?: number | undefined;
                confidence?: number | undefined;
            } | null | undefined;
        } | undefined;
        signal?: AbortSignal | undefined;
    }): Promise<Types.StreamStatusDocument>;
    /**
     * End a stream: its source is closed, its listeners are told, its tracks are forgotten.
     *
     * @param {string} streamId
     * @param {CallOptions} [options]
     * @returns {Promise<void>}
     */
    deleteStream(streamId: string, { signal }?: Types.CallOptions): Promise<void>;
    /**
     * Listen to a stream: what it says from now on; ends after the message `end`.
     *
     * Who takes messages too slowly loses the oldest, which shows as a gap in `frame_index`.
     *
     * @param {string} streamId
     * @param {CallOptions} [options]
     * @returns {AsyncGenerator<Types.StreamMessage, void, void>}
     */
    streamDetections(streamId: string, { signal }?: Types.CallOptions): AsyncGenerator<Types.StreamMessage, void, void>;
    /**
     * Watch a stream: pictures with detections and tracks drawn in, as its frames come, until it ends.
     *
     * @param {string} streamId
     * @param {CallOptions & {fps?: number, scale?: number}} [options] Most pictures a second, and picture pixels per frame
     *   pixel.
     * @returns {AsyncGenerator<Types.Picture, void, void>}
     */
    preview(streamId: string, { fps, scale, signal }?: Types.CallOptions & {
        fps?: number;
        scale?: number;
    }): AsyncGenerator<Types.Picture, void, void>;
    /**
     * Give the newest picture of a stream, with detections and tracks drawn in.
     *
     * @param {string} streamId
     * @param {CallOptions & {scale?: number}} [options] Picture pixels per frame pixel.
     * @returns {Promise<Types.Picture>}
     */
    picture(streamId: string, { scale, signal }?: Types.CallOptions & {
        scale?: number;
    }): Promise<Types.Picture>;
    /**
     * Open a WebSocket that frames of a stream go over: it saves the head of a request a frame.
     *
     * @param {string} streamId
     * @param {DetectOptions & {width?: number, height?: number, dtype?: Types.Dtype}} [options] Width, height and dtype of
     *   raw pixels, all three or none: frames are image files then. A signal closes the socket.
     * @returns {FrameSocket} `opened` tells when it is open; `send` waits for that.
     */
    frames(streamId: string, { width, height, dtype, signal, ...options }?: Types.DetectOptions & {
        width?: number;
        height?: number;
        dtype?: Types.Dtype;
    }): FrameSocket;
    /**
     * Give a page of events. With the oldest first, ask again with `next_cursor` for what has come since.
     *
     * @param {Types.EventOptions} [options]
     * @returns {Promise<Types.EventPage>}
     */
    events(options?: Types.EventOptions): Promise<Types.EventPage>;
    /**
     * Give all events, page by page; with the oldest first, those that there are now.
     *
     * @param {Types.EventOptions} [options] `limit` is that of a page.
     * @returns {AsyncGenerator<Types.Event, void, void>}
     */
    eventsAll(options?: Types.EventOptions): AsyncGenerator<Types.Event, void, void>;
    /**
     * Give an event, and the receivers that have yet to get it or have refused it.
     *
     * @param {string} eventId
     * @param {CallOptions} [options]
     * @returns {Promise<Types.EventDetail>}
     */
    event(eventId: string, { signal }?: Types.CallOptions): Promise<Types.EventDetail>;
    /**
     * Give the picture of an event, where its `has_thumbnail` says that there is one.
     *
     * @param {string} eventId
     * @param {CallOptions} [options]
     * @returns {Promise<Blob>} A PNG.
     */
    thumbnail(eventId: string, { signal }?: Types.CallOptions): Promise<Blob>;
    /**
     * Tell how storing events and delivering them to each receiver goes.
     *
     * @param {CallOptions} [options]
     * @returns {Promise<Types.DeliveryOverview>}
     */
    deliveries({ signal }?: Types.CallOptions): Promise<Types.DeliveryOverview>;
    /**
     * Deliver the events again that receivers refused too often, and try at once what waits.
     *
     * @param {string} [receiver] Its name in the server's settings; all of them if none.
     * @param {CallOptions} [options]
     * @returns {Promise<number>} How many events were put back; an answer that got lost on the way is not counted.
     */
    retryDeliveries(receiver?: string, { signal }?: Types.CallOptions): Promise<number>;
    /**
     * List the models that are served, `models`, and every version that could be, `repository`.
     *
     * @param {CallOptions} [options]
     * @returns {Promise<Types.ModelList>}
     */
    models({ signal }?: Types.CallOptions): Promise<Types.ModelList>;
    /**
     * Describe a model that is served.
     *
     * @param {string} model `NAME`, its newest version, or `NAME:VERSION`.
     * @param {CallOptions} [options]
     * @returns {Promise<Types.ModelDetail>}
     */
    model(model: string, { signal }?: Types.CallOptions): Promise<Types.ModelDetail>;
    /**
     * Load a version of a model from the repository; answers once it is warm and served. If that is not waited for, the
     * load goes on.
     *
     * @param {string} name
     * @param {string} version
     * @param {CallOptions} [options]
     * @returns {Promise<Types.ModelDetail>}
     */
    loadModel(name: string, version: string, { signal }?: Types.CallOptions): Promise<Types.ModelDetail>;
    /**
     * Serve a version of a model no more; requests and streams under way finish on it.
     *
     * @param {string} name
     * @param {string} version
     * @param {CallOptions} [options]
     * @returns {Promise<Types.ModelVersion>}
     */
    unloadModel(name: string, version: string, { signal }?: Types.CallOptions): Promise<Types.ModelVersion>;
    /**
     * Name the server, its release and its state.
     *
     * @param {CallOptions} [options]
     * @returns {Promise<Types.ServerInfo>}
     */
    info({ signal }?: Types.CallOptions): Promise<Types.ServerInfo>;
    /**
     * Tell whether the server takes frames now; `false` also where it cannot be reached.
     *
     * @param {CallOptions} [options]
     * @returns {Promise<boolean>}
     */
    ready({ signal }?: Types.CallOptions): Promise<boolean>;
    #private;
}
import type * as Types from "./types.js";
import { LoddisClientError } from "./errors.js";
import { FrameSocket } from "./frame_socket.js";
