"""The share of pixels at either end of what the sensor can tell apart.

Legend: H W pixels of the frame.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from loddis_runtime.frames import Frame
from loddis_server.scene_health.settings import HealthSettings

__all__ = ["SaturationMeter"]

BIT_DEPTHS: Final = (8, 10, 12, 14, 16)


class SaturationMeter:
    """Watches both ends of the sensor's range, which in 16-bit frames is found out as levels are seen.

    A sensor of 10 to 14 bits has its levels at the low end of 16 bits, or at the high end with zeros below: the bits
    that were ever set tell both. A range found is the least that holds them all, so that the upper end of a sensor that
    has not been near it is not known, and not missed.

    Args:
        settings: Of the stream.
    """

    def __init__(self, settings: HealthSettings) -> None:
        self._settings = settings
        self._seen = 0  # bits that any pixel had
        self._left_range = False
        self.range: tuple[float, float] | None = None
        """Lowest and highest level that the sensor can give; None where that is not known."""

    def update(self, frame: Frame) -> float | None:
        """Give the share of saturated pixels of ``(H, W)``; None for float frames of an unknown range."""
        self.range = self._range_of(frame)
        if self.range is None:
            return None
        low, high = self.range
        return float(np.count_nonzero(frame <= low) + np.count_nonzero(frame >= high)) / frame.size

    def _range_of(self, frame: Frame) -> tuple[float, float] | None:
        if frame.dtype == np.uint8:
            return 0, 255
        if frame.dtype.kind == "f":
            self._left_range |= bool(frame.min() < 0 or frame.max() > 1)
            return self._settings.float_range or (None if self._left_range else (0.0, 1.0))
        self._seen |= int(np.bitwise_or.reduce(frame, axis=None))
        bits = self._settings.bit_depth
        if bits is not None:
            padding = 16 - bits if self._seen >= 2**bits else 0
            return 0, (2**bits - 1) << padding
        width = next(depth for depth in BIT_DEPTHS if self._seen < 2**depth)
        step = self._seen & -self._seen or 1  # the lowest bit that was ever set
        return 0, 2**width - step
