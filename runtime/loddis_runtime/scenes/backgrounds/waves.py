"""A tile of sea that repeats, moves as deep water does, and can be had at several levels of detail.

Legend: M points of the tile in each axis, H W pixels of water, h w pixels of a window.

References:
    Pierson and Moskowitz, "A proposed spectral form for fully developed wind seas", J. Geophys. Res. 69, 1964.
    Cox and Munk, "Measurement of the roughness of the sea surface from photographs of the sun's glitter", JOSA 1954.
    Tessendorf, "Simulating ocean water", SIGGRAPH course notes, 2001.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.scenes.backgrounds.canvas import Window

__all__ = ["WaveView", "Waves"]

POINTS: Final = 256
STEP_M: Final = 0.3
GRAVITY_M_S2: Final = 9.81
TILE_SHARE: Final = 0.6  # of the variance of slopes: the rest is ripples that are shorter than the tile's step


class Waves:
    """Wind waves in random phase.

    Args:
        wind_m_s: Speed of the wind.
        wind_rad: Where it blows, from +x (right) towards +y (away from the camera).
        rng: Source of chance.
    """

    def __init__(self, wind_m_s: float, *, wind_rad: float, rng: np.random.Generator) -> None:
        frequencies = 2 * math.pi * np.fft.fftfreq(POINTS, d=STEP_M)
        kx, ky = frequencies[None, :], frequencies[:, None]  # rad/m
        k = np.hypot(kx, ky)
        k[0, 0] = 1
        peak = 0.855 * GRAVITY_M_S2 / wind_m_s  # rad/s
        omega = np.sqrt(GRAVITY_M_S2 * k)
        spread = np.maximum((kx * math.cos(wind_rad) + ky * math.sin(wind_rad)) / k, 0) ** 2 + 0.03
        power = k**-4 * np.exp(-1.25 * (peak / omega) ** 4) * spread
        power[0, 0] = 0
        phase = rng.standard_normal((POINTS, POINTS)) + 1j * rng.standard_normal((POINTS, POINTS))
        height = np.sqrt(power) * phase
        # One complex transform gives both slopes: d/dx in the real part, d/dy in the imaginary part.
        self._omega = omega.astype(np.float32)
        slopes = 1j * kx * height, 1j * ky * height
        mirrored = [np.conj(np.roll(slope[::-1, ::-1], 1, axis=(0, 1))) for slope in slopes]
        total = 0.003 + 0.00512 * wind_m_s  # Cox and Munk's mean square slope
        across, along = (float(2 * (np.abs(slope) ** 2).sum()) for slope in slopes)
        scale = math.sqrt(TILE_SHARE * total / (across + along)) * POINTS**2
        self.variance_along = total * (TILE_SHARE * along / (across + along) + (1 - TILE_SHARE) / 2)
        """Of all slopes away from the camera, ripples included."""
        self._forward = (scale * (slopes[0] + 1j * slopes[1])).astype(np.complex64)
        self._backward = (scale * (mirrored[0] + 1j * mirrored[1])).astype(np.complex64)

    def slopes(self, time_s: float) -> NDArray[np.float32]:
        """Give the slopes ``(M, M, 2)`` along x and along y at a time."""
        angle = self._omega * np.float32(time_s)
        turn = np.empty((POINTS, POINTS), dtype=np.complex64)  # exp(-i omega t)
        np.cos(angle, out=turn.real)
        np.negative(np.sin(angle), out=turn.imag)
        spectrum = self._forward * turn
        spectrum += self._backward * np.conj(turn, out=turn)
        field = np.fft.ifft2(spectrum)  # real part: along x, imaginary part: along y
        return np.ascontiguousarray(field, dtype=np.complex64).view(np.float32).reshape(POINTS, POINTS, 2)


class WaveView:
    """The waves as a camera sees them: each row at the detail that its pixels resolve.

    Args:
        waves: On the tile.
        range_m: ``(H,)`` distance of each row over the water.
        depression_rad: ``(H,)`` angle below the horizon.
        columns: ``(W,)`` place of each column, pixels from the middle.
        pixel_rad: Angle of a pixel.
    """

    def __init__(
        self,
        waves: Waves,
        *,
        range_m: NDArray[np.float32],
        depression_rad: NDArray[np.float32],
        columns: NDArray[np.float32],
        pixel_rad: float,
    ) -> None:
        self._waves = waves
        across_m = range_m * pixel_rad  # (H,) of a pixel on the water
        along_m = np.asarray(across_m / np.sin(depression_rad), dtype=np.float32)
        self._details = _details(across_m, along_m)
        level = np.clip(np.log2(along_m / STEP_M), 0, len(self._details) - 1)
        lower = np.minimum(level.astype(np.intp), len(self._details) - 2)  # (H,)
        self._mix = (level - lower).astype(np.float32)[:, None, None]  # (H, 1, 1)
        x = np.asarray(columns[None, :] * across_m[:, None] / STEP_M, dtype=np.float32)  # (H, W) steps
        y = np.asarray(range_m / STEP_M, dtype=np.float32)  # (H,)
        self._maps = [self._map(x, y, lower + step) for step in range(2)]
        self._atlas = np.zeros((sum(detail.rows + 1 for detail in self._details), POINTS + 1, 2), dtype=np.float32)
        self.unresolved = self._unresolved(level)
        """``(H,)`` deviation of the slopes along the line of sight that pixels average."""

    def slopes(self, window: Window, *, time_s: float) -> NDArray[np.float32]:
        """Give the slopes ``(h, w, 2)``, across and along the line of sight, in a window of the water's rows."""
        atlas = self._fill(self._waves.slopes(time_s))
        coarse, fine = (
            cv2.remap(atlas, x[window.rows, window.columns], y[window.rows, window.columns], cv2.INTER_LINEAR)
            for x, y in reversed(self._maps)
        )
        fine += self._mix[window.rows] * (coarse - fine)
        return np.asarray(fine, dtype=np.float32)

    def _map(
        self, x: NDArray[np.float32], y: NDArray[np.float32], levels: NDArray[np.intp]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give columns and rows ``(H, W)`` of the atlas for places `x` ``(H, W)``, `y` ``(H,)`` in steps."""
        firsts = np.cumsum([0, *(detail.rows + 1 for detail in self._details)])[levels]  # (H,)
        rows = np.array([detail.rows for detail in self._details])[levels]
        columns = np.array([detail.columns for detail in self._details])[levels]
        atlas_x = (x * columns[:, None] / POINTS - 0.5) % columns[:, None]
        atlas_y = firsts + (y * rows / POINTS - 0.5) % rows
        return (
            np.ascontiguousarray(atlas_x, dtype=np.float32),
            np.ascontiguousarray(np.broadcast_to(atlas_y[:, None], x.shape), dtype=np.float32),
        )

    def _fill(self, slopes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Write all levels of detail below each other, each with its first row and column repeated at the end."""
        atlas = self._atlas.copy()  # frames may be rendered by several threads
        first = 0
        for detail in self._details:
            if slopes.shape[:2] != (detail.rows, detail.columns):
                averaged = cv2.resize(slopes, (detail.columns, detail.rows), interpolation=cv2.INTER_AREA)
                slopes = np.asarray(averaged, dtype=np.float32).reshape(detail.rows, detail.columns, 2)
            level = atlas[first : first + detail.rows + 1, : detail.columns + 1]
            level[:-1, :-1] = slopes
            level[-1, :-1] = slopes[0]
            level[:, -1] = level[:, 0]
            first += detail.rows + 1
        return atlas

    def _unresolved(self, level: NDArray[np.float32]) -> NDArray[np.float32]:
        """Measure, on the first moment of the waves, the variance along the line of sight that each level lacks."""
        atlas = self._fill(self._waves.slopes(0.0))
        firsts = np.cumsum([0, *(detail.rows + 1 for detail in self._details)])
        variances = [
            float(atlas[first : first + detail.rows, : detail.columns, 1].var())
            for first, detail in zip(firsts, self._details, strict=False)
        ]
        resolved = np.interp(level, np.arange(len(variances)), variances)
        return np.sqrt(np.maximum(self._waves.variance_along - resolved, 0)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Detail:
    """One level: rows and columns of the tile when it is averaged."""

    rows: int
    columns: int


def _details(across_m: NDArray[np.float32], along_m: NDArray[np.float32]) -> list[_Detail]:
    """Lay out the levels: rows are halved from each to the next, columns where pixels are that wide at this range."""
    order = np.argsort(along_m)
    details = []
    for level in range(int(math.log2(POINTS)) + 1):
        width_m = float(np.interp(STEP_M * 2**level, along_m[order], across_m[order]))
        halvings = max(0, round(math.log2(max(width_m / STEP_M, 1))))
        details.append(_Detail(POINTS >> level, max(POINTS >> min(halvings, 8), 1)))
    return details
