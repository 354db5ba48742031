"""The fixed pattern of columns and rows, told from noise and from the scene.

Legend: H W pixels of the frame, B bands, L columns or rows.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_server.scene_health.change import ROUNDING

__all__ = ["StripeMeter"]

BANDS: Final = 4
NEWEST: Final = 1 / 8  # weight of a frame in the mean
BETWEEN: Final = np.array([[-0.5, 1.0, -0.5]], dtype=np.float32)  # what sticks out between both neighbours
GAIN: Final = 1.5  # of that filter, for the variance of offsets that are independent
LIMIT: Final = 3.0  # deviations of the filtered noise: an edge of the scene counts no more than noise may
KEPT: Final = 0.95  # of columns: a horizon is a few rows whose edge runs through all bands
KEPT_VARIANCE: Final = 0.759  # mean square of the inner 95 % of a normal distribution, over its variance


class StripeMeter:
    """Offsets of columns and of rows, as deviations over the noise of a pixel.

    A column that is offset is so from top to bottom. The frame is cut into bands, and offsets are measured in each:
    what they agree in is the pattern, since noise is independent and edges of a scene seldom run through all of them.
    So the variance of the pattern is the mean product of bands, and noise adds nothing to it.
    """

    def __init__(self) -> None:
        self._columns: NDArray[np.float32] | None = None  # (B, L) offsets, levels
        self._rows: NDArray[np.float32] | None = None

    def update(self, levels: NDArray[np.float32], *, noise: float, step: float) -> tuple[float, float]:
        """Take a frame.

        Args:
            levels: ``(H, W)``.
            noise: Of a pixel, levels.
            step: Between levels.

        Returns:
            Deviation of the columns' and of the rows' offsets, over the noise.
        """
        floor = max(noise, ROUNDING * step)
        self._columns = _mean(self._columns, _offsets(levels, floor))
        self._rows = _mean(self._rows, _offsets(np.ascontiguousarray(levels.T), floor))
        return _deviation(self._columns) / floor, _deviation(self._rows) / floor


def _offsets(levels: NDArray[np.float32], noise: float) -> NDArray[np.float32]:
    """Give how far each column sticks out between its neighbours, in each band, ``(B, L)``."""
    filtered = cv2.filter2D(levels, cv2.CV_32F, BETWEEN)[:, 1:-1]
    limit = LIMIT * noise * GAIN**0.5
    np.clip(filtered, -limit, limit, out=filtered)
    height = levels.shape[0] // BANDS * BANDS
    offsets: NDArray[np.float32] = filtered[:height].reshape(BANDS, height // BANDS, -1).mean(axis=1)
    return offsets


def _mean(before: NDArray[np.float32] | None, newest: NDArray[np.float32]) -> NDArray[np.float32]:
    return newest if before is None else before + np.float32(NEWEST) * (newest - before)


def _deviation(offsets: NDArray[np.float32]) -> float:
    """Give the deviation of what all bands agree in, levels."""
    # The mean product of two different bands, from the square of their sum.
    total = offsets.sum(axis=0)
    products = np.sort((total * total - (offsets * offsets).sum(axis=0)) / (BANDS * (BANDS - 1)))  # (L,)
    variance = float(products[: int(KEPT * products.size)].mean()) / (GAIN * KEPT_VARIANCE)
    return float(np.sqrt(max(variance, 0.0)))
