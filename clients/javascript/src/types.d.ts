/** Names for what goes in and comes out. Answers are the server's JSON documents as they are; `schema.d.ts` is made of its OpenAPI document. */

import type { components } from "./schema.js";

type Schemas = components["schemas"];

export type DeliveryOverview = Schemas["DeliveryOverview"];
export type DetectResponse = Schemas["DetectResponse"];
export type Detection = Schemas["Detection"];
export type EndMessage = Schemas["EndMessage"];
/** Answers have every field, those too that have a default. */
export type Event = Required<Schemas["Event"]>;
export type EventDetail = Omit<Schemas["EventDetail"], "event"> & { event: Event };
export type EventPage = Omit<Schemas["EventPage"], "events"> & { events: Event[] };
export type FrameMessage = Schemas["FrameMessage"];
export type ModelDetail = Schemas["ModelDetail"];
export type ModelList = Omit<Schemas["ModelList"], "repository"> & { repository: ModelVersion[] };
export type ModelSummary = Schemas["ModelSummary"];
export type ModelVersion = Required<Schemas["ModelVersion"]>;
export type ProblemDocument = Schemas["ProblemDocument"];
export type ProblemMessage = Schemas["ProblemMessage"];
export type ServerInfo = Schemas["ServerInfo"];
export type SourceMessage = Schemas["SourceMessage"];
export type StreamList = Schemas["StreamList"];
export type StreamMessage = Schemas["StreamMessage"];
export type StreamStatusDocument = Schemas["StreamStatusDocument"];
export type TrackInfo = Schemas["TrackInfo"];

/** Documents that are sent: every field may be left out, the server's default holds then. */
type Partially<T> = T extends (infer Item)[]
  ? Partially<Item>[]
  : T extends object
    ? { [Key in keyof T]?: Partially<T[Key]> }
    : T;

export type SourceSettings = Partially<Schemas["SourceSettings"]>;
export type StreamSettings = Partially<Schemas["StreamSettings"]>;

/** Pixels row by row, in the byte order of this machine. */
export interface RawFrame {
  data: Uint8Array | Uint16Array | Float32Array;
  width: number;
  height: number;
}

/** An image file (PNG, JPEG, TIFF, PGM or .npy), or raw pixels. */
export type Frame = Blob | ArrayBuffer | Uint8Array | RawFrame;

export type Dtype = "uint8" | "uint16" | "float32";

export interface CallOptions {
  /** Ends the call, and closes its connection. */
  signal?: AbortSignal | undefined;
}

export interface DetectOptions extends CallOptions {
  /** Only scores from here on, in [0, 1]; the model's own if none. */
  scoreThreshold?: number | undefined;
  /** The best so many; the model's own limit if none. */
  maxDetections?: number | undefined;
  /** `NAME` or `NAME:VERSION`. */
  model?: string | undefined;
}

/** Where in its stream a frame belongs. */
export interface FramePlace {
  /** Place of the frame, from 0; one after the last if none. */
  frameIndex?: number | undefined;
  /** When it was taken, seconds on any clock that does not go back. */
  timestampS?: number | undefined;
  /** Let the stream forget its window and its tracks before this frame; what it has learned of the scene stays. */
  reset?: boolean | undefined;
}

export interface EventOptions extends CallOptions {
  /** Of this stream. */
  streamId?: string | undefined;
  /** `track.confirmed`, `track.ended`, `health`, `drift`, `source`; all if none. */
  kinds?: readonly string[] | undefined;
  /** Captured then or later; as text with an offset from UTC, such as `Z`. */
  since?: Date | string | undefined;
  /** Captured before. */
  until?: Date | string | undefined;
  /** Tracks of this score or better. */
  minScore?: number | undefined;
  /** First; the newest if none. */
  order?: "newest" | "oldest" | undefined;
  /** Most events of a page, 1 to 1000. */
  limit?: number | undefined;
  /** `next_cursor` of the page before, with all else as it was. */
  cursor?: string | undefined;
}

/** A picture of a stream with detections and tracks drawn in. */
export interface Picture {
  /** Of the frame that it shows; null where the answer does not say. */
  frameIndex: number | null;
  /** A JPEG. */
  picture: Blob;
}
