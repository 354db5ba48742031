"""What the camera did between two frames of a stream.

Legend: H W pixels of the frame.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame
from loddis_runtime.registration import Structure, measured_shift, structure_of

__all__ = ["CameraMotion"]

MARGIN_PX = 2.0  # around a target, of the reduced frame: the blur around it moves with it
MOST_TARGETS = 64
NO_TARGETS = np.empty((0, 4))
REDUCED_SIDE_PX = 160  # half of the usual 320: what is left of the shift's error is a fraction of a pixel


class CameraMotion:
    """Measures how far the scene moves over the frame, by phase correlation of gradients of the reduced frames.

    A shift is all that is measured: of a camera far from its scene, rotation about the line of sight and zoom are small
    from one frame to the next. Where the frames share too little structure, as in empty sky, nothing is measured, and
    nothing is made up. Targets are taken out first: over empty sky they would be all there is to follow. A fixed
    pattern of the sensor (stripes, bad pixels) stands still however the camera moves: in a scene that shows next to
    nothing else, it can pass for a scene that stands still.
    """

    def __init__(self) -> None:
        self._last: Structure | None = None
        self._last_size_hw: tuple[int, ...] | None = None

    def update(self, frame: Frame, targets_xyxy: NDArray[np.floating] = NO_TARGETS) -> tuple[float, float] | None:
        """Take the next frame.

        Args:
            frame: ``(H, W)``.
            targets_xyxy: ``(N, 4)`` boxes of what moves by itself, pixels.

        Returns:
            x, y: what stood at p in the frame before stands at p + (x, y) in this one, pixels. None for the first
            frame, for one of another size than the one before, and where nothing tells.
        """
        factor = max(1, round(max(frame.shape) / REDUCED_SIDE_PX))
        structure = structure_of(_without_targets(_reduced(frame, factor), frame.shape, targets_xyxy))
        past, past_size_hw = self._last, self._last_size_hw
        self._last, self._last_size_hw = structure, frame.shape
        if past is None or past_size_hw != frame.shape:
            return None
        shift = measured_shift(past, structure)
        if shift is None:
            return None
        height, width = frame.shape
        reduced_height, reduced_width = structure.size_hw
        return shift[0] * width / reduced_width, shift[1] * height / reduced_height

    def reset(self) -> None:
        """Forget the last frame."""
        self._last = self._last_size_hw = None


def _without_targets(
    reduced: NDArray[np.float32], size_hw: tuple[int, ...], targets_xyxy: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Level out boxes, given in pixels of the whole frame, to the mean of what is around each; in place."""
    height, width = reduced.shape
    scale = np.array([width / size_hw[1], height / size_hw[0]] * 2)
    inner = targets_xyxy[:MOST_TARGETS] * scale + (-MARGIN_PX, -MARGIN_PX, MARGIN_PX, MARGIN_PX)
    corners = np.clip(np.round(inner).astype(int), 0, (width, height, width, height))
    for x1, y1, x2, y2 in corners.tolist():
        ring = reduced[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1]
        inside = reduced[y1:y2, x1:x2]
        if inside.size and ring.size > inside.size:
            inside[:] = (ring.sum() - inside.sum()) / (ring.size - inside.size)
    return reduced


def _reduced(frame: Frame, factor: int) -> NDArray[np.float32]:
    """Give the frame as float32, reduced by a whole factor; levels as they are."""
    if factor == 1:
        return frame.astype(np.float32)
    height, width = frame.shape
    size = (max(1, width // factor), max(1, height // factor))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
