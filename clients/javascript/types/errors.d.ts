/**
 * Give the error that a problem stands for.
 *
 * @param {ProblemDocument} problem
 * @param {{retryAfterS?: number | null}} [options]
 * @returns {ServerError}
 */
export function errorOfProblem(problem: ProblemDocument, options?: {
    retryAfterS?: number | null;
}): ServerError;
/**
 * Everything that the client throws on purpose. What an AbortSignal ends throws the signal's own reason instead.
 *
 *     LoddisClientError
 *     ├── UsageError              called wrongly
 *     │   └── FrameError          a frame that cannot be sent
 *     ├── ConnectionFailed        no connection, or it broke
 *     ├── TimedOut                no answer in time
 *     ├── ProtocolError           an answer that is not one of a Loddis server
 *     └── ServerError             the server said no; `.problem` says why
 *         ├── BadRequest          400, 409, 422: parameters, or a stream that is used otherwise
 *         │   └── LateFrame       409: a frame that does not come after the last one of its stream
 *         ├── Unauthorised        401, 403
 *         ├── NotFound            404
 *         │   ├── ModelNotFound
 *         │   └── StreamNotFound
 *         ├── FrameRejected       400, 413, 415, 422: the frame
 *         ├── Overloaded          429, 503, after all retries; `.retryAfterS`
 *         └── InternalError       500 and other 5xx
 */
/** @import { ProblemDocument } from "./types.js" */
/** Root of all errors of the client. */
export class LoddisClientError extends Error {
    /**
     * @param {string} message
     * @param {ErrorOptions} [options]
     */
    constructor(message: string, options?: ErrorOptions);
}
/** The client was called wrongly. */
export class UsageError extends LoddisClientError {
}
/** A frame that cannot be sent: its kind, its size or its type. */
export class FrameError extends UsageError {
}
/** There is no connection to the server, or it broke; the message names the address. */
export class ConnectionFailed extends LoddisClientError {
}
/** The server did not answer in time. */
export class TimedOut extends LoddisClientError {
}
/** An answer that is not one of a Loddis server. */
export class ProtocolError extends LoddisClientError {
}
/** The server refused; the message is its own. */
export class ServerError extends LoddisClientError {
    /**
     * @param {ProblemDocument} problem What it said.
     * @param {{retryAfterS?: number | null}} [options]
     */
    constructor(problem: ProblemDocument, { retryAfterS }?: {
        retryAfterS?: number | null;
    });
    /** The problem document; one made of the status where a proxy, say, answered something else. */
    problem: {
        type: string;
        title: string;
        status: number;
        detail: string;
        instance: string;
        request_id: string;
        errors: import("./schema.js").components["schemas"]["ParameterFault"][] | null;
    };
    /** Of HTTP. */
    status: number;
    /** Last part of the problem's `type`, such as `truncated-image`; empty where there is none. */
    slug: string;
    /** When to come back, seconds, if the server said so. */
    retryAfterS: number | null;
}
/** Parameters that the server does not take. */
export class BadRequest extends ServerError {
}
/** A frame that does not come after the last one of its stream, which stays as it was. */
export class LateFrame extends BadRequest {
}
/** The API key is missing, wrong, or not allowed to do this. */
export class Unauthorised extends ServerError {
}
/** There is nothing at that address. */
export class NotFound extends ServerError {
}
/** The server has no model of that name or version. */
export class ModelNotFound extends NotFound {
}
/** The server has no stream of that name: one that frames are sent to begins with the first of them. */
export class StreamNotFound extends NotFound {
}
/** A frame that the server cannot use: colour, size, damage, values. */
export class FrameRejected extends ServerError {
}
/** The server has no capacity now, or is not ready; retries are used up. */
export class Overloaded extends ServerError {
}
/** The server failed. */
export class InternalError extends ServerError {
}
import type { ProblemDocument } from "./types.js";
