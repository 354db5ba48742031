"""Register past frames to the newest one, so that only what moves by itself has moved.

The motion of a camera far from its scene is, over a few frames, a shift. It is found on gradients (edges of scene and
cloud; a slow change of level takes no part) at a reduced size: by phase correlation to about a pixel of that size,
however far it is, then by least squares to a few hundredths of one. Where the frames share too little structure for a
clear peak, as in empty sky, nothing is shifted: there, nothing shows the motion either. Nor is anything where the few
places that agree best are all that does: those are targets, whose motion is not the camera's. (Over a scene almost as
smooth as clear sky, one a hundred times as bright as it may still pass for it.)

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
LARGEST_EDGE = 3.0  # of the mean edge
LEAST_EDGE = 0.01  # likewise: less is the far foot of a target in a sky without noise
EVENING_STEPS = 3  # a bright target raises the mean; limited again, it weighs as its size is
SMALLEST_RESPONSE = 0.2  # height of the peak: scenes and real frames give 0.6 to 1
NOISE_RESPONSE = 25.0  # noise gives up to this over the root of the number of pixels: 0.15 of a full-size frame
SMALLEST_SIDE_PX = 16  # of frames that have structure to speak of
SMALLEST_REDUCED_PX = 8  # of the shorter side: fewer rows show no motion across them
LARGEST_SHARE = 0.25  # of a side; a larger shift is a wrong peak, or another scene
REFINING_STEPS = 2  # at most; a third changes nothing
LARGEST_CORRECTION_PX = 1.0  # of the reduced frame: what leads farther from a peak is another one
CLEAR_CORRELATION = 0.5  # of scenes, but for targets
REST_CORRELATION = 13.0  # but for targets, noise correlates by up to that over the root of the number of pixels
SMALLEST_REST = 1e-4  # of the energy: less is what rounding leaves
PLACES_OF_TARGETS = 3  # that may move alike without being the scene
LARGEST_PLACE_PX = 31  # of the reduced frame: a bright target, its blur and its way between the frames
LARGEST_PLACE_SHARE = 0.25  # of the shorter side


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """What registration compares of a frame: work that need not be done again for the next frame.

    Attributes:
        edges: Gradient magnitude of the reduced frame, float32; None where the frame is too small for any.
        even_edges: The same, limited until bright targets do not outshine a scene; nor does a skyline the noise.
        size_hw: H, W of the frame.
    """

    edges: NDArray[np.float32] | None
    even_edges: NDArray[np.float32] | None
    size_hw: tuple[int, int]


def structure_of(frame: NDArray[np.float32]) -> Structure:
    """Give what `shift_between` compares of a frame ``(H, W)`` float32."""
    height, width = frame.shape
    if min(height, width) < SMALLEST_SIDE_PX:
        return Structure(None, None, (height, width))
    scale = min(1.0, LARGEST_SIDE_PX / max(height, width))
    edges, even_edges = _edges(frame, scale)
    if min(edges.shape) < SMALLEST_REDUCED_PX:  # long and narrow
        return Structure(None, None, (height, width))
    return Structure(edges, even_edges, (height, width))


def measured_shift(past: Structure, key: Structure) -> tuple[float, float] | None:
    """Measure how far a scene has moved from an earlier frame to a later one, and tell whether that can be told at all.

    Returns:
        x, y in pixels, as `camera_shift`; None where the frames share too little structure.

    Raises:
        FrameError: The frames differ in size.
    """
    if past.size_hw != key.size_hw:
        raise FrameError(f"frames of a window must be of one size, got {past.size_hw} and {key.size_hw}")
    if past.edges is None or past.even_edges is None or key.edges is None or key.even_edges is None:
        return None
    height, width = key.size_hw
    reduced_height, reduced_width = key.edges.shape
    found, agreement = _shift_of_scene(past.edges, key.edges)
    if agreement < CLEAR_CORRELATION:  # a target may have outshone a scene
        even, even_agreement = _shift_of_scene(past.even_edges, key.even_edges)
        found, agreement = max((found, agreement), (even, even_agreement), key=lambda one: one[1])
    if agreement < REST_CORRELATION / math.sqrt(key.edges.size):
        return None
    return found[0] * width / reduced_width, found[1] * height / reduced_height


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


def _edges(image: NDArray[np.float32], scale: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give the reduced image's gradient magnitude, limited so that a few strong edges do not decide alone.

    Returns:
        Limited by their mean, and by the mean of what is limited already; both less their mean.
    """
    reduced = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    smooth = cv2.GaussianBlur(reduced, (0, 0), 1.0)
    magnitude = cv2.magnitude(cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1))
    mean = magnitude.mean()
    once = even = np.minimum(magnitude, np.float32(LARGEST_EDGE) * mean)
    for _ in range(EVENING_STEPS):
        even = np.minimum(magnitude, np.maximum(np.float32(LARGEST_EDGE) * even.mean(), np.float32(LEAST_EDGE) * mean))
    return _smoothed(once), _smoothed(even)


