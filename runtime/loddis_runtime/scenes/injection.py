"""Put a target into a frame that is there already: a real one, to train or test with.

Legend: H W pixels of the frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.errors import ConfigError
from loddis_runtime.frames import Frame, as_frame
from loddis_runtime.photometry import measure_noise
from loddis_runtime.scenes.config import MAX_TARGET_PX, Polarity, TargetKind
from loddis_runtime.scenes.optics import FWHM_PER_SIGMA
from loddis_runtime.scenes.shapes import shape_of

__all__ = ["Injection", "inject_target"]

LENS_FWHM_PX: Final = (1.0, 8.0)  # below, the average over a pixel is no longer exact


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
    polarity: Polarity = "hot",
    box_margin_px: float = 0.0,
    level_range: tuple[float, float] | None = None,
) -> Injection:
    """Add a target of a given signal to noise ratio to a frame; the frame itself is left as it is.

    The noise is that of the frame around the target's box, as `loddis_runtime.photometry` measures it. The largest of
    what the target adds to a pixel is `snr` times that; photometry finds about the same ratio in the result.

    Args:
        frame: ``(H, W)`` uint8, uint16 or float32.
        centre_xy: Centre of what the target sends, pixels, within the frame.
        snr: Above 0.
        kind: Shape.
        size_px: Largest extent before optics, pixels (of a blob: width at half height), up to 512; 0 for a point.
        psf_fwhm_px: Width at half height of the lens's Gaussian, 1 to 8 pixels.
        heading_deg: Where an aircraft or a contrail points, degrees from +x towards +y.
        polarity: Brighter or darker than what is there.
        box_margin_px: Added to each side of the box, from 0.
        level_range: Lowest and highest level that the sensor gives; the dtype's if none, [0, 1] for float32.

    Raises:
        FrameError: The frame cannot be used.
        ConfigError: A centre outside the frame, an unknown kind or polarity, a number out of its range, a point with a
            size or another kind without, or a range of levels without any between.
    """
    checked = as_frame(frame)
    height, width = checked.shape
    x, y = centre_xy
    if not (0 <= x <= width and 0 <= y <= height):
        raise ConfigError(f"centre_xy must be within the frame of {width} x {height} px, got ({x:g}, {y:g})")
    for name, chosen, known in (("kind", kind, get_args(TargetKind)), ("polarity", polarity, get_args(Polarity))):
        if chosen not in known:
            raise ConfigError(f"{name} must be one of {', '.join(known)}, got {chosen!r}")
    if not 0 < snr < math.inf:
        raise ConfigError(f"snr must be above 0, got {snr}")
    if not LENS_FWHM_PX[0] <= psf_fwhm_px <= LENS_FWHM_PX[1]:
        raise ConfigError(f"psf_fwhm_px must be from {LENS_FWHM_PX[0]:g} to {LENS_FWHM_PX[1]:g}, got {psf_fwhm_px}")
    if (kind == "point") != (size_px == 0) or not 0 <= size_px <= MAX_TARGET_PX:
        wanted = "0" if kind == "point" else f"above 0 and up to {MAX_TARGET_PX}"
        raise ConfigError(f"size_px of a target of kind {kind!r} must be {wanted}, got {size_px}")
    if not math.isfinite(heading_deg):
        raise ConfigError(f"heading_deg must be finite, got {heading_deg}")
    if not 0 <= box_margin_px < math.inf:
        raise ConfigError(f"box_margin_px must be from 0, got {box_margin_px}")
    low, high = _range_of(checked) if level_range is None else level_range
    if not -math.inf < low < high < math.inf:
        raise ConfigError(f"level_range must be a lower and a higher level, got ({low:g}, {high:g})")

    shape = shape_of(
        kind, size_px=size_px, lens_sigma_px=psf_fwhm_px / FWHM_PER_SIGMA, heading_rad=math.radians(heading_deg)
    )
    centre = np.array([x, y], dtype=np.float64)
    noise = float(measure_noise(checked, shape.box_xyxy(centre, margin_px=0.0)[None])[0])
    patch = shape.draw(centre)
    rows = slice(max(patch.top, 0), min(patch.top + patch.values.shape[0], height))
    columns = slice(max(patch.left, 0), min(patch.left + patch.values.shape[1], width))
    values = patch.values[
        rows.start - patch.top : rows.stop - patch.top, columns.start - patch.left : columns.stop - patch.left
    ].astype(np.float64)
    added = values * (snr * noise / float(values.max())) * (1 if polarity == "hot" else -1)

    before = checked[rows, columns].astype(np.float64)
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
