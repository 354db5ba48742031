"""Drawing of things with edges: at twice the resolution, averaged down afterwards.

Legend: H W pixels of the canvas; all places and lengths are pixels of the canvas, not of the finer sheet.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.scenes.fields import Field32

__all__ = ["Sheet", "rectangle"]

FINER: Final = 2
FRACTION_BITS: Final = 4  # of the places that polygons are drawn at


class Sheet:
    """A canvas ``(H, W)`` to draw on.

    Args:
        size_hw: H, W.
        value: Of all pixels.
    """

    def __init__(self, size_hw: tuple[int, int], *, value: float = 0.0) -> None:
        self.size_hw = size_hw
        self._fine = np.full((FINER * size_hw[0], FINER * size_hw[1]), value, dtype=np.float32)

    def polygon(self, corners_xy: NDArray[np.float64], value: float) -> None:
        """Fill a convex or concave polygon of corners ``(K, 2)``."""
        places = np.rint((corners_xy * FINER - 0.5) * 2**FRACTION_BITS).astype(np.int32)
        cv2.fillPoly(self._fine, [places], value, lineType=cv2.LINE_8, shift=FRACTION_BITS)

    def disc(self, centre_xy: tuple[float, float], radius: float, value: float) -> None:
        """Fill a disc."""
        angles = np.linspace(0, 2 * math.pi, max(8, int(4 * radius)), endpoint=False)
        self.polygon(np.asarray(centre_xy) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1), value)

    def box(self, x1: float, y1: float, x2: float, y2: float, value: float) -> None:
        """Fill an upright rectangle; parts outside are left out."""
        x1, y1, x2, y2 = (round(FINER * side) for side in (x1, y1, x2, y2))
        self._fine[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = value

    def result(self) -> Field32:
        """Give the canvas ``(H, W)``."""
        return np.asarray(cv2.resize(self._fine, self.size_hw[::-1], interpolation=cv2.INTER_AREA), dtype=np.float32)


def rectangle(
    centre_xy: NDArray[np.float64],
    length: float,
    width: float,
    angle_rad: float,
    *,
    along: float = 0.0,
    across: float = 0.0,
) -> NDArray[np.float64]:
    """Give the corners ``(4, 2)`` of a turned rectangle, its middle moved `along` and `across` its own axes."""
    axis = np.array([math.cos(angle_rad), math.sin(angle_rad)])
    normal = np.array([-axis[1], axis[0]])
    middle = centre_xy + along * axis + across * normal
    half, side = length / 2 * axis, width / 2 * normal
    return np.stack([middle - half - side, middle + half - side, middle + half + side, middle - half + side])
