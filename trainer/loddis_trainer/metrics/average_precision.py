"""COCO's average precision at an IoU of 0.5, and the precision-recall curve that it is the area under.

Detections of a class are ranked by score over all frames; each takes the free target that it overlaps most, if by an
IoU of 0.5 or more: a hit. With hits so far TP, detections so far n, and G targets,

    P = TP / n           precision, in [0, 1]
    R = TP / G           recall, in [0, 1]
    AP = 1/101 · Σ over r in {0, 0.01, …, 1} of max{ P : R ≥ r }          in [0, 1]

At most 100 detections of a frame and class count, as in COCO. Of equal scores the earlier frame ranks first, so the
order of frames matters where scores tie, and nowhere else.

Legend: N detections of a class, D detections, G ground truths of all frames.

References:
    Lin et al. 2014, Microsoft COCO, arXiv:1405.0312; a test holds all of this equal to a public evaluator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.metrics.images import FramePool, ImageResult, pool_frames
from loddis_trainer.metrics.matching import Pairs, match_greedily, pairs_by_overlap

__all__ = [
    "MOST_DETECTIONS",
    "RECALL_POINTS",
    "Membership",
    "PrecisionRecall",
    "class_curves",
    "mean_average_precision",
    "mean_over_classes",
    "precision_recall",
]

RECALL_POINTS = np.linspace(0, 1, 101)
MOST_DETECTIONS = 100  # of a frame and class, as COCO counts


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionRecall:
    """Precision and recall of one class as the score threshold falls.

    Attributes:
        scores: ``(N,)`` falling, all detections of the class.
        hits: ``(N,)`` bool.
        targets: Number of ground truths.
    """

    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    targets: int

    @property
    def recall(self) -> NDArray[np.float64]:
        """``(N,)`` R = hits so far / targets, in [0, 1]; NaN without ground truth."""
        if not self.targets:
            return np.full(len(self.hits), np.nan)
        return np.asarray(np.cumsum(self.hits) / self.targets, dtype=np.float64)

    @property
    def precision(self) -> NDArray[np.float64]:
        """``(N,)`` P = hits so far / detections so far, in [0, 1]."""
        return np.asarray(np.cumsum(self.hits) / np.arange(1, len(self.hits) + 1), dtype=np.float64)

    def interpolated_precision(self) -> NDArray[np.float64]:
        """``(101,)`` the best P at each recall of 0, 0.01, … 1 or any higher one; 0 where none is reached.

        All NaN without ground truth.
        """
        if not self.targets:
            return np.full(len(RECALL_POINTS), np.nan)
        envelope = np.append(np.maximum.accumulate(self.precision[::-1])[::-1], 0.0)
        return envelope[np.searchsorted(self.recall, RECALL_POINTS, side="left")]

    def average_precision(self) -> float:
        """AP: the mean over the 101 recall points, in [0, 1]; NaN without ground truth."""
        return float(self.interpolated_precision().mean())

    def above(self, score_threshold: float) -> PrecisionRecall:
        """Keep the detections with a score of at least the threshold."""
        reported = int(np.searchsorted(-self.scores, -score_threshold, side="right"))
        return PrecisionRecall(self.scores[:reported], self.hits[:reported], self.targets)


@dataclass(frozen=True, slots=True, eq=False)
class Membership:
    """What belongs to a group of targets; the rest is ignored: neither to be found nor false to find.

    Attributes:
        detections: ``(D,)`` bool: detections that are false alarms of this group if they hit nothing.
        targets: ``(G,)`` bool.
    """

    detections: NDArray[np.bool_]
    targets: NDArray[np.bool_]


def class_curves(pool: FramePool, pairs: Pairs, *, group: Membership | None = None) -> dict[int, PrecisionRecall]:
    """Match once, and give the curve of every class that has ground truth (in the group, if one is given).

    Args:
        pool: All frames, at most `MOST_DETECTIONS` of a frame and class.
        pairs: Its detections and targets that overlap enough.
        group: Only these targets, as COCO does for areas: hits on other targets and false alarms that do not belong
            to the group do not count.
    """
    wanted = np.ones(len(pool.truth_class_ids), dtype=bool) if group is None else group.targets
    matched = match_greedily(pool, pairs, ignored=~wanted)
    hits = matched >= 0
    counted = np.ones(len(hits), dtype=bool)
    if group is not None:
        counted = np.where(hits, np.append(wanted, False)[matched], group.detections)
    curves = {}
    for label in np.unique(pool.truth_class_ids[wanted]):
        mine = np.flatnonzero((pool.class_ids == label) & counted)
        mine = mine[np.argsort(-pool.scores[mine], kind="stable")]
        targets = int((pool.truth_class_ids[wanted] == label).sum())
        curves[int(label)] = PrecisionRecall(pool.scores[mine], hits[mine], targets)
    return curves


def mean_over_classes(curves: dict[int, PrecisionRecall]) -> float:
    """Mean AP, in [0, 1]; NaN if no class has ground truth."""
    if not curves:
        return math.nan
    return float(np.mean([curve.average_precision() for curve in curves.values()]))


def precision_recall(results: Sequence[ImageResult], *, class_id: int, iou_threshold: float = 0.5) -> PrecisionRecall:
    """Give the precision-recall curve of a class.

    Args:
        results: All frames, those without targets too.
        class_id: The class.
        iou_threshold: Overlap from which a detection hits, in (0, 1].
    """
    pool = pool_frames(results).best(MOST_DETECTIONS)
    curves = class_curves(pool, pairs_by_overlap(pool, iou_threshold=iou_threshold))
    if class_id in curves:
        return curves[class_id]
    scores = np.sort(pool.scores[pool.class_ids == class_id])[::-1]
    return PrecisionRecall(scores, np.zeros(len(scores), dtype=bool), 0)


def mean_average_precision(results: Sequence[ImageResult], *, iou_threshold: float = 0.5) -> float:
    """mAP50: AP averaged over the classes that have ground truth, in [0, 1]; NaN if none has.

    Args:
        results: All frames, with detections down to a low score.
        iou_threshold: Overlap from which a detection hits, in (0, 1].
    """
    pool = pool_frames(results).best(MOST_DETECTIONS)
    return mean_over_classes(class_curves(pool, pairs_by_overlap(pool, iou_threshold=iou_threshold)))
