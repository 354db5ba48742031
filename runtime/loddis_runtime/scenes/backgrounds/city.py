"""A city under the sky: rows of buildings, one behind the other, paler the farther; in front a park, or a river.

Legend: H W pixels of the canvas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from loddis_runtime.scenes.backgrounds.canvas import Canvas
from loddis_runtime.scenes.backgrounds.painting import Sheet
from loddis_runtime.scenes.chance import Chance
from loddis_runtime.scenes.config import Weather
from loddis_runtime.scenes.fields import Field32, power_law_field, smooth_profile, stretched

__all__ = ["draw_city"]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of buildings at one distance.

    Attributes:
        foot_px: Below the horizon.
        height_px: Of a building, mean.
        width_px: Of a building, mean.
        haze: Share of the picture that is air.
        towers: Share of buildings that rise above.
    """

    foot_px: float
    height_px: float
    width_px: float
    haze: float
    towers: float


ROWS: Final = (
    _Row(foot_px=1.0, height_px=7.0, width_px=9.0, haze=0.75, towers=0.08),
    _Row(foot_px=5.0, height_px=16.0, width_px=13.0, haze=0.55, towers=0.25),
    _Row(foot_px=14.0, height_px=24.0, width_px=22.0, haze=0.3, towers=0.2),
    _Row(foot_px=34.0, height_px=32.0, width_px=40.0, haze=0.1, towers=0.12),
)
GAP_SHARE: Final = 0.22  # of the places between buildings that stay open


def draw_city(canvas: Canvas, weather: Weather, *, contrast: float, chance: Chance) -> tuple[Field32, Field32]:
    """Draw the city.

    Returns:
        Apparent temperature ``(H, W)``, K, and opacity ``(H, W)``, 0 to 1: 0 is open sky.
    """
    rng = chance.stream("city")
    size_hw = canvas.size_hw
    rows = np.arange(size_hw[0], dtype=np.float32)[:, None] + 0.5
    land = np.clip(rows - canvas.horizon_row + 0.5, 0, 1)
    opacity = np.broadcast_to(land, size_hw).astype(np.float32)
    excess = _far_land(rng, rows - canvas.horizon_row, size_hw)
    scale = rng.uniform(0.8, 1.4)
    relief = power_law_field(rng, size_hw, exponent=2.5)
    grain = power_law_field(rng, size_hw, exponent=0.8)
    for row in ROWS:
        walls, cover = _build(rng, row, canvas.horizon_row, size_hw, scale)
        walls += 0.35 * relief + 0.12 * grain
        excess += cover * ((1 - row.haze) * walls - excess)
        opacity = np.maximum(opacity, cover)
        trees, crowns = _trees(rng, canvas.horizon_row + row.foot_px * scale + 3, size_hw, row.height_px * 0.25 * scale)
        excess += crowns * ((1 - row.haze) * (trees + 0.6 * grain) - excess)
        opacity = np.maximum(opacity, crowns)
    excess = _foreground(rng, excess, rows - canvas.horizon_row - (ROWS[-1].foot_px + 5) * scale)
    return np.asarray(weather.air_temperature_k + contrast * excess, dtype=np.float32), opacity


def _far_land(rng: np.random.Generator, below_px: Field32, size_hw: tuple[int, int]) -> Field32:
    """Give what is seen between buildings, K above the air: streets and yards, foreshortened."""
    texture = power_law_field(rng, size_hw, exponent=2.2, aspect=5.0)
    near = stretched(below_px, 0, 40)
    return np.asarray((0.4 + 0.8 * texture) * (0.2 + 0.8 * near), dtype=np.float32)


def _build(
    rng: np.random.Generator, row: _Row, horizon_row: float, size_hw: tuple[int, int], scale: float
) -> tuple[Field32, Field32]:
    """Build one row; walls, K above the air, and where they are, 0 to 1."""
    walls, cover = Sheet(size_hw), Sheet(size_hw)
    sunny = rng.random() < 0.6
    foot = horizon_row + row.foot_px * scale
    x = -row.width_px
    while x < size_hw[1]:
        width = row.width_px * scale * rng.uniform(0.55, 1.6)
        height = row.height_px * scale * rng.uniform(0.45, 1.15)
        if rng.random() < row.towers:
            height, width = height * rng.uniform(1.5, 2.4), width * 0.75
        if rng.random() < GAP_SHARE:
            x += width * rng.uniform(0.3, 1.2)
            continue
        _building(rng, walls, cover, (x, foot - height, x + width, foot + 4), sunny=sunny, storey=1.4 + height / 14)
        x += width + rng.uniform(-0.1, 0.25) * width
    return walls.result(), cover.result()


