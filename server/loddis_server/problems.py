"""What can go wrong, as RFC 9457 problem documents: one catalogue for answers, OpenAPI and `GET /problems/{slug}`.

Anything that refuses a request raises `ProblemError` with an entry of the catalogue and a detail that says what was
expected and what came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

__all__ = [
    "BAD_FRAME",
    "BAD_PARAMETER",
    "BAD_TENSOR",
    "BAD_VIDEO",
    "BODY_TOO_LARGE",
    "CATALOGUE",
    "EMPTY_BODY",
    "EVENTS_UNAVAILABLE",
    "FORBIDDEN",
    "FRAME_TOO_LARGE",
    "HEAD_TIMEOUT",
    "HEAD_TOO_LARGE",
    "INSUFFICIENT_STORAGE",
    "INTERNAL",
    "LATE_FRAME",
    "MALFORMED_REQUEST",
    "METHOD_NOT_ALLOWED",
    "MODEL_BUSY",
    "MODEL_REQUIRED",
    "MODEL_UNUSABLE",
    "NOT_FOUND",
    "NOT_IMPLEMENTED",
    "NOT_READY",
    "NO_PICTURE",
    "NO_THUMBNAIL",
    "OVERLOADED",
    "PROBLEM_MEDIA_TYPE",
    "SOURCE_NOT_ALLOWED",
    "STREAM_CONFLICT",
    "TIMEOUT",
    "TOO_MANY_LISTENERS",
    "TOO_MANY_STREAMS",
    "TRUE_COLOUR",
    "TRUNCATED_IMAGE",
    "UNAUTHORISED",
    "UNKNOWN_EVENT",
    "UNKNOWN_MODEL",
    "UNKNOWN_RECEIVER",
    "UNKNOWN_STREAM",
    "UNSUPPORTED_MEDIA",
    "UPLOAD_TIMEOUT",
    "ProblemError",
    "ProblemType",
    "problem_document",
    "problem_response",
]

PROBLEM_MEDIA_TYPE = "application/problem+json"
PROTOCOL_ROOT = "/v2"
RETRY_AFTER_S = 1  # where nothing better is known


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem.

    Attributes:
        slug: Stable name for programs; the last part of the document's `type`.
        status: HTTP status that it comes with.
        title: What happened, the same words every time.
        remedy: What whoever gets it can do.
    """

    slug: str
    status: int
    title: str
    remedy: str

    @property
    def uri(self) -> str:
        """The `type` of its documents: a path on this server that describes it."""
        return f"/problems/{self.slug}"


