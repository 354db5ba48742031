"""Targets as sums of Gaussians: what each kind looks like, and what pixels make of it, exactly.

A Gaussian stays one under the Gaussian of the lens, so the picture of a target is known in closed form up to the
average over each pixel, which a quadrature gives to 3e-5 of the peak. Its centre is the centre of what it sends, by
construction.

Legend: P parts, h w pixels of a patch, n nodes of a pixel; x y pixels, origin at the corner of the top-left pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.scenes.config import TargetKind
from loddis_runtime.scenes.fields import Field32
from loddis_runtime.scenes.optics import FWHM_PER_SIGMA, PIXEL_NODES, PIXEL_WEIGHTS

__all__ = ["Patch", "Shape", "shape_of"]

REACH_SIGMAS: Final = 4.5  # a patch ends where a part has fallen to 4e-5
BOX_SIGMAS: Final = 2.0  # a box ends where a part has fallen to 0.14
PIXEL_VARIANCE: Final = 1 / 12

# Parts along and across the direction of flight, in units of the largest extent: place, place, sigma, sigma, weight.
Parts = tuple[tuple[float, float, float, float, float], ...]
AIRCRAFT: Final[Parts] = (
    (0.0, 0.0, 0.20, 0.030, 1.0),  # fuselage
    (-0.02, 0.13, 0.050, 0.10, 0.35),  # wings
    (-0.02, -0.13, 0.050, 0.10, 0.35),
    (-0.12, 0.06, 0.035, 0.035, 0.5),  # engines
    (-0.12, -0.06, 0.035, 0.035, 0.5),
)
TRAIL_PARTS: Final = 8
CONTRAIL: Final[Parts] = (
    (0.0, 0.0, 0.02, 0.02, 1.0),  # aircraft
    *((-0.11 * i, 0.0, 0.08, 0.025, 0.9 * 0.9**i) for i in range(1, TRAIL_PARTS + 1)),  # fading out behind it
)
DRONE: Final[Parts] = (
    (0.0, 0.04, 0.10, 0.07, 1.0),  # battery
    (-0.36, -0.05, 0.05, 0.05, 0.45),  # motors
    (0.36, -0.05, 0.05, 0.05, 0.45),
    (-0.18, -0.01, 0.12, 0.03, 0.3),  # arms
    (0.18, -0.01, 0.12, 0.03, 0.3),
)
WING_BEAT_FRAMES: Final = 7.3


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A piece of a frame.

    Attributes:
        left: Column of its first pixel; it may lie outside the frame.
        top: Row of its first pixel.
        values: ``(h, w)`` float32.
    """

    left: int
    top: int
    values: Field32


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A target behind a lens, before it has a place.

    Attributes:
        places: ``(P, 2)`` x, y of the parts about the centre, pixels.
        covariances: ``(P, 2, 2)`` of the parts, lens included, square pixels.
        weights: ``(P,)`` shares of what the target sends, together 1.
    """

    places: NDArray[np.float64]
    covariances: NDArray[np.float64]
    weights: NDArray[np.float64]

    def half_extent(self, sigmas: float) -> NDArray[np.float64]:
        """Give how far parts reach from the centre, left, top, right, bottom, ``(4,)`` pixels, pixel area included."""
        spread = sigmas * np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2) + PIXEL_VARIANCE)  # (P, 2)
        low, high = (self.places - spread).min(axis=0), (self.places + spread).max(axis=0)
        return np.concatenate([-low, high])

    def box_xyxy(self, centre_xy: NDArray[np.float64], *, margin_px: float) -> NDArray[np.float64]:
        """Give the box ``(4,)`` around a target at `centre_xy`: every part to two sigmas, and a margin."""
        left, top, right, bottom = self.half_extent(BOX_SIGMAS) + margin_px
        x, y = centre_xy
        return np.array([x - left, y - top, x + right, y + bottom])

    def draw(self, centre_xy: NDArray[np.float64]) -> Patch:
        """Give what the target adds to the pixels around it; all pixels together get 1."""
        left, top, right, bottom = self.half_extent(REACH_SIGMAS)
        x, y = (float(value) for value in centre_xy)
        first = math.floor(x - left), math.floor(y - top)
        width, height = math.ceil(x + right) - first[0], math.ceil(y + bottom) - first[1]
        nodes_x = (first[0] + np.arange(width) + 0.5)[:, None] + PIXEL_NODES - x  # (w, n)
        nodes_y = (first[1] + np.arange(height) + 0.5)[:, None] + PIXEL_NODES - y  # (h, n)
        fine = np.zeros((nodes_y.size, nodes_x.size))  # (n h, n w)
        for place, covariance, weight in zip(self.places, self.covariances, self.weights, strict=True):
            dx, dy = nodes_x.reshape(1, -1) - place[0], nodes_y.reshape(-1, 1) - place[1]
            inverse = np.linalg.inv(covariance)
            scale = weight / (2 * math.pi * math.sqrt(np.linalg.det(covariance)))
            if inverse[0, 1] == 0:
                fine += scale * np.exp(-0.5 * inverse[1, 1] * dy**2) * np.exp(-0.5 * inverse[0, 0] * dx**2)
            else:
                fine += scale * np.exp(
                    -0.5 * (inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2)
                )
        values = np.einsum(
            "hiwj,i,j->hw",
            fine.reshape(height, PIXEL_NODES.size, width, PIXEL_NODES.size),
            PIXEL_WEIGHTS,
            PIXEL_WEIGHTS,
        )
        return Patch(first[0], first[1], values.astype(np.float32))

    def peak(self) -> float:
        """Give what the brightest pixel gets of a target whose centre is a pixel's, share of what it sends."""
        return float(self.draw(np.array([0.5, 0.5])).values.max())


def shape_of(
    kind: TargetKind, *, size_px: float, lens_sigma_px: float, heading_rad: float = 0.0, phase: float = 0.0
) -> Shape:
    """Build the shape of a target.

    Args:
        kind: What it is.
        size_px: Largest extent before optics, pixels; of a blob its width at half height.
        lens_sigma_px: Of the lens's Gaussian, pixels.
        heading_rad: Where it flies, from +x towards +y; aircraft and contrails point there, the others hang level.
        phase: Frames since the beginning of time: birds beat their wings.
    """
    parts = np.array(_parts(kind, phase))  # (P, 5)
    places, sigmas, weights = parts[:, :2] * size_px, parts[:, 2:4] * size_px, parts[:, 4] / parts[:, 4].sum()
    angle = heading_rad if kind in ("aircraft", "contrail") else 0.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    places = (places - weights @ places) @ turn.T
    covariances = np.einsum("ij,pj,kj->pik", turn, sigmas**2, turn) + lens_sigma_px**2 * np.eye(2)
    return Shape(places, covariances, weights)


def _parts(kind: TargetKind, phase: float) -> Parts:
    """Give the parts of a kind in units of its size."""
    match kind:
        case "point":
            return ((0.0, 0.0, 0.0, 0.0, 1.0),)
        case "blob":
            return ((0.0, 0.0, 1 / FWHM_PER_SIGMA, 1 / FWHM_PER_SIGMA, 1.0),)
        case "aircraft":
            return AIRCRAFT
        case "contrail":
            return CONTRAIL
        case "drone":
            return DRONE
        case "bird":
            beat = math.sin(2 * math.pi * phase / WING_BEAT_FRAMES)
            wing = (0.13 * beat, 0.14, 0.05, 0.6)
            return ((0.0, 0.0, 0.10, 0.07, 1.0), (-0.22, *wing), (0.22, *wing))
