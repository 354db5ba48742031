"""The headers that make a frame part of a stream."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from loddis_server.problems import BAD_PARAMETER, ProblemError
from loddis_server.streams.settings import STREAM_ID

__all__ = ["StreamHeaders", "read_stream_headers"]

INDEX = re.compile(r"[0-9]{1,18}")
TRUTHS = {"true": True, "1": True, "false": False, "0": False}
NAMES = ("X-Stream-Id", "X-Frame-Index", "X-Frame-Timestamp", "X-Stream-Reset")


@dataclass(frozen=True, slots=True)
class StreamHeaders:
    """What the headers say.

    Attributes:
        stream_id: Of the stream.
        frame_index: Place in it; one after the last frame's if none.
        timestamp_s: When the frame was taken, seconds on any clock that does not go back.
        reset: Whether the stream forgets its window and its tracks before this frame.
    """

    stream_id: str
    frame_index: int | None
    timestamp_s: float | None
    reset: bool


def read_stream_headers(headers: Mapping[str, str]) -> StreamHeaders | None:
    """Read the headers; None where there are none.

    Raises:
        ProblemError: One cannot be used, or there are others without `X-Stream-Id`; `errors` names each.
    """
    given = {name: headers[name.lower()] for name in NAMES if name.lower() in headers}
    if not given:
        return None
    faults: dict[str, str] = {}
    stream_id = given.get("X-Stream-Id", "")
    if not STREAM_ID.fullmatch(stream_id):
        faults["X-Stream-Id"] = (
            f"must be 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit, got {stream_id[:80]!r}"
            if stream_id
            else f"is required with {', '.join(name for name in given if name != 'X-Stream-Id')}"
        )
    index = given.get("X-Frame-Index")
    if index is not None and not INDEX.fullmatch(index):
        faults["X-Frame-Index"] = f"must be a whole number from 0, got {index[:40]!r}"
    time = given.get("X-Frame-Timestamp")
    if time is not None and not _is_finite(time):
        faults["X-Frame-Timestamp"] = f"must be a finite number of seconds, got {time[:40]!r}"
    reset = given.get("X-Stream-Reset", "false").lower()
    if reset not in TRUTHS:
        faults["X-Stream-Reset"] = f"must be true or false, got {reset[:40]!r}"
    if faults:
        raise ProblemError(
            BAD_PARAMETER,
            "; ".join(f"{name}: {message}" for name, message in faults.items()),
            errors=[{"parameter": name, "message": message} for name, message in faults.items()],
        )
    return StreamHeaders(
        stream_id=stream_id,
        frame_index=None if index is None else int(index),
        timestamp_s=None if time is None else float(time),
        reset=TRUTHS[reset],
    )


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
