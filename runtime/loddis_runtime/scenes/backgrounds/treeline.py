"""What stands under an open sky: hills, a forest's edge or single trees, and a field in front.

Legend: H W pixels of the canvas.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from loddis_runtime.scenes.backgrounds.canvas import Canvas
from loddis_runtime.scenes.chance import Chance
from loddis_runtime.scenes.config import Weather
from loddis_runtime.scenes.fields import Field32, power_law_field, smooth_profile, stretched

__all__ = ["draw_treeline"]

CROWN_PX: Final = (5.0, 11.0)
TWIGS_PX: Final = 7.0  # depth over which the sky shines through


def draw_treeline(canvas: Canvas, weather: Weather, *, contrast: float, chance: Chance) -> tuple[Field32, Field32]:
    """Draw trees and field.

    Returns:
        Apparent temperature ``(H, W)``, K, and opacity ``(H, W)``, 0 to 1: 0 is open sky.
    """
    rng = chance.stream("treeline")
    height, width = canvas.size_hw
    rows = np.arange(height, dtype=np.float32)[:, None] + 0.5  # (H, 1)
    relief = smooth_profile(rng, width, scale_px=160) * rng.uniform(1, 5)
    foot = (
        canvas.horizon_row + relief + 1.5 * smooth_profile(rng, width, scale_px=30)
    )  # (W,) where trees meet the field
    tree_px = rng.uniform(14, 34)
    cover = stretched(smooth_profile(rng, width, scale_px=90) + rng.uniform(-0.4, 1.6), -0.6, 0.4)  # forest and gaps
    crowns = _crowns(rng, width)
    top = foot - cover * tree_px * (0.72 + 0.2 * crowns + 0.07 * smooth_profile(rng, width, scale_px=40)) - 2.0

    depth = rows - top[None, :]  # (H, W) below the silhouette
    twigs = power_law_field(rng, (height, width), exponent=1.2, aspect=0.35)
    opacity = stretched(depth / TWIGS_PX + 0.45 * twigs * np.exp(-np.maximum(depth, 0) / 14), 0.05, 0.75)
    opacity = np.where(rows > foot[None, :], 1, np.where(depth < -6, 0, opacity))

    trunks = power_law_field(rng, (height, width), exponent=1.6, aspect=0.08)
    leaves = power_law_field(rng, (height, width), exponent=1.4)
    sun_k = rng.uniform(2.0, 7.0)
    shade = np.clip(depth / np.maximum(foot - top, 6)[None, :], 0, 1)
    trees_k = sun_k * (1 - 0.35 * shade) + contrast * (0.9 * trunks * shade + 0.5 * leaves + 0.6 * crowns[None, :])
    field_k = _field(rng, rows - foot[None, :], contrast=contrast)
    on_field = stretched(rows - foot[None, :], -0.5, 0.8)
    terrain_k = weather.air_temperature_k + trees_k * (1 - on_field) + field_k * on_field
    return np.asarray(terrain_k, dtype=np.float32), np.asarray(opacity, dtype=np.float32)


def _crowns(rng: np.random.Generator, width: int) -> Field32:
    """Give a row of round tree tops of different height ``(W,)``, about -1 to 1."""
    profile = np.zeros(width, dtype=np.float32)
    x = np.arange(width, dtype=np.float32)
    place = 0.0
    while place < width + CROWN_PX[1]:
        radius = rng.uniform(*CROWN_PX) / 2 * (2.2 if rng.random() < 0.06 else 1.0)
        dome = rng.uniform(0.35, 1.0) * np.sqrt(np.maximum(1 - ((x - place) / radius) ** 2, 0))
        profile = np.maximum(profile, dome.astype(np.float32))
        place += radius * rng.uniform(0.8, 1.6)
    return 2 * profile - 1


def _field(rng: np.random.Generator, depth_px: Field32, *, contrast: float) -> Field32:
    """Give a meadow ``(H, W)``, K above air: structures grow towards the camera, tracks run across."""
    height, width = depth_px.shape
    near = np.clip(depth_px, 0, None)
    fine = power_law_field(rng, (height, width), exponent=1.6, aspect=2.0)
    coarse = power_law_field(rng, (height, width), exponent=3.2, aspect=8.0)
    tracks = cv2.GaussianBlur(rng.standard_normal((height, 1), dtype=np.float32), (0, 0), sigmaX=0.1, sigmaY=1.5)
    grain = fine * (0.12 + 0.28 * np.minimum(near / 60, 1))
    return np.asarray(-1.5 + contrast * (grain + 0.6 * coarse + 0.3 * tracks), dtype=np.float32)
