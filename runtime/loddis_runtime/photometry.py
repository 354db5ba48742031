"""Where exactly a target is, and how far it stands out from the noise around it.

Both are measured in the grey levels of the original frame, for targets brighter or darker than their surroundings.

Legend: N targets, G side of the grid sampled around each, P side of the patch fitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame

__all__ = ["RING_PX", "measure_batch", "measure_noise", "measure_targets"]

RING_PX: Final = (1, 5)  # outside the box; what is nearer may be wings that leave it
GRID_SIDES_PX = (17, 33, 65)  # boxes of up to 7, 23 and 55 px with their rings; larger ones are sampled more thinly
PATCH_RADIUS_PX = 7
PATCH_OFFSETS = np.arange(-PATCH_RADIUS_PX, PATCH_RADIUS_PX + 1)
MOST_AT_ONCE = 256  # targets; bounds the memory that a crowded batch takes
SIGMA_LIMITS_PX = (0.5, 4.0)
FIT_STEPS = 8  # at most
SETTLED_PX = 1e-2  # length of the last step; shorter ones lower the error at no SNR from 4 to 200
DAMPING = 1e-6
QUANTISATION = 12**-0.5  # standard deviation of rounding, levels
FLOAT_LEVEL = 1 / 65535  # taken for the step of float frames
MIN_RING_SAMPLES = 8

# The slopes of a round Gaussian by height, x, y and log of its width are, over the Gaussian and but for a factor, 1, x,
# y and x² + y²: coefficients by slope, power of y, power of x.
SLOPES = np.zeros((4, 3, 3))
SLOPES[[0, 1, 2, 3, 3], [0, 0, 1, 0, 2], [0, 1, 0, 2, 0]] = 1.0
SLOPE_PRODUCTS = np.einsum("aij,bkl->ikjlab", SLOPES, SLOPES).reshape(81, 16)

Floats = NDArray[np.floating[Any]]


class _Surroundings(NamedTuple):
    """What is sampled around each of N boxes.

    Attributes:
        places: ``(2, N, G)`` columns, rows of the samples.
        outside: ``(N, G, G)`` how far each lies outside the box, as `_distance_outside`.
        grid: ``(N, G, G)`` levels.
        background: ``(N,)`` level of the ring.
        noise: ``(N,)`` levels, of the ring.
    """

    places: NDArray[np.intp]
    outside: Floats
    grid: Floats
    background: Floats
    noise: Floats


def measure_targets(
    frame: Frame, boxes_xyxy: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Measure the centroid and the signal to noise ratio of the target in each box.

    The *background* of a target is the median of a ring around its box, from 1 to 5 px outside; the *noise* is the
    standard deviation of the ring once samples beyond three robust deviations are left out, and never below that of
    rounding to whole levels. The *peak* is the pixel within the box where the frame, smoothed over 3 x 3 pixels, is
    farthest from the background, above or below; where the box holds no pixel's centre, it is the pixel of its own.

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
    (measured,) = measure_batch([frame], [boxes_xyxy])
    return measured


def measure_batch(
    frames: Sequence[Frame], boxes_xyxy: Sequence[NDArray[np.floating[Any]]]
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Measure the targets of several frames at once: for each frame, what `measure_targets` gives.

    Most of the time that a few targets take goes into starting the steps, not into the pixels; in a batch, all share
    them.

    Args:
        frames: Of any sizes and dtypes.
        boxes_xyxy: ``(N, 4)`` pixels, of each frame.
    """
    ends = list(accumulate(len(boxes) for boxes in boxes_xyxy))
    if not ends or ends[-1] == 0:
        return [(np.empty((0, 2), dtype=np.float32), np.empty(0, dtype=np.float32)) for _ in frames]
    boxes = np.concatenate([np.asarray(boxes, dtype=np.float64).reshape(-1, 4) for boxes in boxes_xyxy])  # (N, 4)
    owners = np.repeat(np.arange(len(frames)), [len(boxes) for boxes in boxes_xyxy])  # (N,) the frame of each target
    centroids = ((boxes[:, :2] + boxes[:, 2:]) / 2).astype(np.float32)
    snr = np.zeros(len(boxes), dtype=np.float32)
    for some, grid_side in _groups(boxes):
        centroids[some], snr[some] = _measure_group(frames, owners[some], boxes[some], grid_side)
    return [(centroids[start:end], snr[start:end]) for start, end in pairwise([0, *ends])]


