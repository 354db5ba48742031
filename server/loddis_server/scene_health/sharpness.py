"""How sharp a stream is, beside what it usually is.

Legend: H W pixels of the frame.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_server.scene_health.settings import HealthSettings
from loddis_server.scene_health.usual import Usual

__all__ = ["SharpnessMeter"]

FINE, COARSE = 2, 8  # reductions of the frame whose gradients are compared
ABOVE_NOISE: Final = 1.0  # a gradient's mean square has at least this much beside what noise gives, to be measured


class SharpnessMeter:
    """Gradients of the frame at half its size over those at an eighth.

    Optics take fine gradients away and leave coarse ones, noise of the sensor is added behind the optics and taken off.
    A scene without structure has neither: there, focus cannot be told.

    Args:
        settings: Of the stream.
    """

    def __init__(self, settings: HealthSettings) -> None:
        self._settings = settings
        self._usual = Usual(settings.history, enough=settings.history // 2)
        self.sharpness: float | None = None
        """Of the newest frame; None where it has no structure beyond noise."""

    def update(self, levels: NDArray[np.float32], *, noise: float, defocused: bool) -> float | None:
        """Take a frame, and give how much sharpness is lost, as a share of what is usual.

        Args:
            levels: ``(H, W)``.
            noise: Of a pixel, levels.
            defocused: Whether the stream is held to be out of focus: then nothing usual is to be learnt.

        Returns:
            From 0; None while it is not known what is usual, or where there is nothing to focus on.
        """
        fine, fine_noise = _gradient(levels, FINE, noise)
        coarse, coarse_noise = _gradient(levels, COARSE, noise)
        if coarse < ABOVE_NOISE * coarse_noise or coarse <= 0:
            self.sharpness = None
            return None
        sharpness = self.sharpness = (max(fine, 0.0) / coarse) ** 0.5
        usual = self._usual.value
        lost = None if not usual else max(0.0, 1 - sharpness / usual)
        if lost is not None and sharpness > self._settings.defocused_sharpness:
            lost = 0.0  # softer than it was, but no frame out of focus
        if not defocused and fine >= ABOVE_NOISE * fine_noise and not (lost and lost >= self._settings.defocused.end):
            self._usual.learn(sharpness)
        return lost


def _gradient(levels: NDArray[np.float32], reduction: int, noise: float) -> tuple[float, float]:
    """Give the mean square gradient of the reduced frame without what noise adds, and that."""
    height, width = levels.shape
    small = cv2.resize(levels, (max(2, width // reduction), max(2, height // reduction)), interpolation=cv2.INTER_AREA)
    square = float(np.square(np.diff(small, axis=0)).mean() + np.square(np.diff(small, axis=1)).mean())
    of_noise = 4 * (noise / reduction) ** 2
    return square - of_noise, of_noise
