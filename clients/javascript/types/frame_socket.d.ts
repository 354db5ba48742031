/**
 * Name the subprotocols. A browser's WebSocket brings no headers, so the key goes with them: addresses end up in logs.
 *
 * @param {string | undefined} apiKey
 * @returns {string[]}
 */
export function protocols(apiKey: string | undefined): string[];
/** @typedef {{resolve: (answer: FrameMessage) => void, reject: (error: unknown) => void}} Waiting */
/**
 * A WebSocket that frames of one stream go over. `Client.frames` makes it.
 *
 * Each frame is answered, in order; what the server cannot use rejects its own `send`, and the stream goes on. The
 * server reads one frame while it works on another; what is sent faster than that gathers in memory here. So wait for an
 * answer before the frame after the next is sent, or look at `waiting`.
 */
export class FrameSocket {
    /**
     * @param {URL} url Of http or https.
     * @param {object} options
     * @param {string | undefined} options.apiKey
     * @param {RawForm | null} options.raw Of every frame, if they are raw pixels.
     * @param {AbortSignal | undefined} options.signal
     * @param {number} options.timeoutMs For the connection, and for each answer.
     * @param {typeof WebSocket} options.WebSocket
     */
    constructor(url: URL, { apiKey, raw, signal, timeoutMs, WebSocket }: {
        apiKey: string | undefined;
        raw: RawForm | null;
        signal: AbortSignal | undefined;
        timeoutMs: number;
        WebSocket: typeof globalThis.WebSocket;
    });
    /** Resolves once frames can be sent; rejects if they never can. `send` waits for it. */
    get opened(): Promise<void>;
    /** Resolves once the connection is closed, whatever closed it. */
    get closed(): Promise<void>;
    /** Frames that are not answered yet. */
    get waiting(): number;
    /** Bytes that are not on their way yet. */
    get bufferedAmount(): number;
    /**
     * Send a frame, after those that were sent before.
     *
     * @param {Frame} frame Raw pixels if, and only if, the socket was opened for them.
     * @param {FramePlace & CallOptions} [options] With a signal that ends the wait; a frame that is sent stays sent.
     * @returns {Promise<FrameMessage>} Its answer.
     * @throws {FrameError} It cannot be sent.
     * @throws {ServerError} The server cannot use it: `FrameRejected`, `LateFrame`, `Overloaded` and so on.
     * @throws {ConnectionFailed} The connection is closed; the message has the server's reason.
     */
    send(frame: Frame, { signal, ...place }?: FramePlace & CallOptions): Promise<FrameMessage>;
    /**
     * Close the connection; the stream stays open for a while, and whoever connects again goes on with it.
     *
     * Frames that are not answered yet reject.
     *
     * @returns {Promise<void>} Resolves once it is closed.
     */
    close(): Promise<void>;
    #private;
}
export type Waiting = {
    resolve: (answer: FrameMessage) => void;
    reject: (error: unknown) => void;
};
import type { Frame } from "./types.js";
import type { FramePlace } from "./types.js";
import type { CallOptions } from "./types.js";
import type { FrameMessage } from "./types.js";
import type { RawForm } from "./bodies.js";
