/** One exchange. `close` it, or its timer and listener stay. */
export class Deadline {
    /** @param {AbortSignal | undefined} caller Its reason is thrown as it is. */
    constructor(caller: AbortSignal | undefined);
    /** Ends what is given it. */
    get signal(): AbortSignal;
    /** Whether the caller or the clock ended the exchange. */
    get hasEnded(): boolean;
    /**
     * Let time run, from now on.
     *
     * @param {number} limitMs
     */
    start(limitMs: number): void;
    /** Let time stand still: whoever takes messages may take their time. */
    stop(): void;
    /** The exchange is over; its connection is closed if something of it is still to come. */
    close(): void;
    /**
     * Give what to throw for an error of `fetch`, or of what reads its answer.
     *
     * @param {unknown} error
     * @param {URL} url
     * @returns {unknown}
     */
    translate(error: unknown, url: URL): unknown;
    #private;
}
