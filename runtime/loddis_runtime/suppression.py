"""Which of several detections of one target to keep.

Legend: N candidates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.boxes import pairwise_centre_distance, pairwise_iou

__all__ = ["suppress"]


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
    alive = np.ones(count, dtype=np.bool_)
    kept: list[int] = []
    for rank in range(count):
        if len(kept) == max_detections:
            break
        if alive[rank]:
            kept.append(rank)
            alive &= ~same[rank]
    return order[kept]
