"""What a tracker says of a frame.

Legend: places in pixels of the original frame; the origin is the top-left corner of the top-left pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Track", "TrackState", "TrackUpdate"]

TrackState = Literal["tentative", "confirmed", "coasting", "lost"]


@dataclass(frozen=True, slots=True)
class Track:
    """A target over time, as of one frame.

    Attributes:
        track_id: From 1; never given twice in the life of a tracker.
        state: `tentative`: not yet believed. `confirmed`: believed, and detected in this frame. `coasting`: believed,
            not detected in this frame. `lost`: at its end.
        box_xyxy: x1, y1, x2, y2 pixels: its size of late around its place. May reach over the frame's border.
        centroid_xy: Its place, filtered; where it is not detected, predicted; pixels.
        velocity_xy: Over the scene, if the camera's motion is known, otherwise over the frame; pixels per frame.
        covariance: Of the place, rows of a 2 x 2 matrix, square pixels.
        age_frames: From the first frame it was seen in to this one, both and any missing ones included.
        hits: Detections that it is made of.
        coasted_frames: Since it was last detected, missing ones included; 0 where this frame has it.
        score: Of its last detection, in [0, 1].
        snr: Of its last detection.
        class_id: With the largest sum of scores over its detections.
        class_name: Of that class.
        first_frame_index: Of its first detection.
        last_seen_frame_index: Of its last detection.
        confirmation_score: The highest score threshold that would have confirmed it so far; None where none would.
    """

    track_id: int
    state: TrackState
    box_xyxy: tuple[float, float, float, float]
    centroid_xy: tuple[float, float]
    velocity_xy: tuple[float, float]
    covariance: tuple[tuple[float, float], tuple[float, float]]
    age_frames: int
    hits: int
    coasted_frames: int
    score: float
    snr: float
    class_id: int
    class_name: str
    first_frame_index: int
    last_seen_frame_index: int
    confirmation_score: float | None


@dataclass(frozen=True, slots=True)
class TrackUpdate:
    """What a frame changed.

    Attributes:
        tracks: All that are alive, tentative ones too, by rising id.
        confirmed: Those of them that were confirmed with this frame: each track once in its life.
        ended: Confirmed tracks that are lost now, as of this frame.
        discarded: Tentative tracks that ended now without having been confirmed.
        camera_shift_xy: How far the scene moved over the frame since the frame before, pixels; None where that is not
            known or was not asked for.
        restarted: Whether the stream broke before this frame, by a hole, another size or other classes: then what
            ended was cut off, whatever it was.
    """

    tracks: tuple[Track, ...]
    confirmed: tuple[Track, ...]
    ended: tuple[Track, ...]
    discarded: tuple[Track, ...]
    camera_shift_xy: tuple[float, float] | None
    restarted: bool = False
