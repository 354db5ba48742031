"""Clips of rendered scenes, and what goes wrong with cameras.

Legend: H W pixels of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame
from loddis_runtime.scenes import Scene, SceneConfig

__all__ = ["BACKGROUNDS", "blurred", "flag", "level_of_noise", "lifted", "overexposed", "rendered"]

BACKGROUNDS = ("sky", "sea", "ground", "city")


def rendered(background: Any, bit_depth: Literal[8, 16], *, frames: int, **changes: Any) -> list[Frame]:
    """Render a clip of 256 x 320; 16 bits are the raw counts of a sensor of 14."""
    config = SceneConfig(background=background, bit_depth=bit_depth, frames=frames, **({"seed": 3} | changes))
    return [frame.image for frame in Scene(config)]


def level_of_noise(frame: Frame) -> float:
    """Give about the noise of rendered clips, levels."""
    return 0.7 if frame.dtype == np.uint8 else 1.7


def flag(like: Frame, *, frames: int, seed: int = 0) -> list[Frame]:
    """Give what a sensor shows of its shutter: an even level with noise."""
    rng = np.random.default_rng(seed)
    level, noise = float(np.median(like)), level_of_noise(like)
    return [_as(like, level + noise * rng.standard_normal(like.shape)) for _ in range(frames)]


def lifted(frames: Sequence[Frame], levels: int) -> list[Frame]:
    """Add a level to all, as a correction of the sensor does."""
    return [_as(frame, frame.astype(np.float64) + levels) for frame in frames]


def overexposed(frames: Sequence[Frame], *, share: float = 0.1) -> list[Frame]:
    """Raise the gain until about a share of pixels is at either end of the range."""
    low, high = np.percentile(frames[0], [100 * share, 100 - 100 * share])
    return [_as(frame, (frame.astype(np.float64) - low) * (_top(frame) / (high - low))) for frame in frames]


def blurred(frames: Sequence[Frame], *, sigma_px: float, seed: int = 0) -> list[Frame]:
    """Put the lens out of focus; the noise of the sensor stays as it was."""
    rng = np.random.default_rng(seed)
    return [
        _as(
            frame,
            cv2.GaussianBlur(frame.astype(np.float32), (0, 0), sigma_px)
            + level_of_noise(frame) * rng.standard_normal(frame.shape),
        )
        for frame in frames
    ]


def _top(like: Frame) -> int:
    return 255 if like.dtype == np.uint8 else 2**14 - 1


def _as(like: Frame, levels: NDArray[np.floating]) -> Frame:
    """Give whole levels of the sensor's range, in the dtype of a frame."""
    whole: Frame = np.clip(np.rint(levels), 0, _top(like)).astype(like.dtype)
    return whole
