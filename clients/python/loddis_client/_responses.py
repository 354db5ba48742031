"""What the server answered: values, or the error that it stands for. No input or output happens here."""

from __future__ import annotations

import json
from typing import Any

from loddis_client._errors import (
    BadRequest,
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
    Unauthorised,
)
from loddis_client._models import Detection, DetectionResult, ModelInfo, Problem
from loddis_client._wire import Answer

__all__ = [
    "NOT_OURS",
    "detection_of",
    "document_of",
    "error_of",
    "not_ours",
    "parse_detection_result",
    "parse_models",
    "parse_png",
    "problem_of",
    "result_fields",
    "retry_after_s",
]

# Kinds of problem that are about the frame, whatever their status.
ABOUT_THE_FRAME = {
    "empty-body",
    "unsupported-media",
    "true-colour",
    "bad-frame",
    "frame-too-large",
    "body-too-large",
    "truncated-image",
}
# What reading a document of another shape may end in.
NOT_OURS = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
BY_SLUG: dict[str, type[ServerError]] = {
    "unknown-model": ModelNotFound,
    "unknown-stream": StreamNotFound,
    "late-frame": LateFrame,
}
BY_STATUS: dict[int, type[ServerError]] = {401: Unauthorised, 403: Unauthorised, 404: NotFound}


def parse_detection_result(answer: Answer) -> DetectionResult:
    """Read the answer to `detect`.

    Raises:
        ServerError: The server refused.
        ProtocolError: The answer is not one of a Loddis server.
    """
    document = document_of(answer)
    try:
        return DetectionResult(**result_fields(document), request_id=str(document["request_id"]))
    except NOT_OURS as error:
        raise not_ours(answer, f"{type(error).__name__} {error}") from error


def result_fields(document: dict[str, Any]) -> dict[str, Any]:
    """Read what every result has, but for its request; raises `NOT_OURS` where that is not there."""
    return {
        "model_name": str(document["model"]["name"]),
        "model_version": str(document["model"]["version"]),
        "width": int(document["frame"]["width"]),
        "height": int(document["frame"]["height"]),
        "dtype": str(document["frame"]["dtype"]),
        "detections": tuple(detection_of(item) for item in document["detections"]),
        "timing_ms": {str(name): float(value) for name, value in document["timing_ms"].items()},
    }


def parse_models(answer: Answer) -> tuple[ModelInfo, ...]:
    """Read the list of models.

    Raises:
        ServerError: The server refused.
        ProtocolError: The answer is not one of a Loddis server.
    """
    document = document_of(answer)
    try:
        return tuple(
            ModelInfo(str(m["name"]), str(m["version"]), str(m["state"]), bool(m["default"]), dict(m))
            for m in document["models"]
        )
    except NOT_OURS as error:
        raise not_ours(answer, f"{type(error).__name__} {error}") from error


def parse_png(answer: Answer) -> bytes:
    """Read a picture.

    Raises:
        ServerError: The server refused.
        ProtocolError: The answer is no PNG.
    """
    if answer.status != 200:
        raise error_of(answer)
    if not answer.content.startswith(b"\x89PNG\r\n\x1a\n"):
        raise not_ours(answer, "it is no PNG")
    return answer.content


def error_of(answer: Answer) -> LoddisClientError:
    """Give the error that an answer stands for; a page that is no problem document (a proxy's, say) is kept as text."""
    problem = problem_of(answer)
    status = answer.status
    if problem.slug in ABOUT_THE_FRAME:
        return FrameRejected(problem)
    if problem.slug in BY_SLUG:
        return BY_SLUG[problem.slug](problem)
    if status in (503, 429):
        return Overloaded(problem, retry_after_s=retry_after_s(answer))
    if status in BY_STATUS:
        return BY_STATUS[status](problem)
    if status >= 500:
        return InternalError(problem)
    if status >= 400:
        return BadRequest(problem)
    return not_ours(answer, f"status {status} was not expected")


def retry_after_s(answer: Answer) -> float | None:
    """Give the seconds of `Retry-After`; a date, or nonsense, counts as none."""
    try:
        return max(0.0, float(answer.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def document_of(answer: Answer) -> dict[str, Any]:
    """Give the JSON object of an answer.

    Raises:
        ServerError: The server refused.
        ProtocolError: It is none.
    """
    if answer.status != 200:
        raise error_of(answer)
    try:
        document = json.loads(answer.content)
    except (ValueError, RecursionError) as error:
        raise not_ours(answer, "it is no JSON") from error
    if not isinstance(document, dict):
        raise not_ours(answer, "it is no JSON object")
    return document


def problem_of(answer: Answer) -> Problem:
    """Give what an answer says went wrong; what is no problem document is kept as text."""
    try:
        document = json.loads(answer.content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        text = " ".join(answer.content[:2000].decode("utf-8", "replace").split())[:200]
        detail = f"HTTP {answer.status} {answer.reason}" + (f": {text}" if text else "")
        request_id = answer.headers.get("X-Request-Id", "")
        return Problem("", answer.reason, answer.status, detail, request_id)
    kind = str(document.get("type", ""))
    return Problem(
        slug=kind.rsplit("/", 1)[-1] if "/problems/" in kind else "",
        title=str(document.get("title", answer.reason)),
        status=answer.status,
        detail=str(document.get("detail", document.get("title", f"HTTP {answer.status}"))),
        request_id=str(document.get("request_id", answer.headers.get("X-Request-Id", ""))),
        document=document,
    )


def detection_of(item: dict[str, Any]) -> Detection:
    """Read a detection; raises `NOT_OURS` where it is none."""
    x1, y1, x2, y2 = (float(value) for value in item["box_xyxy"])
    x, y = (float(value) for value in item["centroid_xy"])
    return Detection(
        box_xyxy=(x1, y1, x2, y2),
        score=float(item["score"]),
        class_id=int(item["class_id"]),
        class_name=str(item["class_name"]),
        centroid_xy=(x, y),
        snr=float("nan") if item["snr"] is None else float(item["snr"]),
    )


def not_ours(answer: Answer, why: str) -> ProtocolError:
    """Give the error of an answer that is not one of a Loddis server."""
    return ProtocolError(f"{answer.url} did not answer as a Loddis server does: {why}")
