"""Put a target into a frame that is there already: a real one, to train or test with.

Legend: H W pixels of the frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.errors import ConfigError
from loddis_runtime.frames import Frame, as_frame
from loddis_runtime.scenes.config import TargetKind
from loddis_runtime.scenes.optics import FWHM_PER_SIGMA
from loddis_runtime.scenes.sensor import ROUNDING
from loddis_runtime.scenes.shapes import shape_of

__all__ = ["Injection", "inject_target"]

RING_PX: Final = (1.0, 5.0)  # around the box: where noise is measured
OUTLIER_DEVIATIONS: Final = 3.0
MAD_PER_SIGMA: Final = 1.4826
FLOAT_STEP: Final = 1 / 65535  # taken for the step of float frames


@dataclass(frozen=True, slots=True, eq=False)
class Injection:
    """A frame with a target in it.

    Attributes:
        frame: ``(H, W)`` of the dtype that came.
        box_xyxy: ``(4,)`` float32, pixels, within the frame; around two sigmas of the target as the optics show it.
        centre_xy: ``(2,)`` float32, pixels; origin at the corner of the first pixel.
        noise: Levels; deviation of the surroundings that the SNR refers to.
        snr: What the brightest pixel got, over noise; below what was asked for where the frame's range ends.
    """

    frame: Frame
    box_xyxy: NDArray[np.float32]
    centre_xy: NDArray[np.float32]
    noise: float
    snr: float


def inject_target(
    frame: Frame,
    *,
    centre_xy: tuple[float, float],
    snr: float,
    kind: TargetKind = "point",
    size_px: float = 0.0,
    psf_fwhm_px: float = 1.6,
    heading_deg: float = 0.0,
    polarity: Literal["hot", "cold"] = "hot",
    box_margin_px: float = 0.0,
    level_range: tuple[float, float] | None = None,
) -> Injection:
    """Add a target of a given signal to noise ratio to a frame; the frame itself is left as it is.

    The noise is the standard deviation of the frame in a ring 1 to 5 px around the target's box, once pixels beyond
    three robust deviations are left out, and never below that of rounding. The largest of what the target adds to a
    pixel is `snr` times that; `loddis_runtime.photometry` finds about the same ratio in the result.

    Args:
        frame: ``(H, W)`` uint8, uint16 or float32.
        centre_xy: Centre of what the target sends, pixels, within the frame.
        snr: Above 0.
        kind: Shape.
        size_px: Largest extent before optics, pixels (of a blob: width at half height); 0 for a point.
        psf_fwhm_px: Width at half height of the lens's Gaussian, pixels.
        heading_deg: Where an aircraft or a contrail points, degrees from +x towards +y.
        polarity: Brighter or darker than what is there.
        box_margin_px: Added to each side of the box.
        level_range: Lowest and highest level that the sensor gives; the dtype's if none, [0, 1] for float32.

    Raises:
        FrameError: The frame cannot be used.
        ConfigError: A centre outside the frame, or a ratio, size or width that is not positive; a point with a size.
    """
    checked = as_frame(frame)
    height, width = checked.shape
    x, y = centre_xy
    if not (0 <= x <= width and 0 <= y <= height):
        raise ConfigError(f"centre_xy must be within the frame of {width} x {height} px, got ({x:g}, {y:g})")
    for name, value in (("snr", snr), ("psf_fwhm_px", psf_fwhm_px)):
        if not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{name} must be above 0, got {value}")
    if (kind == "point") != (size_px == 0) or not 0 <= size_px < math.inf:
        raise ConfigError(
            f"size_px of a target of kind {kind!r} must be {'0' if kind == 'point' else 'above 0'}, got {size_px}"
        )

    shape = shape_of(
        kind, size_px=size_px, lens_sigma_px=psf_fwhm_px / FWHM_PER_SIGMA, heading_rad=math.radians(heading_deg)
    )
    centre = np.array([x, y], dtype=np.float64)
    noise = _noise_around(checked, shape.box_xyxy(centre, margin_px=0.0))
    patch = shape.draw(centre)
    rows = slice(max(patch.top, 0), min(patch.top + patch.values.shape[0], height))
    columns = slice(max(patch.left, 0), min(patch.left + patch.values.shape[1], width))
    values = patch.values[
        rows.start - patch.top : rows.stop - patch.top, columns.start - patch.left : columns.stop - patch.left
    ].astype(np.float64)
    added = values * (snr * noise / float(values.max())) * (1 if polarity == "hot" else -1)

    before = checked[rows, columns].astype(np.float64)
    low, high = level_range or _range_of(checked)
    after = np.clip(before + added, np.minimum(low, before), np.maximum(high, before))
    result = checked.copy()
    result[rows, columns] = np.rint(after) if checked.dtype.kind == "u" else after
    limits = np.array([width, height, width, height])
    return Injection(
        frame=result,
        box_xyxy=np.clip(shape.box_xyxy(centre, margin_px=box_margin_px), 0, limits).astype(np.float32),
        centre_xy=centre.astype(np.float32),
        noise=noise,
        snr=float(np.abs(after - before).max()) / noise,
    )


def _range_of(frame: Frame) -> tuple[float, float]:
    return (0.0, 1.0 if frame.dtype.kind == "f" else 256.0**frame.dtype.itemsize - 1)


def _noise_around(frame: Frame, box_xyxy: NDArray[np.floating[Any]]) -> float:
    """Measure the noise in a ring around a box, levels; of the whole frame where it has no such ring."""
    height, width = frame.shape
    reach = RING_PX[1]
    left, top = (max(0, math.floor(side - reach)) for side in box_xyxy[:2])
    right, bottom = min(width, math.ceil(box_xyxy[2] + reach)), min(height, math.ceil(box_xyxy[3] + reach))
    x, y = np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5
    x1, y1, x2, y2 = box_xyxy + RING_PX[0] * np.array([-1, -1, 1, 1])
    inner = ((y >= y1) & (y <= y2))[:, None] & ((x >= x1) & (x <= x2))
    levels = frame[top:bottom, left:right][~inner].astype(np.float64)
    if levels.size < 2:
        levels = frame.reshape(-1).astype(np.float64)
    deviations = np.abs(levels - np.median(levels))
    step = 1.0 if frame.dtype.kind == "u" else FLOAT_STEP
    limit = OUTLIER_DEVIATIONS * max(MAD_PER_SIGMA * float(np.median(deviations)), step)
    return max(float(np.sqrt(np.mean(deviations[deviations <= limit] ** 2))), ROUNDING * step)