def _smoothed(edges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take the mean and sharp limits out of edges: after a shift by half a pixel they are much the same then."""
    return np.asarray(cv2.GaussianBlur(edges - edges.mean(), (3, 3), 0.85), dtype=np.float32)


def _shift_of_scene(past: NDArray[np.float32], key: NDArray[np.float32]) -> tuple[tuple[float, float], float]:
    """Find the shift that edges agree on, in their pixels, and how well they do but for a few places, in [-1, 1]."""
    fade = _fade(key)
    found = _common_shift(past, key, fade)
    return ((0.0, 0.0), -1.0) if found is None else (found, _agreement_but_for_targets(past, key, fade, *found))


def _common_shift(
    past: NDArray[np.float32], key: NDArray[np.float32], fade: NDArray[np.float32]
) -> tuple[float, float] | None:
    """Find the shift that most of the edges agree on, be they the scene's or a target's; None if it is not clear."""
    height, width = key.shape
    # Not left to phaseCorrelate, which would write the product into what it is given.
    (x, y), response = cv2.phaseCorrelate(past * fade, key * fade)
    smallest = max(SMALLEST_RESPONSE, NOISE_RESPONSE / math.sqrt(key.size))
    clear = response >= smallest  # no number, of frames with levels beyond float32's, is not clear either
    if not clear or abs(x) > LARGEST_SHARE * width or abs(y) > LARGEST_SHARE * height:
        return None
    return _refined(past, key, x, y)


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


def _agreement_but_for_targets(
    past: NDArray[np.float32], key: NDArray[np.float32], fade: NDArray[np.float32], x: float, y: float
) -> float:
    """Give how well edges agree after a shift, in [-1, 1], where those places are left out that agree best.

    Scenes of 320 x 256 give 0.85 to 1.
    """
    side = min(LARGEST_PLACE_PX, LARGEST_PLACE_SHARE * min(key.shape))
    reach = max(1, round(side / 2))
    moved, weight = shifted(past, x, y), fade.copy()
    agreeing = cv2.GaussianBlur(moved * key * weight, (0, 0), side / 8)
    of_all = _norm(moved, key, weight)
    for _ in range(PLACES_OF_TARGETS):
        column, row = cv2.minMaxLoc(agreeing)[3]
        place = slice(max(row - reach, 0), row + reach + 1), slice(max(column - reach, 0), column + reach + 1)
        weight[place] = 0
        agreeing[place] = -np.inf
    total = max(float(weight.sum()), 1e-9)
    moved = moved - float((moved * weight).sum()) / total
    key = key - float((key * weight).sum()) / total
    norm = max(_norm(moved, key, weight), SMALLEST_REST * of_all, 1e-30)
    return float((moved * key * weight).sum()) / norm


def _norm(a: NDArray[np.float32], b: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    """Give what the weighted sum of products of two maps is at most."""
    return math.sqrt(float((a * a * weight).sum()) * float((b * b * weight).sum()))
