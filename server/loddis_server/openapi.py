"""What OpenAPI says beyond what the routes' own types say: bodies, headers, problems, examples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from pydantic import TypeAdapter

from loddis_server.decoding import FORMATS
from loddis_server.forms import PART_NAME
from loddis_server.images.raw import DTYPES
from loddis_server.oip.messages import InferRequest
from loddis_server.problems import PROBLEM_MEDIA_TYPE, ProblemType
from loddis_server.schemas import ProblemDocument, ProtocolError
from loddis_server.stream_schemas import StreamMessage, StreamRequest

__all__ = [
    "BINARY",
    "DESCRIPTION",
    "FRAME_BODY",
    "FRAME_HEADERS",
    "PNG_ANSWER",
    "STREAM_HEADERS",
    "TAGS",
    "add_schemas",
    "problem_answers",
    "protocol_answers",
]

DESCRIPTION = """\
Detects moving small targets in infrared frames.

    curl --data-binary @frame.png http://127.0.0.1:8080/v1/detect

16-bit frames stay 16-bit all the way. Every error is a problem document (RFC 9457); `GET /problems` lists all kinds.
Where the server has an API key, send `Authorization: Bearer KEY`.
"""

STREAMS = """\
Frames that belong together: cameras, videos, tracks, alarms.

**`WS /v1/streams/{stream_id}/frames`** takes frames and gives answers over one WebSocket; OpenAPI has no words for it.

- The stream is opened by its first connection, and outlives it: whoever connects again goes on with it.
- A binary message is a frame: an image file, or raw pixels if the address says which, as in
  `?width=640&height=512&dtype=uint16`. `model`, `score_threshold` and `max_detections` may stand there, too.
- A text message speaks of the frame that follows it: `{"frame_index": 12, "timestamp_s": 0.48, "reset": false}`; each
  part may be left out.
- Every frame is answered by one text message, in order: a `FrameMessage`, or a `ProblemMessage` after which the stream
  goes on.
- A handshake that cannot be is refused with the status and problem document of an HTTP request. The connection is
  closed with 1001 when the stream or the server ends, with 1009 after a message larger than `max_body_bytes`.
