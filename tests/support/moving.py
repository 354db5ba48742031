"""A target that crosses a noisy scene, for streams and trackers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from support.frame_files import spot_frame

__all__ = ["moving_spot"]


def moving_spot(
    frames: int,
    *,
    start_xy: tuple[float, float] = (20.0, 30.0),
    velocity_xy: tuple[float, float] = (1.5, 0.5),
    dtype: type[np.generic] = np.uint8,
    seed: int = 0,
) -> Iterator[NDArray[Any]]:
    """Give frames of 64 x 96 with one spot that the spot bundle detects, in noise that never repeats."""
    generator = np.random.default_rng(seed)
    for index in range(frames):
        x, y = (place + index * step for place, step in zip(start_xy, velocity_xy, strict=True))
        frame = spot_frame((x, y), dtype=dtype).astype(np.float64)
        full_scale = 1.0 if dtype is np.float32 else float(np.iinfo(dtype).max)  # type: ignore[type-var]
        frame += generator.normal(0, 0.004 * full_scale, frame.shape)
        clipped = np.clip(frame, 0, full_scale)
        yield (clipped if dtype is np.float32 else np.round(clipped)).astype(dtype)
