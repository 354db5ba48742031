"""How grey levels become the network's [0, 1]: the bundle's intensity policy.

Legend: H W pixels. No policy ever passes through fewer bits than the frame has.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from loddis_runtime.errors import FrameError
from loddis_runtime.frames import Frame

__all__ = ["FullRange", "IntensityPolicy", "Percentile", "normalise"]

SMALLEST_SPAN = float(np.finfo(np.float32).smallest_subnormal)  # below it a span is 0 in float32
LARGEST_SPAN = float(np.finfo(np.float32).max) / 4  # above it differences may be beyond float32
LARGEST_SAMPLE = 65_536  # pixels looked at for percentiles: their error is then well under a thousandth of the range

# Of both policies, since a command shows one flag for both.
KIND = "full_range: the sensor's numbers, the same for all frames; percentile: each frame's own."
LOW = "Level that maps to 0, for 16-bit and float frames; for percentile: the percentile, 1 if none."
HIGH = "Level that maps to 1, 65535 or 1.0 if none; for percentile: the percentile, 99.9 if none."


class FullRange(BaseModel):
    """The full range of the sensor's numbers maps to [0, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["full_range"] = Field(default="full_range", description=KIND)
    low: float | None = Field(default=None, description=LOW)
    high: float | None = Field(default=None, description=HIGH)

    @model_validator(mode="after")
    def _ordered(self) -> FullRange:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high are given together or not at all")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        return self


class Percentile(BaseModel):
    """Each frame's own low and high percentile map to 0 and 1: for 12- to 16-bit sensors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["percentile"] = Field(default="percentile", description=KIND)
    low: float = Field(default=1.0, ge=0, le=100, description=LOW)
    high: float = Field(default=99.9, ge=0, le=100, description=HIGH)

    @model_validator(mode="after")
    def _ordered(self) -> Percentile:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        return self


IntensityPolicy = Annotated[FullRange | Percentile, Field(discriminator="kind")]


def normalise(frame: Frame, policy: FullRange | Percentile) -> NDArray[np.float32]:
    """Map a frame's grey levels to [0, 1].

    Args:
        frame: ``(H, W)`` as `as_frame` gives it.
        policy: The bundle's.

    Returns:
        ``(H, W)`` float32 in [0, 1]. A frame without any contrast gives 0.5 everywhere under `Percentile`.

    Raises:
        FrameError: A float frame outside [0, 1] under a full range without limits.
    """
    if isinstance(policy, Percentile):
        low, high = _percentiles(frame, policy)
        if high - low < SMALLEST_SPAN:
            return np.full(frame.shape, 0.5, dtype=np.float32)
    elif frame.dtype == np.uint8:
        return np.divide(frame, np.float32(255), dtype=np.float32)
    elif policy.low is not None and policy.high is not None:
        low, high = policy.low, policy.high
    elif frame.dtype == np.uint16:
        return np.divide(frame, np.float32(65535), dtype=np.float32)
    else:
        lowest, highest = float(frame.min()), float(frame.max())
        if lowest < 0 or highest > 1:
            raise FrameError(
                f"float frames must be in [0, 1] unless the bundle sets limits, got {lowest:g} to {highest:g}"
            )
        return frame.astype(np.float32, copy=True)
    if frame.dtype == np.uint8:
        return np.asarray(cv2.LUT(frame, _scale(np.arange(256, dtype=np.uint8), low, high)), dtype=np.float32)
    return _scale(frame, low, high)


def _scale(levels: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """Map low to 0 and high to 1, in float32, and clip."""
    if high - low > LARGEST_SPAN:
        return np.clip((levels - np.float64(low)) / (high - low), 0.0, 1.0).astype(np.float32)
    with np.errstate(over="ignore"):  # what float32 cannot hold lies beyond the limits, and is clipped
        scaled: NDArray[np.float32] = np.subtract(levels, np.float32(low), dtype=np.float32)
        scaled /= np.float32(high - low)
    return np.clip(scaled, 0.0, 1.0, out=scaled)


def _percentiles(frame: Frame, policy: Percentile) -> tuple[float, float]:
    """Give the levels of both percentiles, on a regular sample of large frames."""
    step = int(np.ceil(np.sqrt(frame.size / LARGEST_SAMPLE))) | 1  # odd: even and odd columns may differ by readout
    sample = frame[::step, ::step]
    if sample.dtype.kind == "f":
        low, high = np.percentile(sample.astype(np.float64), (policy.low, policy.high))
        return float(low), float(high)
    # Whole levels are counted, which is many times faster than ordering the pixels.
    darkest = sample.min()
    pixels_up_to = np.bincount((sample - darkest).ravel()).cumsum()  # by level above the darkest
    low, high = (_percentile_of_counts(pixels_up_to, float(darkest), wanted) for wanted in (policy.low, policy.high))
    return low, high


def _percentile_of_counts(pixels_up_to: NDArray[np.intp], darkest: float, percentile: float) -> float:
    """Give exactly what `np.percentile` gives for pixels of which so many are at each level from `darkest` or below."""
    rank = (int(pixels_up_to[-1]) - 1) * (percentile / 100)
    share = rank - math.floor(rank)
    low, high = darkest + np.searchsorted(pixels_up_to, (math.floor(rank), math.ceil(rank)), side="right")
    step = float(high - low)
    return float(low) + step * share if share < 0.5 else float(high) - step * (1 - share)  # rounded as NumPy does