def measure_noise(frame: Frame, boxes_xyxy: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Measure the noise around each box, which `measure_targets` holds a target against.

    Args:
        frame: ``(H, W)`` as `as_frame` gives it.
        boxes_xyxy: ``(N, 4)`` pixels.

    Returns:
        ``(N,)`` levels, above 0.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64)
    noise = np.empty(len(boxes))
    for some, grid_side in _groups(boxes):
        noise[some] = _look_around([frame], np.zeros_like(some), boxes[some], grid_side).noise
    return noise


def _groups(boxes: Floats) -> Iterator[tuple[NDArray[np.intp], int]]:
    """Give which boxes fit one size of grid with their rings, some at a time, and the side of that grid."""
    groups = np.minimum(np.searchsorted(GRID_SIDES_PX, _sides_with_ring(boxes)), len(GRID_SIDES_PX) - 1)  # (N,)
    for group, grid_side in enumerate(GRID_SIDES_PX):
        members = np.flatnonzero(groups == group)
        for start in range(0, len(members), MOST_AT_ONCE):
            yield members[start : start + MOST_AT_ONCE], grid_side


def _sides_with_ring(boxes: Floats) -> Floats:
    """Give the longer side ``(N,)`` of each box, pixels, with its ring on both ends."""
    sides: Floats = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0).max(axis=1) + 2 * RING_PX[1]
    return sides


def _look_around(frames: Sequence[Frame], owners: NDArray[np.intp], boxes: Floats, grid_side: int) -> _Surroundings:
    """Sample boxes that fit one size of grid with their rings; `owners` ``(N,)`` says in which frame each is."""
    steps = np.maximum(1, np.ceil(_sides_with_ring(boxes) / grid_side)).astype(np.intp)  # (N,)
    offsets = np.arange(grid_side) - grid_side // 2
    middles = np.floor((boxes[:, :2] + boxes[:, 2:]) / 2).astype(np.intp)  # (N, 2) x, y
    places = middles.T[:, :, None] + steps[:, None] * offsets  # (2, N, G) columns, rows
    grid, valid = _sample(frames, owners, places)  # (N, G, G), (2, N, G)
    # However small a box is, it has the centre of the pixel that its own centre is in.
    low, high = np.minimum(boxes[:, :2], middles + 0.5), np.maximum(boxes[:, 2:], middles + 0.5)
    outside = _distance_outside(places, valid, low, high)  # (N, G, G)
    in_ring = (outside > RING_PX[0]) & (outside <= RING_PX[1])
    scarce = in_ring.sum(axis=(1, 2)) < MIN_RING_SAMPLES  # box as large as the frame, or nearly so
    in_ring[scarce] = np.isfinite(outside[scarce])
    levels = np.array([1.0 if frame.dtype.kind == "u" else FLOAT_LEVEL for frame in frames])[owners]  # (N,)
    return _Surroundings(places, outside, grid, *_ring_statistics(grid, in_ring, levels))


def _measure_group(
    frames: Sequence[Frame], owners: NDArray[np.intp], boxes: Floats, grid_side: int
) -> tuple[Floats, Floats]:
    """Measure targets, as `_look_around` takes them."""
    places, outside, grid, background, noise = _look_around(frames, owners, boxes, grid_side)
    contrast = np.where(np.isfinite(outside), grid - background[:, None, None], 0.0)  # (N, G, G)
    searched = outside <= 0
    peaks = _find_peaks(contrast, searched)  # (N,) into G * G
    found = searched.any(axis=(1, 2))
    here = np.arange(len(boxes))
    heights = contrast.reshape(len(boxes), -1)[here, peaks]  # (N,)
    found &= heights != 0
    snr = np.where(found, np.minimum(np.abs(heights) / noise, np.finfo(np.float32).max), 0.0)

    peak_rows, peak_columns = np.divmod(peaks, grid_side)
    peaks_xy = np.stack([places[0, here, peak_columns], places[1, here, peak_rows]])  # (2, N)
    centroids = (boxes[:, :2] + boxes[:, 2:]) / 2
    if found.any():
        patch, valid = _sample(frames, owners[found], peaks_xy[:, found, None] + PATCH_OFFSETS)  # (N, P, P), (2, N, P)
        signal = (patch - background[found, None, None]) / heights[found, None, None]  # 1 at the peak, bright or dark
        centroids[found] = _fit_spots(signal, valid, peaks_xy[:, found], boxes[found])
    return centroids, snr


