"""Arithmetic on boxes ``x1, y1, x2, y2`` in pixels, origin at the top-left corner of the top-left pixel.

Legend: N M boxes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["box_centres", "clip_boxes", "pairwise_centre_distance", "pairwise_iou"]

Boxes = NDArray[np.floating[Any]]


def pairwise_iou(a_xyxy: Boxes, b_xyxy: Boxes) -> NDArray[np.float64]:
    """Intersection over union of every box of `a` with every box of `b`.

    Args:
        a_xyxy: ``(N, 4)``.
        b_xyxy: ``(M, 4)``.

    Returns:
        ``(N, M)`` in [0, 1]. A box without area overlaps nothing, itself included.
    """
    a, b = _as_boxes(a_xyxy, "a_xyxy"), _as_boxes(b_xyxy, "b_xyxy")
    # Each axis by itself: arithmetic along rows is several times faster than over pairs of numbers.
    width = np.minimum(a[:, 2, None], b[:, 2]) - np.maximum(a[:, 0, None], b[:, 0])  # (N, M)
    height = np.minimum(a[:, 3, None], b[:, 3]) - np.maximum(a[:, 1, None], b[:, 1])
    intersection = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    union = _areas(a)[:, None] + _areas(b) - intersection
    iou: NDArray[np.float64] = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return iou


def box_centres(boxes_xyxy: Boxes) -> NDArray[np.float64]:
    """Give the centres ``(N, 2)`` x, y of boxes ``(N, 4)``."""
    boxes = _as_boxes(boxes_xyxy, "boxes_xyxy")
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def pairwise_centre_distance(a_xyxy: Boxes, b_xyxy: Boxes) -> NDArray[np.float64]:
    """Euclidean distance between the centres of every box of `a` ``(N, 4)`` and of `b` ``(M, 4)``.

    Targets of a few pixels have next to no overlap with a box that is one pixel off; the distance of the centres still
    says that they are the same.

    Returns:
        ``(N, M)`` pixels.
    """
    a, b = box_centres(a_xyxy), box_centres(b_xyxy)
    x, y = a[:, 0, None] - b[:, 0], a[:, 1, None] - b[:, 1]  # (N, M)
    distance: NDArray[np.float64] = np.sqrt(x * x + y * y)
    return distance


def clip_boxes(boxes_xyxy: Boxes, size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Cut boxes ``(N, 4)`` to a frame of H, W pixels; what lies outside ends as a box without area on the border."""
    height, width = size_hw
    limits = np.array([width, height, width, height], dtype=np.float64)
    return np.clip(_as_boxes(boxes_xyxy, "boxes_xyxy"), 0.0, limits)


def _as_boxes(boxes: Boxes, name: str) -> NDArray[np.float64]:
    """Check the shape, and compute in double precision."""
    array = np.asarray(boxes, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name} must be (N, 4), got {array.shape}")
    return array


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas ``(N,)``; zero where a box is turned inside out."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    return np.asarray(sides[:, 0] * sides[:, 1], dtype=np.float64)