def _building(
    rng: np.random.Generator,
    walls: Sheet,
    cover: Sheet,
    box_xyxy: tuple[float, float, float, float],
    *,
    sunny: bool,
    storey: float,
) -> None:
    """Draw one building: two faces, windows that mirror the cold sky or let warmth out, what stands on its roof."""
    x1, y1, x2, y2 = box_xyxy
    level = rng.normal(2.0, 1.3)
    corner = x1 + (x2 - x1) * rng.choice([0.0, 0.22, 0.3])
    lit = rng.uniform(1.0, 3.5) if sunny else 0.3
    cover.box(x1, y1, x2, y2, 1.0)
    walls.box(x1, y1, corner, y2, level - lit / 2)
    walls.box(corner, y1, x2, y2, level + lit / 2)
    storey = max(storey, 2.0)
    pitch = storey * rng.uniform(0.9, 1.5)
    glass = rng.uniform(-3.0, -0.8)
    bands = rng.random() < 0.3  # windows run through
    for face_x1, face_x2 in ((x1, corner), (corner, x2)):
        if face_x2 - face_x1 < 1.5 * pitch:
            continue
        for y in np.arange(y1 + 0.5 * storey, y2 - 0.6 * storey, storey):
            if bands:
                walls.box(face_x1 + 0.6, y, face_x2 - 0.6, y + 0.45 * storey, level + glass)
                continue
            for x in np.arange(face_x1 + 0.3 * pitch, face_x2 - 0.5 * pitch, pitch):
                warm = rng.random() < 0.06
                window = rng.uniform(2, 5) if warm else glass + rng.normal(0, 0.5)
                walls.box(x, y, x + 0.55 * pitch, y + 0.55 * storey, level + window)
    walls.box(x1, y1, x2, y1 + 0.8, level - 3.0)  # the roof sees the sky
    for _ in range(rng.integers(0, 4)):
        size, place = rng.uniform(1.0, 3.5), rng.uniform(x1, x2 - 2)
        cover.box(place, y1 - size, place + size * rng.uniform(0.7, 2), y1, 1.0)
        walls.box(place, y1 - size, place + 2 * size, y1, level + rng.normal(0, 2.5))
    if rng.random() < 0.25:  # a vent or a chimney in use
        place = rng.uniform(x1, x2 - 1)
        cover.box(place, y1 - 2.5, place + 1.2, y1, 1.0)
        walls.box(place, y1 - 2.5, place + 1.2, y1, rng.uniform(6, 14))
    if rng.random() < 0.12:  # a mast
        place = rng.uniform(x1, x2 - 0.5)
        height = rng.uniform(4, 14)
        cover.box(place, y1 - height, place + 0.5, y1, 1.0)
        walls.box(place, y1 - height, place + 0.5, y1, level)


def _trees(
    rng: np.random.Generator, foot: float, size_hw: tuple[int, int], height_px: float
) -> tuple[Field32, Field32]:
    """Plant a ragged line of trees; K above the air, and where they are, 0 to 1."""
    rows = np.arange(size_hw[0], dtype=np.float32)[:, None] + 0.5
    profile = smooth_profile(rng, size_hw[1], scale_px=max(3.0, height_px)) + smooth_profile(
        rng, size_hw[1], scale_px=60
    )
    top = foot - np.maximum(height_px * (0.4 + 0.6 * profile), 0)[None, :]
    crowns = stretched(rows - top, -0.7, 0.7) * (rows < foot + 2)
    bunches = power_law_field(rng, size_hw, exponent=1.5)
    return np.asarray(0.2 + 0.8 * bunches, dtype=np.float32), np.asarray(crowns, dtype=np.float32)


def _foreground(rng: np.random.Generator, excess: Field32, below_px: Field32) -> Field32:
    """Lay water or a park in front of the city, ``(H, W)`` K above the air."""
    size_hw = excess.shape[0], excess.shape[1]
    near = stretched(below_px + smooth_profile(rng, size_hw[1], scale_px=200)[None, :] * 3, -0.7, 0.7)
    ripples = power_law_field(rng, size_hw, exponent=1.6, aspect=6.0)
    slow = power_law_field(rng, size_hw, exponent=3.5, aspect=3.0)
    if rng.random() < 0.5:
        # Water mirrors the sky: cold, colder towards the camera where the mirrored sky is higher.
        front = -2.5 - 0.035 * np.clip(below_px, 0, 150) + 0.35 * ripples + 0.5 * slow
        glow = cv2.blur(excess[_row_at(below_px, 0.0)][None, :], (5, 1))
        front = front + 0.4 * glow * np.exp(-np.clip(below_px, 0, None) / 12)
    else:
        tufts = power_law_field(rng, size_hw, exponent=1.2, aspect=1.5)
        paths = np.exp(-(((below_px - 18 - 7 * smooth_profile(rng, size_hw[1], scale_px=120)[None, :]) / 2.5) ** 2))
        front = -1.2 + 0.5 * tufts + 0.9 * slow + 2.2 * paths
    bank = 1.5 * np.exp(-((below_px / 1.2) ** 2))
    return np.asarray(excess + near * (front + bank - excess), dtype=np.float32)


def _row_at(below_px: Field32, level: float) -> int:
    """Give the row just above where a falling level is passed."""
    return int(np.clip(math.floor(np.searchsorted(below_px[:, 0], level)) - 3, 0, below_px.shape[0] - 1))
