"""What a stream says, as plain values. Fields that a newer server adds are ignored; `details` has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from loddis_client._models import DetectionResult, Problem

__all__ = [
    "Alarms",
    "Drift",
    "FrameProblem",
    "Health",
    "SourceState",
    "StreamEnd",
    "StreamMessage",
    "StreamResult",
    "Track",
    "Window",
]


@dataclass(frozen=True, slots=True)
class Track:
    """A target over time, in pixels of the frame.

    Attributes:
        track_id: Never used again within the stream.
        state: ``tentative`` (seen too few times), ``confirmed`` (seen now), ``coasting`` (not seen, predicted).
        box_xyxy: Estimate for this frame: left, top, right, bottom.
        centroid_xy: Estimate.
        velocity_xy: Pixels a frame, the camera's own motion taken out.
        covariance: Of the centroid, square pixels.
        score: Of the newest detection.
        snr: Of the newest detection.
        class_id: Number of the class.
        class_name: Its name.
        age_frames: Since the first detection, it included.
        hits: Detections so far.
        coasted_frames: Since the newest detection.
        first_frame_index: Of the first detection.
        last_seen_frame_index: Of the newest.
    """

    track_id: int
    state: str
    box_xyxy: tuple[float, float, float, float]
    centroid_xy: tuple[float, float]
    velocity_xy: tuple[float, float]
    covariance: tuple[tuple[float, float], tuple[float, float]]
    score: float
    snr: float
    class_id: int
    class_name: str
    age_frames: int
    hits: int
    coasted_frames: int
    first_frame_index: int
    last_seen_frame_index: int


@dataclass(frozen=True, slots=True)
class Window:
    """What the network saw.

    Attributes:
        frame_indices: Oldest first, this frame last.
        missing: Frames missing between the one before and this one.
        restart: Why the window starts afresh, if it does: ``start``, ``reset``, ``size``, ``dtype``, ``gap``.
    """

    frame_indices: tuple[int, ...]
    missing: int
    restart: str | None


@dataclass(frozen=True, slots=True)
class Alarms:
    """What is announced with a frame.

    Attributes:
        new: Ids of tracks that are announced, each once.
        ended: Ids of announced tracks that are lost.
        held_back: Whether announcements wait, since the sensor's shutter is, or just was, closed.
        score_threshold: Least score of the detections.
    """

    new: tuple[int, ...]
    ended: tuple[int, ...]
    held_back: bool
    score_threshold: float


@dataclass(frozen=True, slots=True)
class Health:
    """The sensor, as its frames show it.

    Attributes:
        conditions: That hold, such as ``frozen``.
        began: Those that hold since this frame.
        ended: Those that ended with this frame.
    """

    conditions: tuple[str, ...]
    began: tuple[str, ...]
    ended: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the scene is from what the model was trained on.

    Attributes:
        distance: To the nearest training domain, if it is known.
        domain: That one.
        is_unlike: Whether the scene is unlike all of them.
        most_unlike: The measures that differ most, in standard deviations.
        cause: Why there is no distance.
    """

    distance: float | None
    domain: str | None
    is_unlike: bool
    most_unlike: dict[str, float]
    cause: str | None


@dataclass(frozen=True, slots=True)
class StreamResult(DetectionResult):
    """Detections in one frame of a stream, and what it changed there. `request_id` is empty for listeners.

    Attributes:
        stream_id: Of the stream.
        frame_index: Place in it.
        timestamp_s: As it came with the frame.
        captured_at: When the frame was taken or came, seconds since 1970.
        window: What the network saw.
        tracks: All that are alive after this frame.
        alarms: What is announced.
        health: Of the sensor.
        drift: Of the scene.
        details: Everything that the server says.
    """

    stream_id: str
    frame_index: int
    timestamp_s: float | None
    captured_at: float | None
    window: Window
    tracks: tuple[Track, ...]
    alarms: Alarms
    health: Health
    drift: Drift
    details: dict[str, Any] = field(repr=False)

    @property
    def new_tracks(self) -> tuple[Track, ...]:
        """The tracks that are announced with this frame."""
        return tuple(track for track in self.tracks if track.track_id in self.alarms.new)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain values, ready for JSON."""
        return dict(self.details)


@dataclass(frozen=True, slots=True)
class SourceState:
    """The state of a stream's source changed.

    Attributes:
        stream_id: Of the stream.
        state: ``connecting``, ``live``, ``stalled``, ``ended``, ``failed``.
        cause: Why, where the state is none that one wants.
        restarts: New beginnings so far.
        details: Everything that the server says.
    """

    stream_id: str
    state: str
    cause: str | None
    restarts: int
    details: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class FrameProblem:
    """A frame that was refused, or what ended a video early.

    Attributes:
        frame_index: Of the frame, if it is known.
        problem: What the server said.
        details: Everything that the server says.
    """

    frame_index: int | None
    problem: Problem
    details: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """Nothing follows.

    Attributes:
        stream_id: Of the stream.
        reason: Why.
        frames: That were detected on.
        details: Everything that the server says.
    """

    stream_id: str
    reason: str
    frames: int
    details: dict[str, Any] = field(repr=False)


StreamMessage: TypeAlias = StreamResult | SourceState | FrameProblem | StreamEnd