def _sample(
    frames: Sequence[Frame], owners: NDArray[np.intp], places: NDArray[np.intp]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Take the pixels ``(N, P, P)`` at columns and rows ``(2, N, P)``, and say which of those the frames have.

    Args:
        frames: Of any sizes.
        owners: ``(N,)`` the frame of each target, rising.
        places: ``(2, N, P)`` columns, rows.
    """
    last = np.array([[frame.shape[1] - 1, frame.shape[0] - 1] for frame in frames])[owners].T[:, :, None]  # (2, N, 1)
    inside = np.minimum(np.maximum(places, 0), last)
    columns, rows = inside
    pixels = np.empty((*columns.shape, columns.shape[1]))
    ends = np.searchsorted(owners, np.arange(len(frames) + 1))
    for frame, start, end in zip(frames, ends[:-1], ends[1:], strict=True):
        pixels[start:end] = frame[rows[start:end, :, None], columns[start:end, None, :]]
    return pixels, inside == places


def _distance_outside(places: NDArray[np.intp], valid: NDArray[np.bool_], low: Floats, high: Floats) -> Floats:
    """Give how far each pixel's centre lies outside its box, the larger of both axes; ``(N, G, G)``.

    Zero or less within the box, infinite outside the frame.

    Args:
        places: ``(2, N, G)`` columns, rows.
        valid: ``(2, N, G)``, which of those the frame has.
        low: ``(N, 2)`` x1, y1 of the box.
        high: ``(N, 2)`` x2, y2 of the box.
    """
    centres = places + 0.5
    low, high = low.T[:, :, None], high.T[:, :, None]  # (2, N, 1)
    across, down = np.where(valid, np.maximum(low - centres, centres - high), np.inf)
    distance: Floats = np.maximum(down[:, :, None], across[:, None, :])
    return distance


def _ring_statistics(grid: Floats, in_ring: NDArray[np.bool_], levels: Floats) -> tuple[Floats, Floats]:
    """Give background and noise ``(N,)``; 0 and the least noise, of steps of `levels`, where there is not one pixel."""
    count = in_ring.sum(axis=(1, 2))
    background = _masked_median(grid, in_ring, count)
    deviations = np.abs(grid - background[:, None, None])
    robust = np.maximum(1.4826 * _masked_median(deviations, in_ring, count), levels)
    core = in_ring & (deviations <= 3 * robust[:, None, None])
    counted = np.where(core, deviations, 0.0)
    variance = np.einsum("nij,nij->n", counted, counted) / np.maximum(core.sum(axis=(1, 2)), 1)
    return background, np.maximum(np.sqrt(variance), levels * QUANTISATION)


def _masked_median(values: Floats, mask: NDArray[np.bool_], count: NDArray[np.intp]) -> Floats:
    """Give the median ``(N,)`` of the `count` pixels under the mask; 0 where there is none."""
    ordered = np.sort(np.where(mask, values, np.inf).reshape(len(values), -1), axis=1)
    here = np.arange(len(values))
    median: Floats = (ordered[here, np.maximum(count - 1, 0) // 2] + ordered[here, count // 2]) / 2
    return np.where(count > 0, median, 0.0)


def _find_peaks(contrast: Floats, searched: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Give where the smoothed contrast is largest, of either sign; ``(N,)`` into the flattened grid."""
    count, side, _ = contrast.shape
    # All grids under one another are one picture to smooth; each repeats its own border, as that does at its sides.
    tall = np.concatenate([contrast[:, :1], contrast, contrast[:, -1:]], axis=1)  # (N, G + 2, G)
    smooth = cv2.GaussianBlur(tall.reshape(-1, side), (3, 3), 0.85, borderType=cv2.BORDER_REPLICATE)
    strength = np.abs(smooth.reshape(count, side + 2, side)[:, 1:-1])
    peaks: NDArray[np.intp] = np.where(searched, strength, -1.0).reshape(count, -1).argmax(axis=1)
    return peaks


def _fit_spots(signal: Floats, valid: NDArray[np.bool_], peaks_xy: NDArray[np.intp], boxes: Floats) -> Floats:
    """Fit a round Gaussian around each peak, by Gauss-Newton steps for all at once; its x, y ``(N, 2)`` pixels.

    The Gaussian, its slopes and the frame's border are products of a function of x and one of y, so every sum over a
    patch is a product of sums along its sides. Each fit ends by itself: it does not depend on those beside it.

    Args:
        signal: ``(N, P, P)``, 1 at the peak and 0 in the background.
        valid: ``(2, N, P)``, which columns and rows the frame has.
        peaks_xy: ``(2, N)`` pixels.
        boxes: ``(N, 4)``, which the centres do not leave.
    """
    signal = signal * (valid[1, :, :, None] & valid[0, :, None, :])
    area = (signal > 0.5).sum(axis=(1, 2))[:, None]
    sigma = _limit(np.sqrt(area / (2 * np.pi * np.log(2))), *SIGMA_LIMITS_PX)  # (N, 1)
    height = np.ones_like(sigma)
    centre = peaks_xy[:, :, None] + 0.5  # (2, N, 1)
    pixels = centre + PATCH_OFFSETS  # (2, N, P) their centres
    low, high = boxes.T[:2, :, None], boxes.T[2:, :, None]
    moving = np.ones(sigma.shape, dtype=np.bool_)
    basis = np.empty((2, len(boxes), 3, PATCH_OFFSETS.size))  # the Gaussian along x and y, times powers of the distance
    for _ in range(FIT_STEPS):
        distance = (pixels - centre) / sigma  # (2, N, P)
        np.multiply(np.exp(distance * distance * -0.5), valid, out=basis[:, :, 0])
        np.multiply(basis[:, :, 0], distance, out=basis[:, :, 1])
        np.multiply(basis[:, :, 1], distance, out=basis[:, :, 2])
        of_x, of_y = (basis @ basis.swapaxes(2, 3)).reshape(2, -1, 9)  # (N, 9): sums along a side
        curvature = (of_y[:, :, None] * of_x[:, None]).reshape(-1, 81) @ SLOPE_PRODUCTS  # (N, 16)
        observed = (basis[1] @ signal @ basis[0].swapaxes(1, 2)).reshape(-1, 9) @ SLOPES.reshape(4, 9).T  # (N, 4)
        residual = observed - height * curvature[:, :4]  # the Gaussian is its own slope by height
        diagonal = curvature[:, ::5]
        diagonal += DAMPING * diagonal.sum(axis=1, keepdims=True) + 1e-30
        step = np.linalg.solve(curvature.reshape(-1, 4, 4), residual[:, :, None])[..., 0]  # (N, 4)
        shift = step[:, 1:3].T[:, :, None] * (sigma / height)  # (2, N, 1)
        moved = _limit(centre + _limit(shift, -0.5, 0.5) * moving, low, high)
        moving &= np.abs(moved - centre).max(axis=0) >= SETTLED_PX
        centre = moved
        if not moving.any():
            break
        sigma = _limit(sigma * np.exp(_limit(step[:, 3:] / height, -0.3, 0.3)), *SIGMA_LIMITS_PX)
        height = np.maximum(height + step[:, :1], height / 4)
    return np.asarray(centre[:, :, 0].T)


def _limit(values: Floats, low: Floats | float, high: Floats | float) -> Floats:
    """Do what `np.clip` does, in a third of its time on a few numbers."""
    limited: Floats = np.minimum(np.maximum(values, low), high)
    return limited
