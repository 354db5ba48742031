/** Reads one answer. Messages of types that this client does not know are left out. */
export class MessageReader {
    /** @param {URL} url That answers. */
    constructor(url: URL);
    /** Whether the message `end` has come: nothing follows. */
    isOver: boolean;
    /**
     * Take a piece; give the messages that it completes.
     *
     * @param {Uint8Array} chunk
     * @returns {Generator<StreamMessage, void, void>}
     * @throws {ProtocolError} It is not what a Loddis server says.
     */
    add(chunk: Uint8Array): Generator<StreamMessage, void, void>;
    /**
     * Nothing comes any more.
     *
     * @throws {ConnectionFailed} The stream had not ended.
     */
    finish(): void;
    #private;
}
import type { StreamMessage } from "./types.js";
