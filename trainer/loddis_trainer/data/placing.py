"""Where in a training frame one more target goes, and how it joins those that are there.

Legend: T frames of the window, oldest first; H W pixels of the frame; M ground truths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST_SNR", "Labelled", "Window", "find_place", "with_target"]

PLACES_TRIED = 8
LEAST_SNR = 2.0  # below it no target is labelled

Window = list[NDArray[np.float32]]
Labelled = tuple[Window, NDArray[np.float32], NDArray[np.int64]]
"""T arrays ``(H, W)`` float32 in [0, 1], ``(M, 4)`` boxes of the last of them, ``(M,)`` class ids."""

Place = TypeVar("Place")


def find_place(
    propose: Callable[[], tuple[Place, NDArray[np.floating]]], boxes_xyxy: NDArray[np.float32], size_hw: tuple[int, int]
) -> tuple[Place, NDArray[np.floating]] | None:
    """Take the first of eight proposals that lies within the frame and touches no box; none where there is none.

    Args:
        propose: Gives a place, whatever that is, and what it covers, ``(4,)`` pixels.
        boxes_xyxy: ``(M, 4)`` of what is there.
        size_hw: H, W of the frame.
    """
    height, width = size_hw
    for _ in range(PLACES_TRIED):
        place, covered = propose()
        inside = (covered[:2] >= 0).all() and (covered[2:] <= (width, height)).all()
        if inside and _is_free(covered, boxes_xyxy):
            return place, covered
    return None


def with_target(
    frames: Window, boxes_xyxy: NDArray[np.float32], labels: NDArray[np.int64], box: NDArray[np.floating], label: int
) -> Labelled:
    """Give frames, boxes and labels with one more target."""
    return frames, np.vstack((boxes_xyxy, box)).astype(np.float32), np.append(labels, label)


def _is_free(place_xyxy: NDArray[np.floating], boxes_xyxy: NDArray[np.float32]) -> bool:
    """Tell whether a place touches no box."""
    apart = (boxes_xyxy[:, :2] >= place_xyxy[2:]).any(axis=1) | (boxes_xyxy[:, 2:] <= place_xyxy[:2]).any(axis=1)
    return bool(apart.all())
