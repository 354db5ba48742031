"""The ground that the camera passes over in a clip, and the part of it that one frame needs.

Legend: H W pixels of the canvas, h w pixels of a window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.scenes.fields import Field32

__all__ = ["Canvas", "Window"]

STEEPEST_RAD: Final = 1.5


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of the canvas."""

    top: int
    left: int
    height: int
    width: int

    @property
    def rows(self) -> slice:
        """Of the canvas."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """Of the canvas."""
        return slice(self.left, self.left + self.width)


@dataclass(frozen=True, slots=True)
class Canvas:
    """The pixels that a clip may show.

    Attributes:
        size_hw: H, W.
        origin_xy: Where the corner of frame 0 lies, pixels.
        frame_size_hw: Of a frame, pixels.
        margin_px: Around a frame, for the blur.
        horizon_row: Row of the horizon; it may lie outside.
        pixel_rad: Angle of a pixel, radians.
    """

    size_hw: tuple[int, int]
    origin_xy: tuple[int, int]
    frame_size_hw: tuple[int, int]
    margin_px: int
    horizon_row: float
    pixel_rad: float

    @classmethod
    def around(
        cls,
        path_xy: NDArray[np.float64],
        *,
        frame_size_hw: tuple[int, int],
        margin_px: int,
        horizon: float,
        pixel_rad: float,
    ) -> Canvas:
        """Lay out the canvas that a camera path needs.

        Args:
            path_xy: ``(N, 2)`` places of the frames, pixels of frame 0.
            frame_size_hw: Of a frame, pixels.
            margin_px: Around each frame.
            horizon: Row of the horizon in frame 0, share of the height.
            pixel_rad: Angle of a pixel, radians.
        """
        low, high = np.floor(path_xy.min(axis=0)), np.ceil(path_xy.max(axis=0)) + 1
        origin_x, origin_y = (margin_px - int(value) for value in low)
        size_hw = (
            frame_size_hw[0] + 2 * margin_px + int(high[1] - low[1]),
            frame_size_hw[1] + 2 * margin_px + int(high[0] - low[0]),
        )
        return cls(
            size_hw, (origin_x, origin_y), frame_size_hw, margin_px, origin_y + horizon * frame_size_hw[0], pixel_rad
        )

    def window(self, camera_xy: tuple[float, float]) -> tuple[Window, tuple[float, float]]:
        """Give what a frame needs, margin included, and what is left of its place, x, y from 0 to 1 pixels."""
        left, top = (math.floor(place) for place in camera_xy)
        height, width = self.frame_size_hw
        window = Window(
            self.origin_xy[1] + top - self.margin_px,
            self.origin_xy[0] + left - self.margin_px,
            height + 2 * self.margin_px,
            width + 2 * self.margin_px,
        )
        return window, (camera_xy[0] - left, camera_xy[1] - top)

    def elevation_rad(self) -> Field32:
        """Give the angle above the horizon of each row's middle, ``(H,)`` radians; it ends short of straight up."""
        rows = np.arange(self.size_hw[0]) + 0.5
        angles = np.clip((self.horizon_row - rows) * self.pixel_rad, -STEEPEST_RAD, STEEPEST_RAD)
        return np.asarray(angles, dtype=np.float32)
