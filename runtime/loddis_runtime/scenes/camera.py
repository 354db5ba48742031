"""Where the camera looks in each frame.

Legend: N frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.scenes.chance import Chance
from loddis_runtime.scenes.config import CameraMotion
from loddis_runtime.scenes.fields import smooth_profile

__all__ = ["camera_path"]


def camera_path(motion: CameraMotion, *, frames: int, chance: Chance) -> NDArray[np.float64]:
    """Give the place of each frame's top-left corner in the pixels of frame 0, ``(N, 2)`` x, y."""
    path = np.arange(frames, dtype=np.float64)[:, None] * np.asarray(motion.pan_px_per_frame, dtype=np.float64)
    if motion.jitter_px:
        path = path + motion.jitter_px * chance.stream("jitter").standard_normal((frames, 2))
    if motion.drift_px:
        for axis in range(2):
            wander = smooth_profile(chance.stream("drift", axis), frames, scale_px=motion.drift_period_frames / 4)
            path[:, axis] += motion.drift_px * wander.astype(np.float64)
    return np.asarray(path - path[0], dtype=np.float64)
