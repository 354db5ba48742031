"""Sky: clear air that is colder the higher one looks, and clouds that drift and change.

Legend: H W pixels of the canvas, h w pixels of a window.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np

from loddis_runtime.scenes.backgrounds.atmosphere import clear_sky_k, cloud_k
from loddis_runtime.scenes.backgrounds.canvas import Canvas, Window
from loddis_runtime.scenes.chance import Chance
from loddis_runtime.scenes.config import Weather
from loddis_runtime.scenes.fields import Field32, power_law_field, resample

__all__ = ["Sky"]

CHANGE_TIME_S: Final = 90.0  # in which clouds turn into others
CLOUD_RANGE_M: Final = 6000.0
FARTHEST_DRIFT_PX: Final = 4096.0  # clouds over long clips, or through long lenses, are slower than the wind
EXPONENT: Final = 3.3
QUANTILES: Final = ((0.05, -1.645), (0.25, -0.674), (0.5, 0.0), (0.75, 0.674), (0.95, 1.645))


class Sky:
    """The sky over a canvas.

    Clouds are log-normal optical depths: two Gaussian fields of one spectrum, mixed at an angle that grows with time,
    give a third of the same statistics at any time. Rows near the horizon see the clouds edge on, as thin streaks, and
    through so much air that little of them is left.

    Args:
        canvas: To be covered.
        weather: Air and clouds.
        last_time_s: Time of the last frame: clouds drift in from beyond the canvas until then.
        chance: Where chance comes from.
    """

    def __init__(self, canvas: Canvas, weather: Weather, *, last_time_s: float, chance: Chance) -> None:
        rng = chance.stream("sky")
        elevation_rad = canvas.elevation_rad()
        self._clear_k = clear_sky_k(elevation_rad, weather)[:, None]  # (H, 1)
        cover = float(rng.choice([0.0, 0.2, 0.45, 0.8], p=[0.35, 0.3, 0.2, 0.15]))
        self.cloud_cover = cover if weather.cloud_cover is None else weather.cloud_cover
        high = rng.random() < 0.55
        base_k = weather.air_temperature_k - (rng.uniform(35, 50) if high else rng.uniform(6, 16))
        density = rng.uniform(0.2, 0.5) if high else rng.uniform(0.6, 1.0)
        clouds_k = cloud_k(elevation_rad, weather, base_k=base_k)[:, None]
        self._cloud_contrast_k = np.asarray(density * (clouds_k - self._clear_k), dtype=np.float32)  # (H, 1)
        self._sharpness = np.float32(rng.uniform(0.9, 1.4) if high else rng.uniform(1.3, 2.4))
        levels, deviates = zip(*QUANTILES, strict=True)
        self._threshold = np.float32(np.interp(1 - self.cloud_cover, levels, deviates))
        wind_rad_s = weather.wind_m_s * rng.uniform(1.0, 2.5) / CLOUD_RANGE_M * rng.choice([-1, 1])
        self._drift_px_s = wind_rad_s / canvas.pixel_rad
        if abs(self._drift_px_s) * last_time_s > FARTHEST_DRIFT_PX:
            self._drift_px_s *= FARTHEST_DRIFT_PX / (abs(self._drift_px_s) * last_time_s)
        drifted_px = self._drift_px_s * last_time_s
        self._origin = 1 + max(0, math.ceil(-drifted_px))
        width = canvas.size_hw[1] + 3 + abs(math.ceil(drifted_px))
        self._fields = (
            [self._draw(rng, canvas, elevation_rad, width, high=high) for _ in range(2)] if self.cloud_cover else []
        )

    def _draw(
        self, rng: np.random.Generator, canvas: Canvas, elevation_rad: Field32, width: int, *, high: bool
    ) -> Field32:
        """Draw one field of clouds ``(H, width)``, compressed towards the horizon and warped into wisps."""
        elevation = np.maximum(elevation_rad, 0) + 0.03  # (H,)
        v = np.log(elevation / elevation.min()) / canvas.pixel_rad * 0.25  # (H,)
        height = math.ceil(float(v.max())) + 64
        outer_px = 260.0
        field = power_law_field(
            rng, (height, width + 64), exponent=EXPONENT, aspect=3.0 if high else 1.6, outer_px=outer_px
        )
        warps = [power_law_field(rng, (height, width + 64), exponent=4.0, outer_px=160.0) for _ in range(2)]
        reach = 8.0 if high else 5.0
        x = np.broadcast_to(np.arange(width, dtype=np.float32) + 32, (canvas.size_hw[0], width))
        y = np.broadcast_to((v + 32).astype(np.float32)[:, None], x.shape)
        x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
        warped = resample(field, x + reach * resample(warps[0], x, y), y + 0.6 * reach * resample(warps[1], x, y))
        warped -= warped.mean()
        return np.asarray(warped / max(float(warped.std()), 1e-6), dtype=np.float32)

    def temperature(self, window: Window, *, time_s: float) -> Field32:
        """Give the apparent temperature ``(h, w)`` in a window at a time, K."""
        clear_k = self._clear_k[window.rows]
        if not self._fields:
            return np.repeat(clear_k, window.width, axis=1)
        angle = time_s / CHANGE_TIME_S
        first, second = (self._drifted(field, window, time_s) for field in self._fields)
        gauss = cv2.addWeighted(
            first, float(self._sharpness) * math.cos(angle), second, float(self._sharpness) * math.sin(angle), 0.0
        )
        depth = cv2.exp(gauss - self._sharpness * self._threshold)
        emissivity = 1 - cv2.exp(-depth)
        return np.asarray(clear_k + emissivity * self._cloud_contrast_k[window.rows], dtype=np.float32)

    def _drifted(self, field: Field32, window: Window, time_s: float) -> Field32:
        """Cut the window out of a field that has drifted by parts of a pixel."""
        place = self._origin + window.left + self._drift_px_s * time_s
        left = math.floor(place)
        rest = place - left
        cut = field[window.rows, left : left + window.width + 1]
        return np.asarray(cv2.addWeighted(cut[:, :-1], 1 - rest, cut[:, 1:], rest, 0.0), dtype=np.float32)
