/**
 * A request, ready to be sent.
 *
 * @typedef {object} Request
 * @property {string} [method] Of HTTP; GET if none.
 * @property {string} path Below the base URL, without a leading slash.
 * @property {URLSearchParams} [params]
 * @property {string} accept
 * @property {Record<string, string>} [headers]
 * @property {BodyInit} [body]
 * @property {boolean} [isRepeatable] Whether it may be sent again where nobody knows if it arrived; if not said, it may.
 * @property {number} [retries] If others than the client's.
 * @property {number} [timeoutMs] If it may take longer than others.
 * @property {AbortSignal | undefined} signal
 */
/**
 * What makes items of an answer that comes in pieces.
 *
 * @template Item
 * @typedef {object} Reader
 * @property {(chunk: Uint8Array<ArrayBuffer>) => Iterable<Item>} add
 * @property {() => void} finish
 * @property {boolean} isOver
 */
/** What all requests of a client have in common. */
export class Transport {
    /**
     * @param {object} options
     * @param {string | URL} options.baseUrl
     * @param {string | undefined} options.apiKey
     * @param {number} options.timeoutMs
     * @param {number} options.retries
     * @param {typeof fetch | undefined} options.fetch
     */
    constructor({ baseUrl, apiKey, timeoutMs, retries, fetch }: {
        baseUrl: string | URL;
        apiKey: string | undefined;
        timeoutMs: number;
        retries: number;
        fetch: typeof globalThis.fetch | undefined;
    });
    get apiKey(): string | undefined;
    get timeoutMs(): number;
    /**
     * @param {string} path
     * @param {URLSearchParams} [params]
     */
    url(path: string, params?: URLSearchParams): URL;
    /**
     * Ask, again where that may help, and read the answer.
     *
     * @template T
     * @param {Request} request
     * @param {(response: Response, url: URL) => Promise<T>} read
     * @returns {Promise<T>}
     */
    ask<T>(request: Request, read: (response: Response, url: URL) => Promise<T>): Promise<T>;
    /**
     * Ask once, and give what the answer holds as it comes. Whoever stops taking closes the connection.
     *
     * @template Item
     * @param {Request} request `timeoutMs` is how long the answer may pause.
     * @param {(response: Response, url: URL) => Reader<Item>} readerOf
     * @returns {AsyncGenerator<Item, void, void>}
     */
    listen<Item>(request: Request, readerOf: (response: Response, url: URL) => Reader<Item>): AsyncGenerator<Item, void, void>;
    #private;
}
/**
 * A request, ready to be sent.
 */
export type Request = {
    /**
     * Of HTTP; GET if none.
     */
    method?: string | undefined;
    /**
     * Below the base URL, without a leading slash.
     */
    path: string;
    params?: URLSearchParams | undefined;
    accept: string;
    headers?: Record<string, string> | undefined;
    body?: BodyInit | undefined;
    /**
     * Whether it may be sent again where nobody knows if it arrived; if not said, it may.
     */
    isRepeatable?: boolean | undefined;
    /**
     * If others than the client's.
     */
    retries?: number | undefined;
    /**
     * If it may take longer than others.
     */
    timeoutMs?: number | undefined;
    signal: AbortSignal | undefined;
};
/**
 * What makes items of an answer that comes in pieces.
 */
export type Reader<Item> = {
    add: (chunk: Uint8Array<ArrayBuffer>) => Iterable<Item>;
    finish: () => void;
    isOver: boolean;
};
