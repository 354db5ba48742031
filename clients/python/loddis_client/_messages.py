"""What streams, videos and batches answer: values, or the errors they stand for. No input or output happens here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from loddis_client._errors import ConnectionFailed, LoddisClientError, ProtocolError
from loddis_client._models import DetectionResult
from loddis_client._responses import NOT_OURS, detection_of, document_of, error_of, not_ours, problem_of, result_fields
from loddis_client._streams import (
    Alarms,
    Drift,
    FrameProblem,
    Health,
    SourceState,
    StreamEnd,
    StreamMessage,
    StreamResult,
    Track,
    Window,
)
from loddis_client._wire import Answer

__all__ = ["MessageReader", "parse_batch", "parse_stream_result"]

LARGEST_LINE = 2**26  # bytes; a frame with every detection that a model gives stays far below


class MessageReader:
    """Makes messages of NDJSON that comes in pieces. Messages of types that this client does not know are left out.

    Args:
        url: That answers.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._rest = b""
        self.is_over = False

    def add(self, chunk: bytes) -> Iterator[StreamMessage]:
        """Take a piece; give the messages that it completes.

        Raises:
            ProtocolError: It is not what a Loddis server says.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LARGEST_LINE:
            raise ProtocolError(f"{self._url} answers without end: a line of more than {LARGEST_LINE} bytes")
        for line in lines:
            message = self._message(line) if line.strip() else None  # an empty line is a sign of life
            if message is not None:
                self.is_over = isinstance(message, StreamEnd)
                yield message

    def finish(self) -> None:
        """Say that nothing comes any more.

        Raises:
            ConnectionFailed: The stream had not ended.
        """
        if not self.is_over:
            raise ConnectionFailed(f"{self._url} broke off before the stream's end")

    def _message(self, line: bytes) -> StreamMessage | None:
        answer = Answer(self._url, 200, {}, line)
        document = document_of(answer)
        try:
            return _message(answer, document)
        except NOT_OURS as error:
            raise not_ours(answer, f"{type(error).__name__} {error}") from error


def parse_stream_result(answer: Answer) -> StreamResult:
    """Read the answer to a frame of a stream.

    Raises:
        ServerError: The server refused.
        ProtocolError: The answer is not one of a Loddis server.
    """
    document = document_of(answer)
    try:
        return _stream_result(document, request_id=answer.headers.get("X-Request-Id", ""))
    except NOT_OURS as error:
        raise not_ours(answer, f"{type(error).__name__} {error}") from error


def parse_batch(answer: Answer) -> tuple[DetectionResult | LoddisClientError, ...]:
    """Read the answer to a batch: the result of each frame, or the error in its place.

    Raises:
        ServerError: The server refused the batch.
        ProtocolError: The answer is not one of a Loddis server.
    """
    document = document_of(answer)
    try:
        return tuple(_outcome(answer, item) for item in document["results"])
    except NOT_OURS as error:
        raise not_ours(answer, f"{type(error).__name__} {error}") from error


def _outcome(answer: Answer, item: dict[str, Any]) -> DetectionResult | LoddisClientError:
    if item["problem"] is None:
        return DetectionResult(**result_fields(item["result"]), request_id=str(item["result"]["request_id"]))
    content = json.dumps(item["problem"]).encode()
    return error_of(Answer(answer.url, int(item["problem"]["status"]), answer.headers, content))


def _message(answer: Answer, document: dict[str, Any]) -> StreamMessage | None:
    match document["type"]:
        case "frame":
            return _stream_result(document, request_id="")
        case "source":
            cause = document["cause"]
            return SourceState(
                stream_id=str(document["stream_id"]),
                state=str(document["state"]),
                cause=None if cause is None else str(cause),
                restarts=int(document["restarts"]),
                details=document,
            )
        case "problem":
            content = json.dumps(document["problem"]).encode()
            problem = problem_of(Answer(answer.url, int(document["problem"]["status"]), {}, content))
            return FrameProblem(_or_none(int, document["frame_index"]), problem, document)
        case "end":
            return StreamEnd(str(document["stream_id"]), str(document["reason"]), int(document["frames"]), document)
        case _:
            return None


def _stream_result(document: dict[str, Any], *, request_id: str) -> StreamResult:
    window, alarms, health, drift = (document[name] for name in ("window", "alarms", "health", "drift"))
    return StreamResult(
        **result_fields(document),
        request_id=request_id,
        stream_id=str(document["stream_id"]),
        frame_index=int(document["frame_index"]),
        timestamp_s=_or_none(float, document["timestamp_s"]),
        captured_at=_or_none(float, document["captured_at"]),
        window=Window(
            tuple(int(index) for index in window["frame_indices"]),
            int(window["missing"]),
            _or_none(str, window["restart"]),
        ),
        tracks=tuple(_track(item) for item in document["tracks"]),
        alarms=Alarms(
            new=tuple(int(identity) for identity in alarms["new"]),
            ended=tuple(int(identity) for identity in alarms["ended"]),
            held_back=bool(alarms["held_back"]),
            score_threshold=float(alarms["score_threshold"]),
        ),
        health=Health(*(tuple(str(one) for one in health[name]) for name in ("conditions", "began", "ended"))),
        drift=Drift(
            distance=_or_none(float, drift["distance"]),
            domain=_or_none(str, drift["domain"]),
            is_unlike=bool(drift["is_unlike"]),
            most_unlike={str(name): float(value) for name, value in drift["most_unlike"].items()},
            cause=_or_none(str, drift["cause"]),
        ),
        details=document,
    )


def _track(item: dict[str, Any]) -> Track:
    seen = detection_of(item)
    velocity_x, velocity_y = (float(value) for value in item["velocity_xy"])
    (xx, xy), (yx, yy) = item["covariance"]
    return Track(
        track_id=int(item["track_id"]),
        state=str(item["state"]),
        box_xyxy=seen.box_xyxy,
        centroid_xy=seen.centroid_xy,
        velocity_xy=(velocity_x, velocity_y),
        covariance=((float(xx), float(xy)), (float(yx), float(yy))),
        score=seen.score,
        snr=seen.snr,
        class_id=seen.class_id,
        class_name=seen.class_name,
        age_frames=int(item["age_frames"]),
        hits=int(item["hits"]),
        coasted_frames=int(item["coasted_frames"]),
        first_frame_index=int(item["first_frame_index"]),
        last_seen_frame_index=int(item["last_seen_frame_index"]),
    )


def _or_none(kind: Any, value: Any) -> Any:
    """Read a value that may be missing."""
    return None if value is None else kind(value)
