"""Fit a frame into the network's size, aspect kept, and map boxes both ways.

Legend: H W pixels of the frame; h w pixels of the network; N boxes. The origin of coordinates is the top-left corner of
the top-left pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.errors import ConfigError

__all__ = ["FILL", "LetterboxTransform", "letterbox"]

FILL = 0.5  # level of the padding


@dataclass(frozen=True, slots=True)
class LetterboxTransform:
    """``network = frame * scale + pad``, in both axes alike.

    Attributes:
        scale: Network pixels per frame pixel.
        pad_x: Network pixels left of the frame.
        pad_y: Network pixels above the frame.
    """

    scale: float
    pad_x: float
    pad_y: float

    @classmethod
    def fit(cls, frame_size_hw: tuple[int, int], net_size_hw: tuple[int, int]) -> LetterboxTransform:
        """Find the transform that shows the whole frame, as large as it goes, centred.

        Raises:
            ConfigError: A side below one pixel.
        """
        if min(*frame_size_hw, *net_size_hw) < 1:
            raise ConfigError(f"sizes must be at least 1 x 1, got frame {frame_size_hw} and network {net_size_hw}")
        height, width = frame_size_hw
        scale = min(net_size_hw[0] / height, net_size_hw[1] / width)
        inner_height, inner_width = _inner_size(frame_size_hw, net_size_hw, scale)
        return cls(scale, float((net_size_hw[1] - inner_width) // 2), float((net_size_hw[0] - inner_height) // 2))

    def to_network(self, boxes_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map boxes ``(N, 4)``, or points ``(N, 2)``, from frame to network pixels."""
        pads = np.array([self.pad_x, self.pad_y] * (boxes_xyxy.shape[-1] // 2))
        mapped: NDArray[np.float64] = np.asarray(boxes_xyxy, dtype=np.float64) * self.scale + pads
        return mapped

    def to_frame(self, boxes_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map boxes ``(N, 4)``, or points ``(N, 2)``, from network to frame pixels."""
        pads = np.array([self.pad_x, self.pad_y] * (boxes_xyxy.shape[-1] // 2))
        mapped: NDArray[np.float64] = (np.asarray(boxes_xyxy, dtype=np.float64) - pads) / self.scale
        return mapped


def letterbox(
    frame: NDArray[np.float32], net_size_hw: tuple[int, int], *, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Resize a frame into the network's size by `LetterboxTransform.fit`, bilinear, the rest filled with 0.5.

    Args:
        frame: ``(H, W)`` float32 in [0, 1].
        net_size_hw: h, w.
        out: Where to write, ``(h, w)`` float32.

    Returns:
        ``(h, w)`` float32 in [0, 1]; `out` if given.
    """
    height, width = frame.shape
    target = np.empty(net_size_hw, dtype=np.float32) if out is None else out
    if (height, width) == net_size_hw:
        np.copyto(target, frame)
        return target
    transform = LetterboxTransform.fit((height, width), net_size_hw)
    inner_height, inner_width = _inner_size((height, width), net_size_hw, transform.scale)
    top, left = int(transform.pad_y), int(transform.pad_x)
    target.fill(FILL)
    target[top : top + inner_height, left : left + inner_width] = _resize(
        frame, transform.scale, inner_height, inner_width
    )
    return target


def _inner_size(frame_size_hw: tuple[int, int], net_size_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    """Give the size of the scaled frame, whole pixels, never empty, never over the network's."""
    height = min(net_size_hw[0], max(1, round(frame_size_hw[0] * scale)))
    width = min(net_size_hw[1], max(1, round(frame_size_hw[1] * scale)))
    return height, width


def _resize(frame: NDArray[np.float32], scale: float, height: int, width: int) -> NDArray[np.float32]:
    """Sample the frame at exactly `scale`, as boxes are mapped; its rounded size alone would stretch it a little."""
    if scale == 1.0:
        return frame[:height, :width]
    if round(frame.shape[0] * scale) < 1 or round(frame.shape[1] * scale) < 1:
        return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    # Given a size, OpenCV would derive the scale from it; given factors, it samples by the factors.
    resized = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized[:height, :width], dtype=np.float32)
