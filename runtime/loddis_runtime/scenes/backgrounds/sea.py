"""Sea: wind waves seen at a grazing angle, up to the horizon and the sky above it.

Each facet of water shines with its own temperature and mirrors the sky, the more the more obliquely it is seen; a facet
that leans towards the camera mirrors higher, colder sky. Facets that throw the sun into the lens glint. What a pixel
cannot resolve is averaged: slopes become a distribution, and the tables below its mean.

Legend: H W pixels of the canvas, h w pixels of a window, S slopes of a table.

References:
    Cox and Munk, "Measurement of the roughness of the sea surface from photographs of the sun's glitter", JOSA 1954.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.scenes.backgrounds.atmosphere import clear_sky_k, water_reflectance
from loddis_runtime.scenes.backgrounds.canvas import Canvas, Window
from loddis_runtime.scenes.backgrounds.sky import Sky
from loddis_runtime.scenes.backgrounds.waves import Waves, WaveView
from loddis_runtime.scenes.chance import Chance
from loddis_runtime.scenes.config import Weather
from loddis_runtime.scenes.fields import Field32, power_law_field, resample

__all__ = ["Sea"]

CAMERA_HEIGHT_M: Final = 14.0
EARTH_RADIUS_M: Final = 6.37e6
AIR_SCALE_HEIGHT_M: Final = 1200.0  # turns the air's opacity upwards into one per metre along the sea
STEEPEST: Final = 1.0  # slope at the ends of the table
SLOPES: Final = 2048
SUN_WIDTH: Final = 0.03  # spread of slopes that throw the sun into the lens, ripples within a pixel included


class Sea:
    """The sea below a sky.

    Args:
        canvas: To be covered.
        weather: Wind, air, sun.
        sky: Above the horizon.
        contrast: Factor on differences of temperature.
        chance: Where chance comes from.
    """

    def __init__(self, canvas: Canvas, weather: Weather, *, sky: Sky, contrast: float, chance: Chance) -> None:
        rng = chance.stream("sea")
        self.hiding: Field32 | None = None
        self._sky = sky
        self._first_row = min(max(math.ceil(canvas.horizon_row - 0.5), 0), canvas.size_hw[0])
        if self._first_row == canvas.size_hw[0]:
            return
        depression = np.maximum(-canvas.elevation_rad()[self._first_row :], canvas.pixel_rad / 4)  # (H,)
        horizon_m = math.sqrt(2 * EARTH_RADIUS_M * CAMERA_HEIGHT_M)
        range_m = np.minimum(CAMERA_HEIGHT_M / np.tan(depression), horizon_m)  # (H,)
        waves = Waves(weather.wind_m_s, wind_rad=rng.uniform(-math.pi, math.pi), rng=rng)
        columns = np.arange(canvas.size_hw[1], dtype=np.float32) - canvas.size_hw[1] / 2 + 0.5
        self._view = WaveView(
            waves, range_m=range_m, depression_rad=depression, columns=columns, pixel_rad=canvas.pixel_rad
        )
        self._gusts = _gusts(rng, depression, canvas)  # (H, W)
        self._clear_air = np.exp(-weather.zenith_opacity / AIR_SCALE_HEIGHT_M * range_m).astype(np.float32)[:, None]
        self._air_k = np.float32(weather.air_temperature_k)
        water_k = weather.air_temperature_k + rng.uniform(-1.0, 4.0)
        self._table_k = _facet_table(depression, self._view.unresolved, water_k, weather, contrast=contrast)  # (H, S)
        self._sun = _Sun(
            height_rad=rng.uniform(0.1, 0.3),
            azimuth_rad=rng.uniform(-0.5, 0.5) * canvas.frame_size_hw[1] * canvas.pixel_rad,
            columns_rad=columns * canvas.pixel_rad,
            depression_rad=depression,
            unresolved=self._view.unresolved,
            peak_k=weather.glint_k,
        )

    def temperature(self, window: Window, *, time_s: float) -> Field32:
        """Give apparent temperatures ``(h, w)`` of a window at a time, K."""
        sky_rows = min(max(self._first_row - window.top, 0), window.height)
        scene_k = np.empty((window.height, window.width), dtype=np.float32)
        if sky_rows:
            above = Window(window.top, window.left, sky_rows, window.width)
            scene_k[:sky_rows] = self._sky.temperature(above, time_s=time_s)
        if sky_rows < window.height:
            first = window.top + sky_rows - self._first_row
            below = Window(first, window.left, window.height - sky_rows, window.width)
            scene_k[sky_rows:] = self._water_k(below, time_s)
        return scene_k

    def _water_k(self, window: Window, time_s: float) -> Field32:
        """Give the sea's apparent temperature in a window of its own rows."""
        across, along = cv2.split(self._view.slopes(window, time_s=time_s))
        gusts = self._gusts[window.rows, window.columns]
        along *= gusts
        across *= gusts
        places = along * np.float32(SLOPES / (2 * STEEPEST)) + np.float32(SLOPES / 2)
        index = np.clip(places, 0, SLOPES - 1, out=places).astype(np.intp)
        index += np.arange(window.top, window.top + window.height)[:, None] * SLOPES
        water_k = self._table_k.take(index)
        water_k += self._sun.glint_k(across, along, window)
        water_k -= self._air_k
        water_k *= self._clear_air[window.rows]
        return np.asarray(water_k + self._air_k, dtype=np.float32)


