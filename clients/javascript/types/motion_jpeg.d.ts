/**
 * Read a whole number of a header.
 *
 * @param {string | null | undefined} text
 * @returns {number | null} Null: it is none.
 */
export function wholeNumber(text: string | null | undefined): number | null;
/** Reads one answer. */
export class MotionJpegReader {
    /**
     * @param {string | null} contentType Of the answer, which names the delimiter.
     * @param {URL} url That answers.
     * @param {{largestPicture?: number}} [limits] Bytes.
     */
    constructor(contentType: string | null, url: URL, { largestPicture }?: {
        largestPicture?: number;
    });
    /** Whether the last delimiter has come: nothing follows. */
    isOver: boolean;
    /**
     * Take a piece; give the pictures that it completes.
     *
     * @param {Uint8Array<ArrayBuffer>} chunk
     * @returns {Generator<Picture, void, void>}
     * @throws {ProtocolError} It is not what a Loddis server says.
     */
    add(chunk: Uint8Array<ArrayBuffer>): Generator<Picture, void, void>;
    /**
     * Nothing comes any more.
     *
     * @throws {ConnectionFailed} The stream had not ended.
     */
    finish(): void;
    #private;
}
import type { Picture } from "./types.js";
