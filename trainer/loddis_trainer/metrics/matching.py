"""Which detection is which target's: greedy, best score first, one to one, over all frames at once.

Only pairs that could match are kept (same frame, same class, near enough), which are few: the walk over them is short
however many detections there are.

Legend: D detections, G ground truths of all frames, P pairs of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.boxes import box_centres
from loddis_trainer.metrics.images import FramePool

__all__ = ["Pairs", "match_greedily", "pairs_by_distance", "pairs_by_overlap"]

PAIRS_AT_ONCE = 1_000_000  # bounds the memory that crowded frames take
ALMOST_ONE = 1 - 1e-10  # COCO's evaluator asks for no more overlap than this, so that rounding forgives equal boxes


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Detections and targets that may match.

    Attributes:
        detections: ``(P,)`` index of the detection.
        targets: ``(P,)`` index of the target.
        affinity: ``(P,)`` how well they fit, larger is better: IoU, or minus the distance of the centres.
    """

    detections: NDArray[np.int64]
    targets: NDArray[np.int64]
    affinity: NDArray[np.float64]


def pairs_by_overlap(pool: FramePool, *, iou_threshold: float) -> Pairs:
    """Pair each detection with the targets of its frame and class that it overlaps enough.

    Args:
        pool: All frames.
        iou_threshold: Least IoU, in (0, 1].

    Raises:
        ValueError: A threshold outside (0, 1].
    """
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be in (0, 1], got {iou_threshold}")
    least = min(iou_threshold, ALMOST_ONE)
    found = []
    for detections, targets in _same_frame_and_class(pool):
        iou = _paired_iou(pool.boxes_xyxy[detections], pool.truth_boxes_xyxy[targets])
        near = iou >= least
        found.append(Pairs(detections[near], targets[near], iou[near]))
    return _join(found)


def pairs_by_distance(pool: FramePool, *, centre_distance_px: float) -> Pairs:
    """Pair each detection with the targets of its frame and class whose centre is near enough.

    Args:
        pool: All frames.
        centre_distance_px: Largest distance of the centres, frame pixels.

    Raises:
        ValueError: A distance that is not above 0.
    """
    if not centre_distance_px > 0:
        raise ValueError(f"centre_distance_px must be above 0, got {centre_distance_px}")
    centres, truth_centres = box_centres(pool.boxes_xyxy), box_centres(pool.truth_boxes_xyxy)
    found = []
    for detections, targets in _same_frame_and_class(pool):
        distance = np.hypot(*(centres[detections] - truth_centres[targets]).T)
        near = distance <= centre_distance_px
        found.append(Pairs(detections[near], targets[near], -distance[near]))
    return _join(found)


def match_greedily(pool: FramePool, pairs: Pairs, *, ignored: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Give each detection the free target that it fits best, detections of high score choosing first.

    Equal scores choose in the order they come in; of equally fitting targets the last is taken, and an ignored one only
    where no other fits: all as in COCO's evaluator.

    Args:
        pool: All frames.
        pairs: What may match.
        ignored: ``(G,)`` targets that are neither to be found nor false to find; none if not given.

    Returns:
        ``(D,)`` index of the target, −1 where there is none.
    """
    last_choice = np.zeros(len(pairs.targets), dtype=bool) if ignored is None else ignored[pairs.targets]
    scores = pool.scores[pairs.detections]
    order = np.lexsort((-pairs.targets, -pairs.affinity, last_choice, pairs.detections, -scores))
    matched = np.full(len(pool.scores), -1, dtype=np.int64)
    has_target, is_taken = bytearray(len(pool.scores)), bytearray(len(pool.truth_class_ids))
    for detection, target in zip(pairs.detections[order].tolist(), pairs.targets[order].tolist(), strict=True):
        if not (is_taken[target] or has_target[detection]):
            matched[detection] = target
            has_target[detection] = is_taken[target] = 1
    return matched


def _same_frame_and_class(pool: FramePool) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Give indices of detections and targets that share frame and class, some at a time."""
    labels = np.unique(np.concatenate((pool.class_ids, pool.truth_class_ids)))
    keys = pool.frame_ids * len(labels) + np.searchsorted(labels, pool.class_ids)
    truth_keys = pool.truth_frame_ids * len(labels) + np.searchsorted(labels, pool.truth_class_ids)
    by_key = np.argsort(truth_keys, kind="stable")
    first = np.searchsorted(truth_keys[by_key], keys, side="left")
    counts = np.searchsorted(truth_keys[by_key], keys, side="right") - first  # (D,) targets each could match
    part = np.cumsum(counts) // PAIRS_AT_ONCE
    for number in np.unique(part[counts > 0]):
        some = np.flatnonzero((part == number) & (counts > 0))
        detections = np.repeat(some, counts[some])
        within = np.arange(len(detections)) - np.repeat(np.cumsum(counts[some]) - counts[some], counts[some])
        yield detections, by_key[np.repeat(first[some], counts[some]) + within]


def _paired_iou(a_xyxy: NDArray[np.float64], b_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of boxes ``(P, 4)`` with as many others, row by row: ``(P,)``."""
    corners = np.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - np.maximum(a_xyxy[:, :2], b_xyxy[:, :2])
    intersection = np.clip(corners, 0.0, None).prod(axis=1)
    union = (a_xyxy[:, 2:] - a_xyxy[:, :2]).prod(axis=1) + (b_xyxy[:, 2:] - b_xyxy[:, :2]).prod(axis=1) - intersection
    return np.asarray(np.divide(intersection, union, out=np.zeros_like(union), where=union > 0), dtype=np.float64)


def _join(parts: list[Pairs]) -> Pairs:
    nothing = np.empty(0, dtype=np.int64)
    return Pairs(
        np.concatenate([nothing, *(part.detections for part in parts)]),
        np.concatenate([nothing, *(part.targets for part in parts)]),
        np.concatenate([np.empty(0), *(part.affinity for part in parts)]),
    )
