"""Register past frames to the newest one, so that only what moves by itself has moved.

The motion of a camera far from its scene is, over a few frames, a shift. It is found by phase correlation of gradients
(edges of scene and cloud; a slow change of level takes no part), at a reduced size, and undone with sub-pixel accuracy.
Where the frames share too little structure for a clear peak, as in empty sky, nothing is shifted: there, nothing shows
the motion either.

Legend: T frames of a window, oldest first; H W pixels.

References:
    Kuglin and Hines 1975, The phase correlation image alignment method.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.errors import FrameError

__all__ = ["camera_shift", "register"]

LARGEST_SIDE_PX = 192  # frames are reduced to it: faster, and less of the noise
SMALLEST_RESPONSE = 0.2  # height of the peak: noise gives up to 0.07, scenes and real frames 0.6 to 1
LARGEST_SHARE = 0.25  # of a side; a larger shift is a wrong peak, or another scene


def camera_shift(frame: NDArray[np.float32], reference: NDArray[np.float32]) -> tuple[float, float]:
    """Measure how far the scene of `reference` has moved against `frame`.

    Args:
        frame: ``(H, W)`` float32, an earlier frame.
        reference: ``(H, W)`` float32, the frame to register to.

    Returns:
        x, y in pixels: what stood at p in `frame` stands at p + (x, y) in `reference`; (0, 0) where nothing tells.

    Raises:
        FrameError: The frames differ in size.
    """
    if frame.shape != reference.shape:
        raise FrameError(f"frames of a window must be of one size, got {frame.shape} and {reference.shape}")
    height, width = frame.shape
    if min(height, width) < 16:
        return 0.0, 0.0
    scale = min(1.0, LARGEST_SIDE_PX / max(height, width))
    edges = [_edges(image, scale) for image in (frame, reference)]
    window = cv2.createHanningWindow((edges[0].shape[1], edges[0].shape[0]), cv2.CV_32F)
    (x, y), response = cv2.phaseCorrelate(edges[0], edges[1], window)
    x, y = x * width / edges[0].shape[1], y * height / edges[0].shape[0]
    if response < SMALLEST_RESPONSE or abs(x) > LARGEST_SHARE * width or abs(y) > LARGEST_SHARE * height:
        return 0.0, 0.0
    return float(x), float(y)


def register(frames: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Shift all frames of a window onto its last one.

    Args:
        frames: T arrays ``(H, W)`` float32 in [0, 1], oldest first.

    Returns:
        T arrays, the last one as it came. What moved in from outside repeats the border.

    Raises:
        FrameError: The frames differ in size.
    """
    *past, key = frames
    return [*(_shifted(frame, *camera_shift(frame, key)) if frame is not key else key for frame in past), key]


def _edges(image: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Give the reduced image's gradient magnitude, limited so that a few strong edges do not decide alone."""
    reduced = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    smooth = cv2.GaussianBlur(reduced, (0, 0), 1.0)
    magnitude = cv2.magnitude(cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1))
    limit = np.float32(3 * magnitude.mean() + 1e-9)
    return np.asarray(np.minimum(magnitude, limit) - np.float32(magnitude.mean()), dtype=np.float32)


def _shifted(frame: NDArray[np.float32], x: float, y: float) -> NDArray[np.float32]:
    if x == 0 and y == 0:
        return frame
    matrix = np.array([[1, 0, x], [0, 1, y]], dtype=np.float64)
    height, width = frame.shape
    moved = cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, dtype=np.float32)