"""

TAGS = [
    {"name": "detection", "description": "Frames in, detections out."},
    {"name": "streams", "description": STREAMS},
    {"name": "models", "description": "What is served, and what could be."},
    {"name": "events", "description": "What happened on the streams: stored, queried, delivered."},
    {"name": "open inference protocol", "description": "For clients of KServe and Triton."},
    {"name": "operation", "description": "Probes, metrics and what problems mean."},
]

SCHEMAS = "#/components/schemas/"
BINARY = {"type": "string", "format": "binary"}

FRAME_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": (
            "One frame of one channel. PNG, TIFF and PGM of 8 or 16 bits, TIFF of 32-bit floats, JPEG, `.npy` of "
            "uint8, uint16 or float32. `application/octet-stream` holds raw pixels, row by row, little-endian, if "
            "the headers X-Frame-Width, -Height and -Dtype describe them, else any of the files. Files in three "
            "channels are accepted if all channels say the same grey."
        ),
        "content": {
            **{known.media_types[0]: {"schema": BINARY} for known in FORMATS},
            "application/octet-stream": {"schema": BINARY},
            "multipart/form-data": {
                "schema": {"type": "object", "required": [PART_NAME], "properties": {PART_NAME: BINARY}}
            },
        },
    }
}

FRAME_HEADERS: list[dict[str, Any]] = [
    {
        "name": "X-Frame-Width",
        "in": "header",
        "description": "Raw pixels only: width, pixels.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 640,
    },
    {
        "name": "X-Frame-Height",
        "in": "header",
        "description": "Raw pixels only: height, pixels.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 512,
    },
    {
        "name": "X-Frame-Dtype",
        "in": "header",
        "description": "Raw pixels only: their type, little-endian.",
        "schema": {"type": "string", "enum": list(DTYPES)},
        "example": "uint16",
    },
    {
        "name": "X-Request-Id",
        "in": "header",
        "description": "Comes back in the answer, and stands in the server's log: 1 to 128 of A-Z a-z 0-9 ._:@/+=-. "
        "For any other the server gives one of its own.",
        "schema": {"type": "string"},
    },
]

STREAM_HEADERS: list[dict[str, Any]] = [
    {
        "name": "X-Stream-Id",
        "in": "header",
        "description": "Makes the frame the next one of this stream; the first frame opens it. 1 to 64 of "
        "A-Z a-z 0-9 . _ -, beginning with a letter or digit.",
        "schema": {"type": "string", "maxLength": 64},
        "example": "mast-3",
    },
    {
        "name": "X-Frame-Index",
        "in": "header",
        "description": "Place of the frame in its stream, from 0; one after the last if none. Gaps are answered in "
        "`window`, a frame that does not come after the last one is refused with 409.",
        "schema": {"type": "integer", "minimum": 0},
    },
    {
        "name": "X-Frame-Timestamp",
        "in": "header",
        "description": "When the frame was taken, seconds on any clock that does not go back.",
        "schema": {"type": "number"},
    },
    {
        "name": "X-Stream-Reset",
        "in": "header",
        "description": "`true`: the stream forgets its window and its tracks, and the index of this frame may be any. "
        "What it has learned of the sensor, the scene and its false alarms stays.",
        "schema": {"type": "boolean"},
    },
]

PNG_ANSWER: dict[str, Any] = {"image/png": {"schema": BINARY}}


def problem_answers(kinds: Sequence[ProblemType]) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that a route may answer with, by status.

    Args:
        kinds: Of problems.

    Returns:
        What FastAPI takes as `responses`.
    """
    answers: dict[int | str, dict[str, Any]] = {}
    for status, group in groupby(sorted(kinds, key=lambda kind: kind.status), key=lambda kind: kind.status):
        members = list(group)
        answers[status] = {
            "description": "\n".join(f"- `{kind.slug}`: {kind.title}. {kind.remedy}" for kind in members),
            "content": {
                PROBLEM_MEDIA_TYPE: {
                    "schema": {"$ref": f"{SCHEMAS}ProblemDocument"},
                    "examples": {
                        kind.slug: {
                            "summary": kind.title,
                            "value": {
                                "type": kind.uri,
                                "title": kind.title,
                                "status": kind.status,
                                "detail": "…",
                                "instance": "/v1/detect",
                                "request_id": "3f1c…",
                            },
                        }
                        for kind in members
                    },
                }
            },
        }
        if any("Retry-After" in kind.remedy for kind in members):
            answers[status]["headers"] = {
                "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
            }
    return answers


def protocol_answers(kinds: Sequence[ProblemType]) -> dict[int | str, dict[str, Any]]:
    """Describe the errors that a route of the Open Inference Protocol may answer with, by status.

    Args:
        kinds: Of problems.

    Returns:
        What FastAPI takes as `responses`.
    """
    answers: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        known = answers.setdefault(kind.status, {"model": ProtocolError, "description": ""})
        known["description"] = f"{known['description']}\n- {kind.title}. {kind.remedy}".strip()
    return answers


def add_schemas(document: dict[str, Any]) -> None:
    """Put the schemas into an OpenAPI document that routes refer to by name and the framework does not see."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    named: dict[str, Any] = {
        "ProblemDocument": ProblemDocument,
        "InferRequest": InferRequest,
        "StreamMessage": StreamMessage,
        "StreamRequest": StreamRequest,
    }
    for name, model in named.items():
        schema = TypeAdapter(model).json_schema(ref_template=f"{SCHEMAS}{{model}}")
        schemas.update(schema.pop("$defs", {}))
        schemas[name] = schema
    _add_key_header(document)


def _add_key_header(document: dict[str, Any]) -> None:
    """Say that a key may come in a header of its own wherever it may come as a bearer token."""
    document["components"].setdefault("securitySchemes", {})["header"] = {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key in a header of its own.",
    }
    for path in document["paths"].values():
        for operation in path.values():
            if {"bearer": []} in operation.get("security", []) and {"header": []} not in operation["security"]:
                operation["security"].append({"header": []})
