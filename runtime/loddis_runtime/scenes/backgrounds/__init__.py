"""What is behind the targets: sky, sea, ground, city. Each gives apparent temperatures, sharp and without noise."""

from __future__ import annotations

from typing import Final, Protocol

from loddis_runtime.scenes.backgrounds.canvas import Canvas, Window
from loddis_runtime.scenes.backgrounds.city import draw_city
from loddis_runtime.scenes.backgrounds.ground import draw_ground
from loddis_runtime.scenes.backgrounds.land import Land
from loddis_runtime.scenes.backgrounds.sea import Sea
from loddis_runtime.scenes.backgrounds.sky import Sky
from loddis_runtime.scenes.backgrounds.treeline import draw_treeline
from loddis_runtime.scenes.chance import Chance
from loddis_runtime.scenes.config import BackgroundKind, SceneConfig
from loddis_runtime.scenes.fields import Field32

__all__ = ["Background", "Canvas", "Window", "build_background", "choose_horizon"]

HORIZONS: Final[dict[BackgroundKind, tuple[float, float]]] = {
    "sky": (0.68, 0.92),
    "sea": (0.08, 0.4),
    "ground": (-1.0, -1.0),
    "city": (0.5, 0.75),
}


class Background(Protocol):
    """The scene without targets.

    Attributes:
        hiding: ``(H, W)`` of the canvas, 0 to 1: how much of a target is hidden; None where all is in the open.
    """

    hiding: Field32 | None

    def temperature(self, window: Window, *, time_s: float) -> Field32:
        """Give apparent temperatures ``(h, w)`` of a window of the canvas at a time, K; the caller's own."""
        ...


def choose_horizon(config: SceneConfig, chance: Chance) -> float:
    """Give the row of the horizon in frame 0, share of the height: as configured, or fit for the background."""
    if config.horizon is not None:
        return config.horizon
    return float(chance.stream("horizon").uniform(*HORIZONS[config.background]))


def build_background(canvas: Canvas, config: SceneConfig, chance: Chance) -> Background:
    """Draw the background of a scene."""
    weather, contrast = config.weather, config.contrast
    if config.background == "ground":
        return Land(draw_ground(canvas, weather, contrast=contrast, chance=chance))
    last_time_s = (config.frames - 1) / config.frame_rate_hz
    sky = Sky(canvas, weather, last_time_s=last_time_s, chance=chance)
    if config.background == "sea":
        return Sea(canvas, weather, sky=sky, contrast=contrast, chance=chance)
    if config.background == "city":
        city_k, opacity = draw_city(canvas, weather, contrast=contrast, chance=chance)
        return Land(city_k, sky=sky, opacity=opacity)
    trees_k, opacity = draw_treeline(canvas, weather, contrast=contrast, chance=chance)
    return Land(trees_k, sky=sky, opacity=opacity, hides=True)