class _Sun:
    """The sun's glitter: bright where a facet's slopes are those of the mirror between sun and camera."""

    def __init__(
        self,
        *,
        height_rad: float,
        azimuth_rad: float,
        columns_rad: NDArray[np.float32],
        depression_rad: NDArray[np.float32],
        unresolved: NDArray[np.float32],
        peak_k: float,
    ) -> None:
        variance = SUN_WIDTH**2 + unresolved**2  # (H,)
        self._across = columns_rad[None, :] / 2 - np.float32(azimuth_rad / 2)  # (1, W)
        self._along = (height_rad - depression_rad)[:, None].astype(np.float32) / 2  # (H, 1)
        self._sharpness = np.asarray(-0.5 / variance, dtype=np.float32)[:, None]  # (H, 1)
        self._peak_k = np.asarray(peak_k * SUN_WIDTH**2 / variance, dtype=np.float32)[:, None]  # (H, 1)

    def glint_k(self, across: Field32, along: Field32, window: Window) -> Field32:
        """Give what facets of the slopes ``(h, w)`` add, K."""
        distance = (across - self._across[:, window.columns]) ** 2
        distance += (along - self._along[window.rows]) ** 2
        distance *= self._sharpness[window.rows]
        return np.asarray(self._peak_k[window.rows] * cv2.exp(distance), dtype=np.float32)


def _facet_table(
    depression_rad: NDArray[np.float32],
    unresolved: NDArray[np.float32],
    water_k: float,
    weather: Weather,
    *,
    contrast: float,
) -> Field32:
    """Give the apparent temperature by row and slope towards the camera, ``(H, S)`` K, unresolved slopes averaged."""
    slopes = (np.arange(SLOPES, dtype=np.float32) + 0.5) * np.float32(2 * STEEPEST / SLOPES) - np.float32(STEEPEST)
    lean = np.arctan(slopes)[None, :]  # (1, S)
    grazing = np.clip(depression_rad[:, None] + lean, 0.01, math.pi / 2)  # (H, S)
    mirrored = np.clip(depression_rad[:, None] + 2 * lean, 0, math.pi / 2).astype(np.float32)
    reflectance = water_reflectance(grazing.astype(np.float32))
    facet_k = water_k + reflectance * (clear_sky_k(mirrored, weather) - water_k)
    seen = np.sin(grazing)  # facets are seen foreshortened
    for row, spread in enumerate(unresolved):
        sigma = max(float(spread) * SLOPES / (2 * STEEPEST), 0.5)
        weighted = cv2.GaussianBlur(np.stack([facet_k[row] * seen[row], seen[row]]), (0, 0), sigmaX=sigma, sigmaY=0.01)
        facet_k[row] = weighted[0] / weighted[1]
    even_k = facet_k[:, SLOPES // 2, None]
    return np.asarray(even_k + contrast * (facet_k - even_k), dtype=np.float32)


def _gusts(rng: np.random.Generator, depression_rad: NDArray[np.float32], canvas: Canvas) -> Field32:
    """Give factors on the slopes ``(H, W)``: slicks and gusts, foreshortened towards the horizon."""
    v = np.log((depression_rad + 0.01) / 0.01) / canvas.pixel_rad * 0.06  # (H,)
    width = canvas.size_hw[1]
    field = power_law_field(rng, (math.ceil(float(v.max())) + 8, width), exponent=3.0, aspect=4.0, outer_px=150.0)
    x = np.broadcast_to(np.arange(width, dtype=np.float32), (v.size, width))
    y = np.broadcast_to(v.astype(np.float32)[:, None], x.shape)
    gusts = resample(field, np.ascontiguousarray(x), np.ascontiguousarray(y))
    return np.asarray(np.clip(1 + 0.3 * gusts, 0.3, 1.8), dtype=np.float32)
