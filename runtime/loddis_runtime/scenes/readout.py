"""What a camera makes of its counts before it hands them out, and the rounding to 8 or 16 bit.

Legend: H W pixels of the frame.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.scenes.fields import Field32
from loddis_runtime.scenes.sensor import ROUNDING

__all__ = ["Processing"]

BASE_SIGMA_PX: Final = 25.0  # of a 256 x 320 frame: what is wider counts as background
BASE_STEP: Final = 8  # the background is made at a coarser grid
BASE_GAIN: Final = 0.06  # of the background, relative to detail
EVEN_LEVEL: Final = 0.39  # share of the range where detail is zero
DETAIL_RANGE: Final = (0.37, 0.50)  # share of the range for detail below and above that
DETAIL_PERCENTILES: Final = (0.5, 99.3)
STRETCH_PERCENTILES: Final = (0.2, 99.8)
STRETCH_ROOM: Final = (0.05, 0.25)  # of the span, left free below and above
LARGEST_NOISE: Final = 0.012  # share of the range: the gain stops here when a scene is even


class Processing:
    """A camera's processing, its levels set once from a frame without targets and held through the clip.

    Args:
        kind: As `Readout.processing`.
        bit_depth: Of the frames.
        reference_counts: ``(H, W)`` counts of the scene without targets.
        noise_counts: Noise of a pixel, sigma, counts.
    """

    def __init__(
        self,
        kind: Literal["raw", "linear", "enhanced"],
        *,
        bit_depth: Literal[8, 16],
        reference_counts: Field32,
        noise_counts: float,
    ) -> None:
        self._kind = kind
        self._bit_depth = bit_depth
        self.full_scale = 2**bit_depth - 1
        self._base_sigma_px = BASE_SIGMA_PX * max(reference_counts.shape) / 320
        steepest = LARGEST_NOISE * self.full_scale / noise_counts
        self.levels_per_count = 1.0
        """Gain for what is small: targets, noise."""
        self._offset = 0.0
        if kind == "linear":
            low, high = (float(level) for level in np.percentile(reference_counts, STRETCH_PERCENTILES))
            span = max(high - low, 1.0) * (1 + sum(STRETCH_ROOM))
            self.levels_per_count = min(self.full_scale / span, steepest)
            middle = (low + high) / 2 + (STRETCH_ROOM[1] - STRETCH_ROOM[0]) / 2 * (high - low)
            self._offset = self.full_scale / 2 - self.levels_per_count * middle
        elif kind == "enhanced":
            base = self._base(reference_counts)
            low, high = (float(level) for level in np.percentile(reference_counts - base, DETAIL_PERCENTILES))
            self.levels_per_count = min(
                DETAIL_RANGE[0] * self.full_scale / max(-low, 1e-3),
                DETAIL_RANGE[1] * self.full_scale / max(high, 1e-3),
                steepest,
            )
            self._offset = EVEN_LEVEL * self.full_scale - BASE_GAIN * self.levels_per_count * float(np.median(base))

    def noise_k(self, sensor_noise_k: float, counts_per_kelvin: float) -> float:
        """Add the rounding to the file's levels to a sensor's noise, K."""
        rounding = 0.0 if self._kind == "raw" else ROUNDING / (self.levels_per_count * counts_per_kelvin)
        return math.hypot(sensor_noise_k, rounding)

    def apply(self, counts: Field32) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Turn counts ``(H, W)`` into a frame ``(H, W)``."""
        if self._kind == "raw":
            return counts.astype(np.uint16)
        levels = cv2.addWeighted(counts, self.levels_per_count, counts, 0.0, self._offset)
        if self._kind == "enhanced":
            cv2.scaleAdd(self._base(counts), (BASE_GAIN - 1) * self.levels_per_count, levels, levels)
        np.rint(levels, out=levels)
        np.clip(levels, 0, self.full_scale, out=levels)
        return levels.astype(np.uint8) if self._bit_depth == 8 else levels.astype(np.uint16)

    def _base(self, counts: Field32) -> Field32:
        """Give what varies slowly, ``(H, W)``: a Gaussian blur on a coarse grid."""
        height, width = counts.shape
        coarse_wh = (max(2, round(width / BASE_STEP)), max(2, round(height / BASE_STEP)))
        coarse = cv2.resize(counts, coarse_wh, interpolation=cv2.INTER_AREA)
        sigma = self._base_sigma_px / BASE_STEP
        coarse = cv2.GaussianBlur(coarse, (0, 0), sigmaX=sigma, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
