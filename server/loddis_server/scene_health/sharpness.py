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

FINE, COARSE = 2, 8  # reductions of the frame whose curvature is compared
ABOVE_NOISE: Final = 0.5  # of what noise gives: curvature that is less beside it is not measured
STRONGEST: Final = 6.0  # times the mean
WHITE_GAIN: Final = 6.0  # of second differences, for the variance


class SharpnessMeter:
    """Curvature of the frame at half its size over that at an eighth: second differences of neighbours.

    Optics take fine structure away and leave coarse one, noise of the sensor is added behind the optics and taken off.
    A scene without structure has neither: there, focus cannot be told.

    Args:
        settings: Of the stream.
    """

    def __init__(self, settings: HealthSettings) -> None:
        self._settings = settings
        self._usual = Usual(settings.history, enough=settings.history // 4)
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
        fine, fine_noise = _curvature(levels, FINE, noise)
        coarse, coarse_noise = _curvature(levels, COARSE, noise)
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


def _curvature(levels: NDArray[np.float32], reduction: int, noise: float) -> tuple[float, float]:
    """Give the mean square second difference of the reduced frame without what noise adds, and that."""
    height, width = levels.shape
    small = cv2.resize(levels, (max(3, width // reduction), max(3, height // reduction)), interpolation=cv2.INTER_AREA)
    square = _mean_square(np.diff(small, n=2, axis=0)) + _mean_square(np.diff(small, n=2, axis=1))
    of_noise = 2 * WHITE_GAIN * (noise / reduction) ** 2
    return square - of_noise, of_noise


def _mean_square(differences: NDArray[np.float32]) -> float:
    """Give the mean square, in which a few dead pixels count no more than strong edges do."""
    limit = STRONGEST * float(np.abs(differences).mean())
    return float(np.square(np.clip(differences, -limit, limit)).mean())
