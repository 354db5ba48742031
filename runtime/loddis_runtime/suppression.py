"""What several detections of one target come to: which to keep, and the box that they agree on.

Legend: N candidates, M kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.boxes import pairwise_centre_distance, pairwise_iou

__all__ = ["average_boxes", "suppress"]


def suppress(
    boxes_xyxy: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]],
    class_ids: NDArray[Any],
    *,
    iou_threshold: float,
    centre_distance_px: float,
    max_detections: int,
) -> NDArray[np.intp]:
    """Keep the best of every group of candidates that mean the same target.

    Greedy, best score first, each class for itself: a kept candidate removes those of its class that overlap it by more
    than `iou_threshold`, or whose centre is nearer than `centre_distance_px`. Overlap alone misses the duplicates of a
    target of a few pixels, where a shift by two leaves almost none.

    Args:
        boxes_xyxy: ``(N, 4)`` pixels.
        scores: ``(N,)``. Candidates of equal score rank in the order given.
        class_ids: ``(N,)``.
        iou_threshold: In [0, 1]; 1 turns the test by overlap off.
        centre_distance_px: At least 0; 0 turns the test by distance off. In the pixels of the boxes.
        max_detections: Stop after this many.

    Returns:
        Indices of the kept candidates, best first, at most `max_detections`.

    Raises:
        ValueError: Shapes that do not belong together.
    """
    count = len(boxes_xyxy)
    if boxes_xyxy.shape != (count, 4) or scores.shape != (count,) or class_ids.shape != (count,):
        raise ValueError(
            "suppression needs boxes (N, 4), scores (N,) and class_ids (N,), "
            f"got {boxes_xyxy.shape}, {scores.shape} and {class_ids.shape}"
        )
    order = np.argsort(-scores, kind="stable")
    boxes, classes = boxes_xyxy[order], class_ids[order]
    same = pairwise_iou(boxes, boxes) > iou_threshold  # (N, N)
    same |= pairwise_centre_distance(boxes, boxes) < centre_distance_px
    same &= classes[:, None] == classes[None, :]
    # Whoever a kept candidate of a better rank removes is not kept. Repeated from a first guess, this is right for one
    # more link of each chain of neighbours at every turn, and ends with what going through them one by one gives.
    ranks = np.arange(count)
    removes = same & (ranks[:, None] < ranks)  # (N, N): whom a candidate removes if it is kept
    kept = np.logical_not(removes.any(axis=0))  # whom nobody can remove
    before = np.ones_like(kept)
    while (kept != before).any():
        kept, before = np.logical_not(removes[kept].any(axis=0)), kept
    return order[kept][:max_detections]


def average_boxes(
    kept_xyxy: NDArray[np.floating[Any]],
    kept_class_ids: NDArray[Any],
    boxes_xyxy: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]],
    class_ids: NDArray[Any],
    *,
    iou_threshold: float,
) -> NDArray[np.float32]:
    """Replace kept boxes by the mean, weighted by score, of all candidates that mean the same target.

    The grid points around a target each guess its box. Where labels are loose, the best-scored guess is no better a box
    than its neighbours', and their mean is better than any.

    Args:
        kept_xyxy: ``(M, 4)`` pixels.
        kept_class_ids: ``(M,)``.
        boxes_xyxy: ``(N, 4)`` pixels, all candidates, the kept among them.
        scores: ``(N,)`` at least 0.
        class_ids: ``(N,)``.
        iou_threshold: Overlap with the kept box from which on a candidate of its class counts, in (0, 1].

    Returns:
        ``(M, 4)``; a box that nothing overlaps stays as it is.

    References:
        Gidaris and Komodakis 2015, arXiv:1505.01749 (box voting).
    """
    weights = (pairwise_iou(kept_xyxy, boxes_xyxy) >= iou_threshold) & (kept_class_ids[:, None] == class_ids[None])
    weights = weights * np.asarray(scores, dtype=np.float64)  # (M, N)
    total = weights.sum(axis=1, keepdims=True)
    mean = np.divide(weights @ boxes_xyxy, total, out=np.array(kept_xyxy, dtype=np.float64), where=total > 0)
    return np.asarray(mean, dtype=np.float32)