EMPTY_BODY = ProblemType(
    "empty-body", 400, "The request has no body", "Send the frame as the body of the request, or as the part `frame`."
)
MALFORMED_REQUEST = ProblemType(
    "malformed-request", 400, "The request is malformed", "The detail says where; a library for HTTP avoids it."
)
BAD_TENSOR = ProblemType(
    "bad-tensor",
    400,
    "A tensor does not fit",
    "The model's metadata, `GET /v2/models/NAME`, say which it takes and gives.",
)
UNAUTHORISED = ProblemType(
    "unauthorised",
    401,
    "A valid API key is required",
    "Send the header `Authorization: Bearer KEY`, or `X-API-Key: KEY`.",
)
FORBIDDEN = ProblemType(
    "forbidden",
    403,
    "The request may not do this",
    "The detail says what it lacks; whoever runs the server can give it.",
)
NOT_FOUND = ProblemType("not-found", 404, "There is nothing at this path", "`/docs` lists every path.")
UNKNOWN_MODEL = ProblemType(
    "unknown-model", 404, "No such model is served", "`GET /v1/models` lists the models that are."
)
SOURCE_NOT_ALLOWED = ProblemType(
    "source-not-allowed",
    403,
    "The operator does not allow this source",
    "The server's settings `sources` name the hosts, folders and devices that may be read.",
)
UNKNOWN_STREAM = ProblemType(
    "unknown-stream", 404, "There is no such stream", "`GET /v1/streams` lists those that there are."
)
UNKNOWN_EVENT = ProblemType(
    "unknown-event",
    404,
    "There is no such event",
    "`GET /v1/events` lists those that are kept; old ones are deleted.",
)
UNKNOWN_RECEIVER = ProblemType(
    "unknown-receiver",
    404,
    "No receiver of events has this name",
    "`GET /v1/deliveries` lists those of the server's settings.",
)
NO_THUMBNAIL = ProblemType(
    "no-thumbnail", 404, "The event has no thumbnail", "Ask only where the event's `has_thumbnail` is true."
)
NO_PICTURE = ProblemType(
    "no-picture", 404, "The stream has had no frame yet", "Ask again once its `last_frame_index` is there."
)
METHOD_NOT_ALLOWED = ProblemType(
    "method-not-allowed", 405, "The path does not take this method", "The header `Allow` names the methods it takes."
)
MODEL_BUSY = ProblemType(
    "model-busy", 409, "The model is being loaded", "Try again when `GET /v1/models` shows it `ready` or `failed`."
)
MODEL_REQUIRED = ProblemType(
    "model-required", 409, "The server cannot do without this model", "The detail says what has to come first."
)
MODEL_UNUSABLE = ProblemType(
    "model-unusable",
    409,
    "The model cannot be served",
    "Put the bundle right, in a folder for a new version, and load that; what was served before still is.",
)
UPLOAD_TIMEOUT = ProblemType(
    "upload-timeout",
    408,
    "The body did not arrive in time",
    "Send smaller frames, or raise the server's `request_timeout_s`.",
)
HEAD_TIMEOUT = ProblemType(
    "head-timeout", 408, "The request line and headers did not arrive in time", "Send them at once, then the body."
)
STREAM_CONFLICT = ProblemType(
    "stream-conflict",
    409,
    "The stream is used otherwise",
    "The detail says how. Delete the stream first, or take another id.",
)
LATE_FRAME = ProblemType(
    "late-frame",
    409,
    "The frame does not come after the last one of its stream",
    "Send newer frames. If the counter starts anew, send `X-Stream-Reset: true` with the first frame.",
)
BODY_TOO_LARGE = ProblemType(
    "body-too-large", 413, "The body has too many bytes", "Compress the frame, or raise the server's `max_body_bytes`."
)
FRAME_TOO_LARGE = ProblemType(
    "frame-too-large", 413, "The frame has too many pixels", "Cut it up, or raise the server's `max_frame_pixels`."
)
UNSUPPORTED_MEDIA = ProblemType(
    "unsupported-media",
    415,
    "The body is of no supported type, or not of the type declared",
    "Send PNG, JPEG, TIFF, binary PGM, .npy or raw pixels, with the Content-Type that belongs to it.",
)
BAD_PARAMETER = ProblemType(
    "bad-parameter", 422, "A parameter or header cannot be used", "`errors` names each, and what is wrong with it."
)
BAD_FRAME = ProblemType(
    "bad-frame", 422, "The frame cannot be used", "Send one channel, uint8, uint16 or float32, all values finite."
)
BAD_VIDEO = ProblemType(
    "bad-video",
    422,
    "The video cannot be used",
    "The detail says why; try whether FFmpeg plays it. Grey pixel formats of 8 to 16 bits are best.",
)
TRUE_COLOUR = ProblemType(
    "true-colour",
    422,
    "The frame is in colour",
    "Send the infrared channel itself, not a rendering of it in false colours.",
)
TRUNCATED_IMAGE = ProblemType(
    "truncated-image", 422, "The image is not complete", "Send the whole file; it was cut off on its way here."
)
TOO_MANY_STREAMS = ProblemType(
    "too-many-streams",
    429,
    "The server has as many streams as it may",
    "Delete one, wait until an idle one ends, or raise the server's `max_streams`.",
)
TOO_MANY_LISTENERS = ProblemType(
    "too-many-listeners", 429, "As many listen to the stream as may", "Listen once, and hand on what comes."
)
HEAD_TOO_LARGE = ProblemType(
    "head-too-large", 431, "The request line and headers have too many bytes", "Send fewer or shorter headers."
)
INTERNAL = ProblemType(
    "internal", 500, "The server failed", "Report it with the request id; the server's log has the cause under it."
)
NOT_IMPLEMENTED = ProblemType(
    "not-implemented", 501, "This release cannot do that", "The detail says what to leave out of the request."
)
NOT_READY = ProblemType(
    "not-ready", 503, "The server is starting or stopping", "Try again when `GET /readyz` answers 200."
)
OVERLOADED = ProblemType(
    "overloaded", 503, "The queue is full", "Wait as long as `Retry-After` says, then send the request again."
)
EVENTS_UNAVAILABLE = ProblemType(
    "events-unavailable",
    503,
    "The event database cannot be used now",
    "Wait as long as `Retry-After` says. No event is lost meanwhile; the server's log says what is wrong.",
)
TIMEOUT = ProblemType(
    "timeout",
    504,
    "The answer took too long",
    "Send fewer requests at once, or raise the server's `request_timeout_s`.",
)
INSUFFICIENT_STORAGE = ProblemType(
    "insufficient-storage",
    507,
    "The server has no room to store the video",
    "Send it as Matroska, or as MP4 with its index in front (faststart): neither is stored. Or put the server's folder "
    "of temporary files, TMPDIR, where there is room.",
)

CATALOGUE: Mapping[str, ProblemType] = {
    kind.slug: kind for kind in list(globals().values()) if isinstance(kind, ProblemType)
}


class ProblemError(Exception):
    """A request that is refused.

    Args:
        kind: Entry of the catalogue.
        detail: What was expected and what came; one sentence for people.
        headers: To send along. Every 503 says when to come back: `Retry-After` is 1 s if it is not given.
        errors: One entry for each parameter at fault: `parameter`, `message`.
    """

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(f"{kind.slug}: {detail}")
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        if kind.status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_S))
        self.errors = errors


def problem_document(
    kind: ProblemType, detail: str, *, instance: str, request_id: str, errors: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    """Give the document, ready for JSON."""
    document: dict[str, Any] = {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": instance,
        "request_id": request_id,
    }
    if errors:
        document["errors"] = errors
    return document


def problem_response(error: ProblemError, *, instance: str, request_id: str) -> Response:
    """Give the answer to a request that is refused; in the Open Inference Protocol's own form to its paths.

    Args:
        error: Why.
        instance: Path of the request.
        request_id: Of the request.
    """
    if instance == PROTOCOL_ROOT or instance.startswith(f"{PROTOCOL_ROOT}/"):
        return Response(
            orjson.dumps({"error": error.detail}),
            status_code=error.kind.status,
            headers=error.headers,
            media_type="application/json",
        )
    document = problem_document(error.kind, error.detail, instance=instance, request_id=request_id, errors=error.errors)
    return Response(
        orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE),
        status_code=error.kind.status,
        headers=error.headers,
        media_type=PROBLEM_MEDIA_TYPE,
    )
