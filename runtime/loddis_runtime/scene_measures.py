"""What a scene is like, in a dozen numbers: what tells frames of one kind from frames of another.

Each number is a measure of the frame as the network gets it, levels in [0, 1] and padding left out, so that what a
model's intensity policy evens out is no difference here either. Shares and logarithms are taken so that most measures
spread about evenly on both sides of their mean over the frames of a domain.

Legend: h w network pixels, M measures.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.preparation import PreparedFrame

__all__ = ["MEASURES", "measure_levels", "measure_scene", "white_noise"]

MEASURES: Final = (
    "median",
    "spread",
    "skew",
    "entropy",
    "ramp",
    "noise",
    "detail_fine",
    "detail_middle",
    "detail_coarse",
    "detail_skew",
    "flat_share",
    "row_column_balance",
    "row_structure",
    "column_structure",
)
"""Names of the measures, in order.

- `median`: level, of 1.
- `spread`: ln of the span from the 5th to the 95th percentile, of 1.
- `skew`: how far the median lies from the middle of that span towards its dark end, of half the span, -1 to 1.
- `entropy`: of the histogram in 64 steps, bit.
- `ramp`: how much the lower half is brighter than the upper, of 1.
- `noise`: ln of the white noise, sigma, of 1: what a filter leaves that takes out planes and whole rows and columns.
- `detail_fine`, `_middle`, `_coarse`: ln of the root mean square gradient, of 1 per pixel, of the frame and of it at a
  half and a quarter of its size.
- `detail_skew`: whether what is small is brighter (above 0) or darker than what is around it: skewness of the frame at
  half its size less its blur, brought to -1 to 1 by tanh.
- `flat_share`: of blocks of 8 x 8 pixels whose deviation is below 0.01 of 1.
- `row_column_balance`: ln of vertical over horizontal gradient.
- `row_structure`, `column_structure`: ln of the deviation of the rows' (columns') means from those beside them, of 1.
"""

LEAST: Final = 1e-3  # of 1: floors logarithms; the rounding of 8 bits
STEPS: Final = 64  # of the histogram
BLOCK_PX: Final = 8
FLAT: Final = 0.01  # of 1
SMALLEST_SIDE_PX: Final = 32  # of the frame in the network's input: below, there are too few blocks and rows
SECOND_DIFFERENCE: Final = np.array([1.0, -2.0, 1.0], dtype=np.float32)
WHITE_GAIN: Final = 6.0  # of the filter below: root of the sum of its squared taps
INNER: Final = 0.75  # share of the pixels that noise is taken from; edges are among the others
INNER_MEAN: Final = 0.5148  # mean distance from zero of those, of a normal distribution's sigma

Levels = NDArray[np.float32]


def measure_scene(prepared: PreparedFrame) -> NDArray[np.float64] | None:
    """Measure a frame as it goes to the network; of a window, the key frame.

    Returns:
        ``(M,)`` in the order of `MEASURES`; None where the frame is narrower than 32 network pixels.
    """
    transform, key = prepared.transform, prepared.tensor[-1]
    height, width = (round(side * transform.scale) for side in prepared.frame.shape)
    left, top = int(transform.pad_x), int(transform.pad_y)
    shown = key[top : top + height, left : left + width]
    return None if min(shown.shape) < SMALLEST_SIDE_PX else measure_levels(shown)


def measure_levels(levels: Levels) -> NDArray[np.float64]:
    """Measure levels in [0, 1].

    Args:
        levels: ``(h, w)``, at least 32 x 32.

    Returns:
        ``(M,)`` in the order of `MEASURES`.
    """
    levels = np.ascontiguousarray(levels, dtype=np.float32)
    counts = np.bincount((levels * 255 + 0.5).astype(np.uint8).ravel(), minlength=256)
    low, middle, high = np.searchsorted(counts.cumsum(), np.array([0.05, 0.5, 0.95]) * levels.size) / 255
    span = max(float(high - low), 1 / 255)
    half, quarter = _halved(levels), _halved(_halved(levels))
    across, down = _gradients(levels)
    details = [math.hypot(across, down), *(math.hypot(*_gradients(smaller)) for smaller in (half, quarter))]
    return np.array(
        [
            middle,
            math.log(span),
            (high + low - 2 * middle) / span,
            _entropy(counts),
            float(levels[levels.shape[0] // 2 :].mean() - levels[: levels.shape[0] // 2].mean()),
            _log(white_noise(levels)),
            *(_log(detail) for detail in details),
            _detail_skew(half),
            _flat_share(levels),
            _log(down) - _log(across),
            _log(_structure(levels, axis=1)),
            _log(_structure(levels, axis=0)),
        ]
    )


def white_noise(levels: Levels) -> float:
    """Give the deviation of white noise of ``(h, w)`` float32, in its unit; rows and columns that are offset add none.

    References:
        Immerkaer 1996, Fast noise variance estimation; here the mean is one of the inner three quarters.
    """
    filtered = cv2.sepFilter2D(levels, cv2.CV_32F, SECOND_DIFFERENCE, SECOND_DIFFERENCE)
    sample = np.abs(filtered[1:-1:2, 1:-1:3]).ravel()
    inner = int(INNER * sample.size)
    return float(np.partition(sample, inner)[:inner].mean()) / (INNER_MEAN * WHITE_GAIN)


def _log(value: float) -> float:
    return math.log(max(value, LEAST))


def _halved(levels: Levels) -> Levels:
    """Give means of 2 x 2 pixels."""
    height, width = levels.shape
    half = cv2.resize(levels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(half, dtype=np.float32)


def _gradients(levels: Levels) -> tuple[float, float]:
    """Give the root mean square difference of neighbours, across and down."""
    across = cv2.norm(levels[:, 1:], levels[:, :-1], cv2.NORM_L2) / math.sqrt(levels.size)
    down = cv2.norm(levels[1:], levels[:-1], cv2.NORM_L2) / math.sqrt(levels.size)
    return across, down


def _entropy(counts: NDArray[np.intp]) -> float:
    """Give the entropy of a histogram of 256 steps, taken together to `STEPS`, bit."""
    shares = counts.reshape(STEPS, -1).sum(axis=1) / counts.sum()
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def _detail_skew(half: Levels) -> float:
    """Give the skewness of detail, squeezed: a single hot target would outweigh everything else."""
    detail = half - cv2.blur(half, (5, 5))
    square = detail * detail
    variance = float(square.mean())
    return math.tanh(float((square * detail).mean()) / max(variance, LEAST**2) ** 1.5)


def _flat_share(levels: Levels) -> float:
    """Give the share of blocks without contrast."""
    height, width = (side // BLOCK_PX for side in levels.shape)
    whole = levels[: height * BLOCK_PX, : width * BLOCK_PX]
    mean = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    mean_square = cv2.resize(whole * whole, (width, height), interpolation=cv2.INTER_AREA)
    return float(np.mean(mean_square - mean * mean < FLAT**2))


def _structure(levels: Levels, *, axis: int) -> float:
    """Give how much the means along an axis differ from those on both sides, root mean square."""
    profile = levels.mean(axis=axis)
    return float(np.sqrt(np.mean(np.diff(profile, n=2) ** 2) / WHITE_GAIN))
