"""Ground from above, as a drone sees it: streets, lawns, courts, trees, roofs, parked cars and small warm clutter.

Legend: H W pixels of the canvas, u v its axes turned to those of the streets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.scenes.backgrounds.canvas import Canvas
from loddis_runtime.scenes.backgrounds.painting import Sheet, rectangle
from loddis_runtime.scenes.chance import Chance
from loddis_runtime.scenes.config import Weather
from loddis_runtime.scenes.fields import Field32, power_law_field, stretched

__all__ = ["draw_ground"]

CAR_PX: Final = (17.0, 7.5)
CELL_PX: Final = 48.0  # of the lattice on which trees and clutter are scattered


@dataclass(frozen=True, slots=True)
class _Hour:
    """What the time of day makes of materials, K above the air."""

    asphalt: float
    lawn: float
    soil: float
    roof: float
    tree: float
    shadow: float


DAY: Final = _Hour(asphalt=9.0, lawn=1.0, soil=5.0, roof=8.0, tree=-1.5, shadow=-4.0)
NIGHT: Final = _Hour(asphalt=2.5, lawn=-3.0, soil=-1.0, roof=-4.0, tree=-0.5, shadow=0.6)


@dataclass(frozen=True, slots=True, eq=False)
class _Streets:
    """Bands across the canvas in one direction.

    Attributes:
        places: Of their middles along the other axis, rising.
        half_widths: Of each.
    """

    places: NDArray[np.float64]
    half_widths: NDArray[np.float64]

    def distance(self, along: Field32) -> Field32:
        """Give how far outside of the nearest band places are, negative within; ``(H, W)`` pixels."""
        away = np.full(along.shape, 1e3, dtype=np.float32)
        for place, half_width in zip(self.places, self.half_widths, strict=True):
            np.minimum(away, np.abs(along - np.float32(place)) - np.float32(half_width), out=away)
        return away


def draw_ground(canvas: Canvas, weather: Weather, *, contrast: float, chance: Chance) -> Field32:
    """Draw the ground; apparent temperature ``(H, W)``, K."""
    rng = chance.stream("ground")
    hour = DAY if rng.random() < 0.5 else NIGHT
    size_hw = canvas.size_hw
    angle = rng.uniform(-math.pi / 2, math.pi / 2)
    bend = cv2.GaussianBlur(power_law_field(rng, size_hw, exponent=5.0), (0, 0), 18) * rng.uniform(0, 16)
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32)
    u = columns * np.float32(math.cos(angle)) + rows * np.float32(math.sin(angle)) + bend
    v = rows * np.float32(math.cos(angle)) - columns * np.float32(math.sin(angle)) + bend
    across, along = _streets(rng, v, gap_px=(110, 260)), _streets(rng, u, gap_px=(180, 420))
    away = np.minimum(across.distance(v), along.distance(u))

    excess = _blocks(rng, u, v, across, along, hour)
    on_street = stretched(-away, -0.7, 0.7)
    worn = power_law_field(rng, size_hw, exponent=3.0)
    streaks = power_law_field(rng, size_hw, exponent=2.2)
    excess += on_street * (hour.asphalt + 0.5 * worn + 0.15 * streaks - excess)
    excess += 1.2 * np.exp(-((away / 1.1) ** 2)) * (1 if hour is DAY else -1)  # kerbs
    heat = power_law_field(rng, size_hw, exponent=4.0, outer_px=250)
    excess += 0.7 * heat

    excess = _roofs(rng, excess, away, angle, hour)
    excess = _cars(rng, excess, away, angle, hour)
    excess = _trees(rng, excess, away, hour)
    excess = _clutter(rng, excess)
    return np.asarray(weather.air_temperature_k + contrast * excess, dtype=np.float32)


def _streets(rng: np.random.Generator, axis: Field32, *, gap_px: tuple[float, float]) -> _Streets:
    """Draw streets and foot paths wherever the canvas reaches along one axis."""
    places, half_widths = [], []
    place = float(axis.min()) + rng.uniform(0, gap_px[1])
    while place < float(axis.max()):
        places.append(place)
        half_widths.append(rng.uniform(2, 4.5) if rng.random() < 0.4 else rng.uniform(13, 26))
        place += rng.uniform(*gap_px)
    return _Streets(np.array(places), np.array(half_widths))


def _blocks(
    rng: np.random.Generator, u: Field32, v: Field32, across: _Streets, along: _Streets, hour: _Hour
) -> Field32:
    """Give each block between streets its cover: lawn, soil or a paved court with lines."""
    size_hw = u.shape[0], u.shape[1]
    row, column = np.searchsorted(across.places, v), np.searchsorted(along.places, u)
    shape = across.places.size + 1, along.places.size + 1
    cover = rng.choice(3, shape, p=[0.55, 0.15, 0.3])[row, column]  # (H, W)
    tint = rng.normal(0, 0.8, shape).astype(np.float32)[row, column]
    tufts = power_law_field(rng, size_hw, exponent=0.9)
    patches = power_law_field(rng, size_hw, exponent=3.6, outer_px=90)
    mown = np.sin(v * np.float32(2 * math.pi / rng.uniform(14, 26))) * 0.25
    lawn = hour.lawn + 0.3 * tufts + 0.3 * patches + mown
    soil = hour.soil + 0.3 * tufts + 0.8 * patches
    court = hour.asphalt - 1 + 0.3 * patches + 0.08 * tufts + _court_lines(rng, u, v)
    return np.asarray(np.choose(cover, [lawn, soil, court]) + tint, dtype=np.float32)


def _court_lines(rng: np.random.Generator, u: Field32, v: Field32) -> Field32:
    """Give painted lines and circles, K: paint is bright to the eye and dull in the infrared."""
    pitch_u, pitch_v = rng.uniform(70, 110), rng.uniform(45, 70)
    lines = np.minimum(np.abs((u % pitch_u) - 1), np.abs((v % pitch_v) - 1))
    circle = np.abs(np.hypot(u % pitch_u - pitch_u / 2, v % pitch_v - pitch_v / 2) - 11)
    return np.asarray(-1.3 * np.exp(-((np.minimum(lines, circle) / 0.7) ** 2)), dtype=np.float32)


def _scatter(rng: np.random.Generator, size_hw: tuple[int, int], *, share: float) -> NDArray[np.float64]:
    """Give places ``(K, 2)`` x, y, at most one in each cell of a lattice; the same density on any canvas."""
    height, width = size_hw
    rows, columns = math.ceil(height / CELL_PX), math.ceil(width / CELL_PX)
    used = rng.random((rows, columns)) < share
    offsets = rng.random((rows, columns, 2))
    places = (np.argwhere(used)[:, ::-1] + offsets[used]) * CELL_PX
    return np.asarray(places[(places[:, 0] < width) & (places[:, 1] < height)], dtype=np.float64)


def _at(field: Field32, place_xy: NDArray[np.float64]) -> float:
    return float(field[int(place_xy[1]), int(place_xy[0])])


def _roofs(rng: np.random.Generator, excess: Field32, away: Field32, angle: float, hour: _Hour) -> Field32:
    """Put houses where there is room: a roof with its ridge, units on top, and a shadow."""
    size_hw = excess.shape[0], excess.shape[1]
    shadow, cover, roof = Sheet(size_hw), Sheet(size_hw), Sheet(size_hw)
    for place in _scatter(rng, size_hw, share=0.12):
        room = _at(away, place)
        if room < 22:
            continue
        length, width = min(room * 1.6, rng.uniform(34, 80)), min(room * 1.2, rng.uniform(20, 42))
        level = hour.roof + rng.normal(0, 2.5)
        shadow.polygon(rectangle(place + 5, length, width, angle), 1.0)
        cover.polygon(rectangle(place, length, width, angle), 1.0)
        roof.polygon(rectangle(place, length, width, angle), level - 2)
        roof.polygon(rectangle(place, length - 3, width - 3, angle), level)
        roof.polygon(rectangle(place, length - 3, width / 2 - 1.5, angle, across=width / 4), level + rng.normal(0, 2))
        for _ in range(rng.integers(0, 5)):
            where = {"along": rng.uniform(-0.4, 0.4) * length, "across": rng.uniform(-0.3, 0.3) * width}
            roof.polygon(
                rectangle(place, rng.uniform(2, 6), rng.uniform(2, 4), angle, **where), level + rng.normal(1, 4)
            )
    covered = cover.result()
    dark = cv2.GaussianBlur(shadow.result(), (0, 0), 1.2) * (1 - covered)
    return np.asarray(excess + hour.shadow * dark + covered * (roof.result() - excess), dtype=np.float32)


def _cars(rng: np.random.Generator, excess: Field32, away: Field32, angle: float, hour: _Hour) -> Field32:
    """Park cars along the kerbs: metal mirrors the cold sky, windows too, some bonnets are still hot."""
    size_hw = excess.shape[0], excess.shape[1]
    shadow, cover, car = Sheet(size_hw), Sheet(size_hw), Sheet(size_hw)
    length, width = CAR_PX
    for first in _scatter(rng, size_hw, share=0.3):
        inside, turn = _at(away, first), angle + rng.integers(0, 2) * math.pi / 2
        if not -18 < inside < -5:
            continue
        step = (width + 3) * np.array([-math.sin(turn), math.cos(turn)])
        for place in first + np.arange(rng.integers(1, 6))[:, None] * step:
            if not (0 <= place[0] < size_hw[1] and 0 <= place[1] < size_hw[0]) or rng.random() < 0.2:
                continue
            level = rng.normal(-3.5 if hour is DAY else -2.5, 2.0)
            shadow.polygon(rectangle(place + 1.5, length + 1, width + 1, turn), 1.0)
            cover.polygon(rectangle(place, length, width, turn), 1.0)
            car.polygon(rectangle(place, length + 2, width + 2, turn), level)
            car.polygon(rectangle(place, length * 0.2, width - 1.5, turn, along=length * 0.14), level - 2.5)
            car.polygon(rectangle(place, length * 0.14, width - 1.5, turn, along=-length * 0.28), level - 2)
            if rng.random() < 0.3:
                hot = rng.uniform(7, 18)
                car.polygon(rectangle(place, length * 0.22, width - 2, turn, along=length * 0.36), hot)
    covered = cover.result()
    dark = shadow.result() * (1 - covered) * abs(hour.shadow)
    return np.asarray(excess - 0.6 * dark + covered * (car.result() - excess), dtype=np.float32)


def _trees(rng: np.random.Generator, excess: Field32, away: Field32, hour: _Hour) -> Field32:
    """Plant trees on the blocks, in groups: crowns of clumps, lit on one side, with a shadow on the other."""
    size_hw = excess.shape[0], excess.shape[1]
    crown, shadow = Sheet(size_hw), Sheet(size_hw)
    for place in _scatter(rng, size_hw, share=0.6):
        for _ in range(rng.integers(1, 8)):
            where = place + rng.normal(0, 14, 2)
            radius = rng.uniform(3.5, 9)
            inside = 0 <= where[0] < size_hw[1] and 0 <= where[1] < size_hw[0]
            if not inside or not radius * 0.6 < _at(away, where) < 26:
                continue
            shadow.disc((where[0] + radius * 0.6, where[1] + radius * 0.6), radius, 1.0)
            for _ in range(7):
                clump = where + rng.normal(0, radius * 0.45, 2)
                crown.disc((clump[0], clump[1]), radius * rng.uniform(0.3, 0.55), 1.0)
    covered = crown.result()
    leaves = power_law_field(rng, size_hw, exponent=1.0)
    relief = cv2.Sobel(cv2.GaussianBlur(covered, (0, 0), 1.5), cv2.CV_32F, 1, 0, ksize=3)
    crowns = hour.tree + 1.1 * leaves + 1.5 * relief * (1 if hour is DAY else 0)
    dark = cv2.GaussianBlur(shadow.result(), (0, 0), 1.0) * (1 - covered)
    return np.asarray(excess + hour.shadow * dark + covered * (crowns - excess), dtype=np.float32)


def _clutter(rng: np.random.Generator, excess: Field32) -> Field32:
    """Strew manholes, lamps, vents and litter: warm and cold spots of a pixel or a few."""
    size_hw = excess.shape[0], excess.shape[1]
    spots, cover = Sheet(size_hw), Sheet(size_hw)
    for place in _scatter(rng, size_hw, share=0.4):
        radius = rng.uniform(0.5, 1.4)
        cover.disc((place[0], place[1]), radius, 1.0)
        spots.disc((place[0], place[1]), radius + 1, rng.choice([-1, 1], p=[0.55, 0.45]) * rng.uniform(2, 7))
    covered = cover.result()
    return np.asarray(excess + covered * spots.result(), dtype=np.float32)
