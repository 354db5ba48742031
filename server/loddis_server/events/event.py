"""What happened, and when: the record that is stored, queried and delivered, in the same form everywhere."""

from __future__ import annotations

import os
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, get_args

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

__all__ = ["EVENT_KINDS", "ID_PATTERN", "Event", "EventKind", "from_epoch_us", "new_event_id", "to_epoch_us"]

EventKind = Literal["track.confirmed", "track.ended", "health", "drift", "source"]
EVENT_KINDS: tuple[EventKind, ...] = get_args(EventKind)

ID_PATTERN = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
MAX_PAYLOAD_BYTES = 65_536
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class _IdSource:
    """Makes UUIDs of version 7 (RFC 9562) that only grow: within a millisecond a counter stands for the order."""

    COUNTER_BITS = 12

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ms = 0
        self._counter = 0

    def next(self) -> str:
        with self._lock:
            now_ms = time.time_ns() // 1_000_000
            if now_ms > self._ms:
                self._ms = now_ms
                self._counter = int.from_bytes(os.urandom(1), "big")
            else:  # the same millisecond, or a clock that was set back
                self._counter += 1
                if self._counter >> self.COUNTER_BITS:
                    self._ms += 1
                    self._counter = 0
            head = self._ms << 16 | 0x7 << 12 | self._counter
        tail = 0b10 << 62 | int.from_bytes(os.urandom(8), "big") >> 2
        return str(uuid.UUID(int=head << 64 | tail))


_ids = _IdSource()


def new_event_id() -> str:
    """Make an id that no other event has and that sorts after all that this process made before."""
    return _ids.next()


def to_epoch_us(moment: datetime) -> int:
    """Give an aware moment as microseconds since 1970, exactly."""
    return (moment - EPOCH) // MICROSECOND


def from_epoch_us(epoch_us: int) -> datetime:
    """Give microseconds since 1970 as a moment, UTC."""
    return EPOCH + epoch_us * MICROSECOND


def _as_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from None


def _is_json(payload: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(orjson.dumps(payload))
    except TypeError as error:
        raise ValueError(f"must be JSON: {error}") from None
    if size > MAX_PAYLOAD_BYTES:
        raise ValueError(f"must take {MAX_PAYLOAD_BYTES} bytes as JSON or fewer, got {size}")
    return payload


class Event(BaseModel):
    """One thing that happened on a stream."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "id": "019a2f5e-7c1b-7003-8a57-0f3c1c9b2d41",
                    "kind": "track.confirmed",
                    "stream_id": "north-mast",
                    "occurred_at": "2025-11-02T04:17:09.250000Z",
                    "frame_index": 71823,
                    "score": 0.91,
                    "payload": {"track_id": 12, "box_xyxy": [96.8, 57.2, 103.8, 64.2], "snr": 14.2},
                    "has_thumbnail": True,
                }
            ]
        },
    )

    id: str = Field(
        default_factory=new_event_id,
        pattern=ID_PATTERN,
        description="Unique, for ever; a UUID that sorts by the time it was made. An event that is delivered twice "
        "has the same id both times.",
    )
    kind: EventKind = Field(
        description="`track.confirmed` and `track.ended`: a target's life; `health`: the sensor; `drift`: a scene "
        "unlike what the model was trained on; `source`: the camera's connection."
    )
    stream_id: str = Field(
        min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$", description="Stream that it happened on."
    )
    occurred_at: Annotated[AwareDatetime, AfterValidator(_as_utc)] = Field(
        description="When the frame was captured, UTC."
    )
    frame_index: int | None = Field(
        default=None, ge=0, lt=2**63, description="Frame of the stream; none if it is about no frame."
    )
    score: float | None = Field(
        default=None, ge=0, le=1, allow_inf_nan=False, description="Of the track; none for events without targets."
    )
    payload: Annotated[dict[str, Any], AfterValidator(_is_json)] = Field(
        default_factory=dict, description="What belongs to the kind of event."
    )
    has_thumbnail: bool = Field(
        default=False, description="Whether `GET /v1/events/{id}/thumbnail` has a picture. The store sets it."
    )
