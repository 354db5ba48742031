"""Pixels that are stuck: beyond all their neighbours, for as long as they are watched.

Legend: H W pixels of the frame, N pixels.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame
from loddis_server.scene_health.settings import HealthSettings

__all__ = ["DeadPixelMeter"]

NEIGHBOURS: Final = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=np.uint8)
ALWAYS: Final = 0.9  # share of measurements; noise and blinking may hide a dead pixel now and then
COMMON: Final = 0.995  # of pixels: how far they stand out is how busy the scene is
UNCOMMON: Final = 4.0  # times as far
TEXTURE: Final = 2.0  # ranges of the neighbours' levels: among leaves and roofs many pixels stand out a little
CROWD: Final = 0.05  # of pixels that stand out: it is the noise that does, or an image of another kind


class DeadPixelMeter:
    """Keeps for each pixel how often it stood out alone.

    A target that passes stands out in a place for a few measurements; one that hovers is spread by the optics over its
    neighbours. A pixel is dead if it stands out alone and always does. Two that touch hide each other.

    Args:
        settings: Of the stream.
    """

    def __init__(self, settings: HealthSettings) -> None:
        self._settings = settings
        self._often: NDArray[np.float32] | None = None  # (H, W) share of measurements
        self._measurements = 0

    @property
    def pixels_xy(self) -> NDArray[np.intp]:
        """Columns and rows ``(N, 2)`` of the dead pixels."""
        if self._often is None or self._measurements < self._settings.dead_measurements:
            return np.empty((0, 2), dtype=np.intp)
        rows, columns = np.nonzero(self._often >= ALWAYS)
        return np.stack([columns, rows], axis=1)

    def update(self, frame: Frame, *, noise: float) -> float | None:
        """Take a frame ``(H, W)`` and its noise, levels; give the share of dead pixels, None before enough is seen."""
        stands_out = self._alone(frame, noise)
        if stands_out is not None:
            if self._often is None:
                self._often = np.zeros(frame.shape, dtype=np.float32)
            self._measurements += 1
            weight = 1 / min(self._measurements, self._settings.dead_measurements)
            cv2.accumulateWeighted(stands_out, self._often, weight)
        if self._often is None or self._measurements < self._settings.dead_measurements:
            return None
        return float(np.count_nonzero(self._often >= ALWAYS)) / frame.size

    def _alone(self, frame: Frame, noise: float) -> NDArray[np.uint8] | None:
        """Tell which pixels ``(H, W)`` stand out alone, 0 or 1; None if that says nothing about single pixels."""
        settings = self._settings
        # Differences of unsigned levels end at 0: a pixel is above all neighbours, below them, or neither.
        highest, lowest = cv2.dilate(frame, NEIGHBOURS), cv2.erode(frame, NEIGHBOURS)
        above, below = cv2.subtract(frame, highest), cv2.subtract(lowest, frame)
        beyond = np.maximum(above, below)  # (H, W) of the nearest neighbour
        sample = beyond[::2, ::2].ravel()
        busy = float(np.partition(sample, int(COMMON * sample.size))[int(COMMON * sample.size)])
        candidates = np.flatnonzero(beyond > max(settings.dead_deviation * noise, UNCOMMON * busy))
        if candidates.size > CROWD * frame.size:
            return None
        mask = np.zeros(frame.shape, dtype=np.uint8)
        rows, columns = np.divmod(candidates, frame.shape[1])
        level, around, high, low = (
            image[rows, columns].astype(np.float64) for image in (frame, cv2.medianBlur(frame, 3), highest, lowest)
        )
        step = beyond[rows, columns]
        alone = step >= np.maximum(settings.dead_isolation * np.abs(level - around), TEXTURE * (high - low))
        mask[rows[alone], columns[alone]] = 1
        return mask
