"""Register past frames to the newest one, so that only what moves by itself has moved.

The motion of a camera far from its scene is, over a few frames, a shift. It is found on gradients (edges of scene and
cloud; a slow change of level takes no part) at a reduced size: by phase correlation to about a pixel of that size,
however far it is, then by least squares to a few hundredths of one. Where the frames share too little structure for a
clear peak, as in empty sky, nothing is shifted: there, nothing shows the motion either.

Legend: T frames of a window, oldest first; H W pixels.

References:
    Kuglin and Hines 1975, The phase correlation image alignment method.
    Lucas and Kanade 1981, An iterative image registration technique with an application to stereo vision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.errors import FrameError

__all__ = ["Structure", "camera_shift", "measured_shift", "register", "shift_between", "shifted", "structure_of"]

LARGEST_SIDE_PX = 192  # frames are reduced to it: faster, and less of the noise
SMALLEST_RESPONSE = 0.2  # height of the peak: scenes and real frames give 0.6 to 1
NOISE_RESPONSE = 25.0  # noise gives up to this over the root of the number of pixels: 0.15 of a full-size frame
SMALLEST_SIDE_PX = 16  # of frames that have structure to speak of
SMALLEST_REDUCED_PX = 8  # of the shorter side: fewer rows show no motion across them
LARGEST_SHARE = 0.25  # of a side; a larger shift is a wrong peak, or another scene
REFINING_STEPS = 2  # at most; a third changes nothing
LARGEST_CORRECTION_PX = 1.0  # of the reduced frame: what leads farther from a peak is another one


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """What registration compares of a frame: work that need not be done again for the next frame.

    Attributes:
        edges: Gradient magnitude of the reduced frame, float32; None where the frame is too small for any.
        size_hw: H, W of the frame.
    """

    edges: NDArray[np.float32] | None
    size_hw: tuple[int, int]


def structure_of(frame: NDArray[np.float32]) -> Structure:
    """Give what `shift_between` compares of a frame ``(H, W)`` float32."""
    height, width = frame.shape
    if min(height, width) < SMALLEST_SIDE_PX:
        return Structure(None, (height, width))
    scale = min(1.0, LARGEST_SIDE_PX / max(height, width))
    edges = _edges(frame, scale)
    if min(edges.shape) < SMALLEST_REDUCED_PX:  # long and narrow
        return Structure(None, (height, width))
    return Structure(edges, (height, width))


def measured_shift(past: Structure, key: Structure) -> tuple[float, float] | None:
    """Measure how far a scene has moved from an earlier frame to a later one, and tell whether that can be told at all.

    Returns:
        x, y in pixels, as `camera_shift`; None where the frames share too little structure.

    Raises:
        FrameError: The frames differ in size.
    """
    if past.size_hw != key.size_hw:
        raise FrameError(f"frames of a window must be of one size, got {past.size_hw} and {key.size_hw}")
    if past.edges is None or key.edges is None:
        return None
    height, width = key.size_hw
    reduced_height, reduced_width = key.edges.shape
    fade = _fade(key.edges)  # not left to phaseCorrelate, which would write the product into what it is given
    (x, y), response = cv2.phaseCorrelate(past.edges * fade, key.edges * fade)
    smallest = max(SMALLEST_RESPONSE, NOISE_RESPONSE / math.sqrt(key.edges.size))
    clear = response >= smallest  # no number, of frames with levels beyond float32's, is not clear either
    if not clear or abs(x) > LARGEST_SHARE * reduced_width or abs(y) > LARGEST_SHARE * reduced_height:
        return None
    x, y = _refined(past.edges, key.edges, x, y)
    return x * width / reduced_width, y * height / reduced_height


def shift_between(past: Structure, key: Structure) -> tuple[float, float]:
    """Measure how far a scene has moved from an earlier frame to the one to register to.

    Returns:
        As `camera_shift`.

    Raises:
        FrameError: The frames differ in size.
    """
    return measured_shift(past, key) or (0.0, 0.0)


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
    return shift_between(structure_of(frame), structure_of(reference))


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
    reference = structure_of(key)
    return [
        *(key if frame is key else shifted(frame, *shift_between(structure_of(frame), reference)) for frame in past),
        key,
    ]


def shifted(frame: NDArray[np.float32], x: float, y: float) -> NDArray[np.float32]:
    """Move a frame ``(H, W)`` by x, y pixels; what moves in from outside repeats the border. (0, 0) gives it back."""
    if x == 0 and y == 0:
        return frame
    height, width = frame.shape
    # What warpAffine gives with linear interpolation, in a tenth of its time.
    moved = cv2.getRectSubPix(frame, (width, height), ((width - 1) / 2 - x, (height - 1) / 2 - y))
    return np.asarray(moved, dtype=np.float32)


def _edges(image: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Give the reduced image's gradient magnitude, limited so that a few strong edges do not decide alone."""
    reduced = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    smooth = cv2.GaussianBlur(reduced, (0, 0), 1.0)
    magnitude = cv2.magnitude(cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1))
    limit = np.float32(3 * magnitude.mean() + 1e-9)
    edges = np.minimum(magnitude, limit) - np.float32(magnitude.mean())
    # Limits are sharp: smoothed, the edges are much the same after a shift by half a pixel as after one by a whole.
    return np.asarray(cv2.GaussianBlur(edges, (3, 3), 0.85), dtype=np.float32)


def _fade(edges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give factors that fall to 0 at the border, where something has moved in or out."""
    height, width = edges.shape
    return np.asarray(cv2.createHanningWindow((width, height), cv2.CV_32F), dtype=np.float32)


def _refined(past: NDArray[np.float32], key: NDArray[np.float32], x: float, y: float) -> tuple[float, float]:
    """Improve a shift of edges by Gauss-Newton steps, as long as each leaves less of a difference than the one before.

    The centre of a correlation's peak is drawn towards whole pixels, by up to a third of one.
    """
    height, width = key.shape
    whole_x, whole_y = round(x), round(y)  # undone by cutting out what both frames show
    past = past[max(-whole_y, 0) : height - max(whole_y, 0), max(-whole_x, 0) : width - max(whole_x, 0)]
    key = key[max(whole_y, 0) : height - max(-whole_y, 0), max(whole_x, 0) : width - max(-whole_x, 0)]
    fade = _fade(key).ravel()
    slopes = np.stack([cv2.Sobel(key, cv2.CV_32F, *axis, ksize=1, scale=0.5).ravel() for axis in ((1, 0), (0, 1))])
    weighted = slopes * fade  # (2, H W)
    inverse = np.linalg.pinv(weighted @ slopes.T)  # 0 in a direction that no edge shows
    best, least = np.zeros(2), np.inf
    correction = best
    for _ in range(1 + REFINING_STEPS):
        left = (shifted(past, x - whole_x + correction[0], y - whole_y + correction[1]) - key).ravel()
        error = float((fade * left) @ left)
        if not error < least or np.abs(correction).max() > LARGEST_CORRECTION_PX:
            break
        best, least = correction, error
        correction = correction + inverse @ (weighted @ left)
    return x + float(best[0]), y + float(best[1])
