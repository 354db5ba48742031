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
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])  # (N, M, 2)
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])  # (N, M, 2)
    intersection = np.clip(bottom_right - top_left, 0.0, None).prod(axis=2)  # (N, M)
    union = _areas(a)[:, None] + _areas(b)[None, :] - intersection
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
    offsets = box_centres(a_xyxy)[:, None] - box_centres(b_xyxy)[None]  # (N, M, 2)
    return np.asarray(np.hypot(offsets[..., 0], offsets[..., 1]), dtype=np.float64)


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
    return np.asarray(np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None).prod(axis=1), dtype=np.float64)
