"""How wide a target's core is, whatever box was drawn around it.

Legend: N targets, U pixels of the enlarged cut-out.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame

__all__ = ["core_sides_px"]

RING_PX = 5  # around the box: background
FINER = 4  # times, so that cores of one or two pixels have a size between whole pixels
LARGEST_BOX_PX = 128  # a larger box holds no small target


def core_sides_px(
    frame: Frame, boxes_xyxy: NDArray[np.floating[Any]], *, clear: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Measure the side √area of the core in each box.

    The *background* is the median of the ring of 5 px around the box. The *core* is the connected region around the
    peak (the pixel within the box that is farthest from the background, above or below) where the frame, interpolated
    four times finer, exceeds half of the peak's height over the background. For a round Gaussian spot of deviation σ
    that is 2.09 σ.

    Args:
        frame: ``(H, W)``.
        boxes_xyxy: ``(N, 4)`` frame pixels.
        clear: ``(N,)`` which of them to measure: noise reaches half the height of dim ones.

    Returns:
        ``(N,)`` frame pixels; NaN where nothing was measured, or where the core reaches the rim of the cut-out, which
        makes it background rather than target.
    """
    sides = np.full(len(boxes_xyxy), math.nan)
    for i in np.flatnonzero(clear):
        sides[i] = _core_side_px(frame, boxes_xyxy[i])
    return sides


def _core_side_px(frame: Frame, box: NDArray[np.floating[Any]]) -> float:
    height, width = frame.shape
    left, top = (max(0, math.floor(float(low))) for low in box[:2])
    right, bottom = min(width, math.ceil(float(box[2]))), min(height, math.ceil(float(box[3])))
    if not (0 < right - left <= LARGEST_BOX_PX and 0 < bottom - top <= LARGEST_BOX_PX):
        return math.nan
    x0, y0 = max(0, left - RING_PX), max(0, top - RING_PX)
    cut = frame[y0 : bottom + RING_PX, x0 : right + RING_PX].astype(np.float32)
    inside = np.zeros(cut.shape, dtype=np.bool_)
    inside[top - y0 : bottom - y0, left - x0 : right - x0] = True
    if inside.all():
        return math.nan
    contrast = cut - np.float32(np.median(cut[~inside]))
    row, column = divmod(int(np.where(inside, np.abs(contrast), -1).argmax()), cut.shape[1])
    peak = float(contrast[row, column])
    if peak == 0:
        return math.nan
    finer = cv2.resize(contrast / peak, None, fx=FINER, fy=FINER, interpolation=cv2.INTER_LINEAR)  # (U, U)
    _, regions = cv2.connectedComponents((finer > 0.5).astype(np.uint8), connectivity=4)
    # Interpolation keeps the peak pixel's height between its two middle samples only roughly: take the highest of them.
    block = finer[row * FINER : (row + 1) * FINER, column * FINER : (column + 1) * FINER]
    down, across = divmod(int(block.argmax()), FINER)
    label = regions[row * FINER + down, column * FINER + across]
    if label == 0:
        return math.nan
    core = regions == label
    if core[0].any() or core[-1].any() or core[:, 0].any() or core[:, -1].any():
        return math.nan
    return math.sqrt(float(core.sum())) / FINER
