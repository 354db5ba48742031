"""Where exactly a target is, and how far it stands out from the noise around it.

Both are measured in the grey levels of the original frame, for targets brighter or darker than their surroundings.

Legend: N targets, G side of the grid sampled around each, P side of the patch fitted.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame

__all__ = ["measure_targets"]

RING_GAP_PX = 1  # between the box and the ring, for wings that leave the box
RING_WIDTH_PX = 4
GRID_SIDES_PX = (17, 33, 65)  # boxes of up to 7, 23 and 55 px with their rings; larger ones are sampled more thinly
PATCH_RADIUS_PX = 7
SIGMA_LIMITS_PX = (0.5, 4.0)
FIT_STEPS = 8  # at most
SETTLED_PX = 2e-3
DAMPING = 1e-6
QUANTISATION = 12**-0.5  # standard deviation of rounding, levels
FLOAT_LEVEL = 1 / 65535  # taken for the step of float frames
MIN_RING_SAMPLES = 8

Floats = NDArray[np.floating[Any]]


def measure_targets(
    frame: Frame, boxes_xyxy: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Measure the centroid and the signal to noise ratio of the target in each box.

    The *background* of a target is the median of a ring around its box, from 1 to 5 px outside; the *noise* is the
    standard deviation of the ring once samples beyond three robust deviations are left out, and never below that of
    rounding to whole levels. The *peak* is the pixel within the box where the frame, smoothed over 3 x 3 pixels, is
    farthest from the background, above or below.

    - **snr** = abs(level of the peak - background) / noise. It is local: clutter around a target lowers it. Being an
      extreme of many pixels, it is about 1 to 3 where a box holds nothing.
    - **centroid**: least squares fit of a round Gaussian (height, place, width) to the 15 x 15 pixels around the peak.
      Its error is about 0.8 / snr pixels in each axis, the least that noise allows. What lies outside the frame takes
      no part, so spots cut by the border are found where they are. It never leaves its box. A box without any contrast,
      or outside the frame, gives its own centre.

    Args:
        frame: ``(H, W)`` as `as_frame` gives it.
        boxes_xyxy: ``(N, 4)`` pixels.

    Returns:
        Centroids ``(N, 2)`` float32, x, y pixels, and snr ``(N,)`` float32, finite, at least 0.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    centroids = ((boxes[:, :2] + boxes[:, 2:]) / 2).astype(np.float32)
    snr = np.zeros(len(boxes), dtype=np.float32)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0).max(axis=1) + 2 * (RING_GAP_PX + RING_WIDTH_PX)
    grid_sides = np.asarray(GRID_SIDES_PX)
    groups = np.minimum(np.searchsorted(grid_sides, sides), len(GRID_SIDES_PX) - 1)  # (N,)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        centroids[members], snr[members] = _measure_group(frame, boxes[members], int(grid_sides[group]), sides[members])
    return centroids, snr


def _measure_group(frame: Frame, boxes: Floats, grid_side: int, sides: Floats) -> tuple[Floats, Floats]:
    """Measure targets whose boxes and rings fit one size of grid."""
    steps = np.maximum(1, np.ceil(sides / grid_side)).astype(np.intp)  # (N,)
    offsets = np.arange(grid_side) - grid_side // 2
    middles = np.floor((boxes[:, :2] + boxes[:, 2:]) / 2).astype(np.intp)  # (N, 2) x, y
    columns = middles[:, 0, None] + steps[:, None] * offsets  # (N, G)
    rows = middles[:, 1, None] + steps[:, None] * offsets  # (N, G)
    grid, valid = _sample(frame, columns, rows)  # (N, G, G)

    in_box = _within(columns, rows, boxes, margin=0.0)
    in_ring = valid & _within(columns, rows, boxes, margin=RING_GAP_PX + RING_WIDTH_PX)
    in_ring &= ~_within(columns, rows, boxes, margin=RING_GAP_PX)
    scarce = in_ring.sum(axis=(1, 2)) < MIN_RING_SAMPLES  # box as large as the frame, or nearly so
    in_ring[scarce] = valid[scarce]
    background, noise = _ring_statistics(grid, in_ring, level=1.0 if frame.dtype.kind == "u" else FLOAT_LEVEL)

    contrast = np.where(valid, grid - background[:, None, None], 0.0)  # (N, G, G)
    searched = valid & in_box
    peaks = _find_peaks(contrast, searched)  # (N,) into G * G
    found = searched.any(axis=(1, 2))
    heights = np.take_along_axis(contrast.reshape(len(boxes), -1), peaks[:, None], axis=1)[:, 0]  # (N,)
    found &= heights != 0
    snr = np.where(found, np.minimum(np.abs(heights) / noise, np.finfo(np.float32).max), 0.0)

    peak_rows, peak_columns = np.divmod(peaks, grid_side)
    here = np.arange(len(boxes))
    peaks_xy = np.stack([columns[here, peak_columns], rows[here, peak_rows]], axis=1)  # (N, 2)
    centroids = (boxes[:, :2] + boxes[:, 2:]) / 2
    if found.any():
        centroids[found] = _fit_spots(frame, boxes[found], peaks_xy[found], background[found], heights[found])
    return centroids, snr


def _sample(frame: Frame, columns: NDArray[np.intp], rows: NDArray[np.intp]) -> tuple[Floats, NDArray[np.bool_]]:
    """Take pixels ``(N, P, P)`` at `columns` and `rows` ``(N, P)``, and say which of them the frame has."""
    height, width = frame.shape
    valid = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    inside_rows, inside_columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    return frame[inside_rows[:, :, None], inside_columns[:, None, :]].astype(np.float64), valid


def _within(columns: NDArray[np.intp], rows: NDArray[np.intp], boxes: Floats, *, margin: float) -> NDArray[np.bool_]:
    """Say which pixels' centres lie within the boxes grown by `margin`; ``(N, G, G)``."""
    x, y = columns + 0.5, rows + 0.5
    across = (x >= boxes[:, 0, None] - margin) & (x <= boxes[:, 2, None] + margin)
    down = (y >= boxes[:, 1, None] - margin) & (y <= boxes[:, 3, None] + margin)
    inside: NDArray[np.bool_] = down[:, :, None] & across[:, None, :]
    return inside


