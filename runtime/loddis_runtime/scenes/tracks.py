"""Where a target is over the scene.

Legend: N frames, W columns of the canvas; x y pixels of frame 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.scenes.config import TargetConfig

__all__ = ["Skyline", "Track", "draw_track"]

TRIALS: Final = 48
BORDER_SHARE: Final = 0.08  # of the frame's sides: nothing starts nearer to its border
LEAST_DISTANCE_PX: Final = 24.0  # between targets at mid-clip


@dataclass(frozen=True, slots=True)
class Track:
    """A path at constant speed: straight, or a circle.

    Attributes:
        start_xy: Place in frame 0, pixels.
        speed_px_per_frame: Along the path.
        heading_rad: In frame 0, from +x towards +y.
        turn_rad_per_frame: Change of heading.
    """

    start_xy: tuple[float, float]
    speed_px_per_frame: float
    heading_rad: float
    turn_rad_per_frame: float = 0.0

    def heading(self, frames: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the heading in frames ``(N,)``, radians."""
        return np.asarray(self.heading_rad + self.turn_rad_per_frame * frames, dtype=np.float64)

    def places(self, frames: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the places in frames ``(N,)``: ``(N, 2)`` pixels."""
        half_turn = self.turn_rad_per_frame * frames / 2
        chord = self.speed_px_per_frame * frames * np.sinc(half_turn / math.pi)
        along = self.heading_rad + half_turn
        offsets = chord[:, None] * np.stack([np.cos(along), np.sin(along)], axis=1)
        return np.asarray(offsets + self.start_xy, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Skyline:
    """The upper edge of what hides targets.

    Attributes:
        rows: ``(W,)`` of the canvas's columns, pixels of frame 0; infinite where nothing hides anything.
        first_column: Of the canvas, pixels of frame 0.
    """

    rows: NDArray[np.float64]
    first_column: int

    def is_above(self, places_xy: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which places ``(N, 2)`` are in the open."""
        columns = np.clip(places_xy[:, 0] - self.first_column, 0, self.rows.size - 1).astype(np.intp)
        above: NDArray[np.bool_] = places_xy[:, 1] < self.rows[columns]
        return above


def draw_track(
    target: TargetConfig,
    *,
    camera_path_xy: NDArray[np.float64],
    frame_size_hw: tuple[int, int],
    skyline: Skyline,
    others: list[Track],
    rng: np.random.Generator,
) -> Track:
    """Settle a target's path; what the configuration leaves open is drawn so that the target is long in view.

    Args:
        target: Asked for.
        camera_path_xy: ``(N, 2)`` places of the frames, pixels of frame 0.
        frame_size_hw: Of a frame, pixels.
        skyline: What would hide it.
        others: Paths that are settled; new ones keep away from them.
        rng: Source of chance.
    """
    turn = math.radians(target.turn_deg_per_frame)
    headings = rng.uniform(0, 2 * math.pi, TRIALS)
    if target.heading_deg is not None:
        headings[:] = math.radians(target.heading_deg)
    if target.start_xy is not None:
        return Track(target.start_xy, target.speed_px_per_frame, float(headings[0]), turn)
    middle = len(camera_path_xy) // 2
    at_middle = np.array([float(middle)])
    frames = np.arange(0, len(camera_path_xy), max(1, len(camera_path_xy) // 64), dtype=np.float64)
    taken_xy = [other.places(at_middle)[0] for other in others]

    def worth(track: Track) -> float:
        crowded = any(np.linalg.norm(track.places(at_middle)[0] - place) < LEAST_DISTANCE_PX for place in taken_xy)
        return _time_in_view(track, frames, camera_path_xy, frame_size_hw, skyline) - (0.5 if crowded else 0.0)

    candidates = []
    for heading in headings.tolist():
        share_xy = rng.uniform(BORDER_SHARE, 1 - BORDER_SHARE, 2)
        place = share_xy * np.array(frame_size_hw[::-1]) + camera_path_xy[middle]
        track = Track((0.0, 0.0), target.speed_px_per_frame, heading, turn)
        start_x, start_y = (place - track.places(at_middle)[0]).tolist()
        candidates.append(replace(track, start_xy=(start_x, start_y)))
    return max(candidates, key=worth)


def _time_in_view(
    track: Track,
    frames: NDArray[np.float64],
    camera_path_xy: NDArray[np.float64],
    frame_size_hw: tuple[int, int],
    skyline: Skyline,
) -> float:
    """Give the share of frames in which a target is well inside and above what hides it."""
    height, width = frame_size_hw
    places = track.places(frames)
    seen = places - camera_path_xy[frames.astype(np.intp)]
    border = BORDER_SHARE / 2 * np.array([width, height])
    inside = ((seen > border) & (seen < np.array([width, height]) - border)).all(axis=1)
    return float((inside & skyline.is_above(places)).mean())
