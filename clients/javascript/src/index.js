/**
 * JavaScript client of the Loddis infrared detection server.
 *
 *     import { Client } from "loddis-client";
 *
 *     const client = new Client({ baseUrl: "http://127.0.0.1:8080" });
 *     for (const target of (await client.detect(file)).detections) {
 *       console.log(target.box_xyxy, target.score, target.snr);
 *     }
 */

export { Client } from "./client.js";
export {
  BadRequest,
  ConnectionFailed,
  FrameError,
  FrameRejected,
  InternalError,
  LateFrame,
  LoddisClientError,
  ModelNotFound,
  NotFound,
  Overloaded,
  ProtocolError,
  ServerError,
  StreamNotFound,
  TimedOut,
  Unauthorised,
  UsageError,
} from "./errors.js";
export { FrameSocket } from "./frame_socket.js";

/** @typedef {import("./types.js").DetectResponse} DetectResponse */
/** @typedef {import("./types.js").Detection} Detection */
/** @typedef {import("./types.js").Event} Event */
/** @typedef {import("./types.js").EventPage} EventPage */
/** @typedef {import("./types.js").Frame} Frame */
/** @typedef {import("./types.js").FrameMessage} FrameMessage */
/** @typedef {import("./types.js").Picture} Picture */
/** @typedef {import("./types.js").ProblemDocument} ProblemDocument */
/** @typedef {import("./types.js").RawFrame} RawFrame */
/** @typedef {import("./types.js").StreamMessage} StreamMessage */
/** @typedef {import("./types.js").StreamStatusDocument} StreamStatusDocument */
/** @typedef {import("./types.js").TrackInfo} TrackInfo */