def _ring_statistics(grid: Floats, in_ring: NDArray[np.bool_], *, level: float) -> tuple[Floats, Floats]:
    """Give background and noise ``(N,)``; 0 and the least noise where there is not one pixel."""
    count = in_ring.sum(axis=(1, 2))
    background = np.where(count > 0, _masked_median(grid, in_ring), 0.0)
    deviations = np.abs(grid - background[:, None, None])
    least = level * QUANTISATION
    robust = np.maximum(1.4826 * np.where(count > 0, _masked_median(deviations, in_ring), 0.0), level)
    core = in_ring & (deviations <= 3 * robust[:, None, None])
    variance = np.where(core, deviations**2, 0.0).sum(axis=(1, 2)) / np.maximum(core.sum(axis=(1, 2)), 1)
    return background, np.maximum(np.sqrt(variance), least)


def _masked_median(values: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Median of the pixels under the mask, ``(N,)``; infinite where there is none."""
    ordered = np.sort(np.where(mask, values, np.inf).reshape(len(values), -1), axis=1)
    count = mask.sum(axis=(1, 2))
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    here = np.arange(len(values))
    median: Floats = (ordered[here, low] + ordered[here, high]) / 2
    return median


def _find_peaks(contrast: Floats, searched: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Give where the smoothed contrast is largest, of either sign; ``(N,)`` into the flattened grid."""
    smooth = np.stack([cv2.GaussianBlur(grid, (3, 3), 0.85, borderType=cv2.BORDER_REPLICATE) for grid in contrast])
    strength = np.where(searched, np.abs(smooth), -1.0)
    peaks: NDArray[np.intp] = strength.reshape(len(contrast), -1).argmax(axis=1)
    return peaks


def _fit_spots(frame: Frame, boxes: Floats, peaks_xy: NDArray[np.intp], background: Floats, heights: Floats) -> Floats:
    """Fit a round Gaussian around each peak, by Gauss-Newton steps for all at once; its x, y ``(N, 2)`` pixels."""
    offsets = np.arange(-PATCH_RADIUS_PX, PATCH_RADIUS_PX + 1)
    columns, rows = peaks_xy[:, 0, None] + offsets, peaks_xy[:, 1, None] + offsets  # (N, P)
    patch, valid = _sample(frame, columns, rows)  # (N, P, P)
    signal = (patch - background[:, None, None]) / heights[:, None, None]  # 1 at the peak, bright or dark
    height = np.ones((len(boxes), 1, 1))
    area = (valid & (signal > 0.5)).sum(axis=(1, 2), keepdims=True)
    sigma = np.clip(np.sqrt(area / (2 * np.pi * np.log(2))), *SIGMA_LIMITS_PX)  # (N, 1, 1)
    x, y = (columns + 0.5)[:, None, :], (rows + 0.5)[:, :, None]
    centre: Floats = peaks_xy + 0.5  # (N, 2)
    for _ in range(FIT_STEPS):
        dx, dy = (x - centre[:, 0, None, None]) / sigma, (y - centre[:, 1, None, None]) / sigma
        unit = np.exp(-(dx**2) / 2) * np.exp(-(dy**2) / 2) * valid  # (N, P, P)
        model = height * unit
        slopes = np.stack([unit, model * dx / sigma, model * dy / sigma, model * (dx**2 + dy**2)])
        slopes = slopes.reshape(4, len(boxes), -1).swapaxes(0, 1)  # (N, 4, P P): height, x, y, log sigma
        residual = (signal * valid - model).reshape(len(boxes), -1, 1)
        curvature = slopes @ slopes.swapaxes(1, 2)  # (N, 4, 4)
        curvature += np.eye(4) * (DAMPING * np.trace(curvature, axis1=1, axis2=2)[:, None, None] + 1e-30)
        step = np.linalg.solve(curvature, slopes @ residual)[..., 0]  # (N, 4)
        height = np.maximum(height + step[:, 0, None, None], height / 4)
        moved = np.clip(centre + np.clip(step[:, 1:3], -0.5, 0.5), boxes[:, :2], boxes[:, 2:])
        settled = np.abs(moved - centre).max() < SETTLED_PX
        centre = moved
        if settled:
            break
        sigma = np.clip(sigma * np.exp(np.clip(step[:, 3, None, None], -0.3, 0.3)), *SIGMA_LIMITS_PX)
    return centre
