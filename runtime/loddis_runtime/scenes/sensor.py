"""From apparent temperature to counts: noise, fixed patterns, bad pixels, the converter.

Legend: H W pixels of the frame.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.scenes.chance import Chance
from loddis_runtime.scenes.config import Readout, SensorNoise
from loddis_runtime.scenes.fields import Field32, power_law_field

__all__ = ["ROUNDING", "Sensor"]

ROUNDING: Final = 12**-0.5  # standard deviation of rounding, steps
MID_SCALE: Final = 0.5  # share of the converter's range at which a camera holds its own temperature
STUCK_SHARES: Final = (0.02, 0.98)  # levels of bad pixels, share of the converter's range
BLINK_K: Final = (2.0, 8.0)  # height of blinking


class Sensor:
    """A detector array with its converter.

    Args:
        noise: Of the array.
        readout: Converter.
        size_hw: H, W pixels.
        reference_k: Apparent temperature that lies in the middle of the converter's range, K.
        chance: Where chance comes from.
    """

    def __init__(
        self, noise: SensorNoise, readout: Readout, *, size_hw: tuple[int, int], reference_k: float, chance: Chance
    ) -> None:
        self._noise = noise
        self._chance = chance
        self._size_hw = size_hw
        self.full_scale = 2**readout.converter_bits - 1
        self.counts_per_kelvin = readout.counts_per_kelvin
        self._offset = MID_SCALE * self.full_scale - reference_k * readout.counts_per_kelvin
        self._pattern_k = _fixed_pattern(noise, size_hw, chance)  # (H, W)
        self.bad, self.blinking = _bad_pixels(noise, size_hw, chance)
        """``(M,)`` places of stuck and of blinking pixels in the flattened frame."""
        rng = chance.stream("bad levels")
        self._stuck_counts = (rng.choice(STUCK_SHARES, self.bad.size) * self.full_scale).astype(np.float32)
        self._blink_k = (rng.uniform(*BLINK_K, self.blinking.size) * rng.choice([-1, 1], self.blinking.size)).astype(
            np.float32
        )

    @property
    def noise_k(self) -> float:
        """Noise of a pixel, rounding of the converter included, sigma, K."""
        noise = self._noise
        parts_k = [
            part / 1000
            for part in (
                noise.temporal_mk,
                noise.row_flicker_mk,
                noise.column_stripe_mk,
                noise.row_stripe_mk,
                noise.pixel_pattern_mk,
            )
        ]
        return math.hypot(*parts_k, ROUNDING / self.counts_per_kelvin)

    def expose(self, scene_k: Field32, *, index: int) -> Field32:
        """Give the counts of frame `index`: whole numbers from 0 to `full_scale`, ``(H, W)`` float32.

        Args:
            scene_k: ``(H, W)`` apparent temperature behind the optics, K.
            index: Of the frame; equal indices get equal noise.
        """
        rng = self._chance.stream("exposure", index)
        height = self._size_hw[0]
        scene = scene_k + self._pattern_k
        if self._noise.temporal_mk:
            white = rng.standard_normal(self._size_hw, dtype=np.float32)
            cv2.scaleAdd(white, self._noise.temporal_mk / 1000, scene, scene)
        if self._noise.row_flicker_mk:
            scene += rng.standard_normal((height, 1), dtype=np.float32) * np.float32(self._noise.row_flicker_mk / 1000)
        if self.blinking.size:
            scene.reshape(-1)[self.blinking] += self._blink_k * (rng.random(self.blinking.size) < 0.5)
        counts: Field32 = np.rint(scene * np.float32(self.counts_per_kelvin) + np.float32(self._offset))
        counts.reshape(-1)[self.bad] = np.rint(self._stuck_counts)
        np.clip(counts, 0, self.full_scale, out=counts)
        return counts


def _fixed_pattern(noise: SensorNoise, size_hw: tuple[int, int], chance: Chance) -> Field32:
    """Give what is left of the array's non-uniformity after its correction, ``(H, W)`` K."""
    height, width = size_hw
    rng = chance.stream("pattern")
    pattern_k = (
        noise.pixel_pattern_mk * rng.standard_normal((height, width), dtype=np.float32)
        + noise.column_stripe_mk * rng.standard_normal((1, width), dtype=np.float32)
        + noise.row_stripe_mk * rng.standard_normal((height, 1), dtype=np.float32)
    ) / 1000
    if noise.shading_mk:
        pattern_k += noise.shading_mk / 1000 * power_law_field(rng, size_hw, exponent=5.0)
    return np.asarray(pattern_k, dtype=np.float32)


def _bad_pixels(
    noise: SensorNoise, size_hw: tuple[int, int], chance: Chance
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Choose the stuck and the blinking pixels; their number is the rounded share of all."""
    pixels = size_hw[0] * size_hw[1]
    bad = round(noise.bad_pixel_share * pixels)
    blinking = min(round(noise.blinking_pixel_share * pixels), pixels - bad)
    places = chance.stream("bad places").choice(pixels, bad + blinking, replace=False).astype(np.intp)
    return places[:bad], places[bad:]
