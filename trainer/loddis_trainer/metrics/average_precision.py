"""COCO's average precision at IoU 0.5.

Legend: N detections, M ground truths of a frame; P precision, R recall.

References:
    Lin et al. 2014, Microsoft COCO, arXiv:1405.0312; parity with a public evaluator is held by a test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.boxes import pairwise_iou
from loddis_trainer.metrics.images import ImageResult
from loddis_trainer.metrics.matching import match_greedily

__all__ = ["RECALL_POINTS", "PrecisionRecall", "mean_average_precision", "precision_recall"]

RECALL_POINTS = np.linspace(0, 1, 101)
MOST_DETECTIONS = 100  # a frame, as COCO counts


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionRecall:
    """Precision and recall of one class as the score threshold falls.

    Attributes:
        scores: ``(D,)`` falling, all detections of the class.
        hits: ``(D,)`` bool.
        targets: Number of ground truths.
    """

    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    targets: int

    @property
    def recall(self) -> NDArray[np.float64]:
        """``(D,)`` R = hits so far / targets, in [0, 1]."""
        return np.asarray(np.cumsum(self.hits) / max(1, self.targets), dtype=np.float64)

    @property
    def precision(self) -> NDArray[np.float64]:
        """``(D,)`` P = hits so far / detections so far, in [0, 1]."""
        return np.asarray(np.cumsum(self.hits) / np.arange(1, len(self.hits) + 1), dtype=np.float64)

    def interpolated_precision(self) -> NDArray[np.float64]:
        """``(101,)`` the best precision at each recall of 0, 0.01, … 1 or any higher one; 0 where it is not reached."""
        envelope = np.maximum.accumulate(self.precision[::-1])[::-1]
        at = np.searchsorted(self.recall, RECALL_POINTS, side="left")
        return np.where(at < len(envelope), np.append(envelope, 0.0)[np.minimum(at, len(envelope))], 0.0)

    def average_precision(self) -> float:
        """AP: the mean over the 101 recall points, in [0, 1]; NaN without ground truth."""
        return float(self.interpolated_precision().mean()) if self.targets else math.nan


def precision_recall(results: Sequence[ImageResult], *, class_id: int, iou_threshold: float = 0.5) -> PrecisionRecall:
    """Match the detections of a class, frame by frame, and rank all of them by score.

    Args:
        results: All frames, those without targets too.
        class_id: The class.
        iou_threshold: Overlap from which a detection hits, in (0, 1].
    """
    scores: list[NDArray[np.float64]] = []
    hits: list[NDArray[np.bool_]] = []
    targets = 0
    for result in results:
        mine = result.class_ids == class_id
        theirs = result.truth_class_ids == class_id
        targets += int(theirs.sum())
        if not mine.any():
            continue
        best = np.argsort(-result.scores[mine], kind="stable")[:MOST_DETECTIONS]
        of_frame = result.scores[mine][best].astype(np.float64)
        overlaps = pairwise_iou(result.boxes_xyxy[mine][best], result.truth_boxes_xyxy[theirs])
        scores.append(of_frame)
        hits.append(match_greedily(overlaps, of_frame, at_least=iou_threshold) >= 0)
    if not scores:
        return PrecisionRecall(np.empty(0), np.empty(0, dtype=bool), targets)
    together = np.concatenate(scores)
    order = np.argsort(-together, kind="stable")
    return PrecisionRecall(together[order], np.concatenate(hits)[order], targets)


def mean_average_precision(results: Sequence[ImageResult], *, iou_threshold: float = 0.5) -> float:
    """mAP50: AP averaged over the classes that have ground truth, in [0, 1]; NaN if none has.

    Args:
        results: All frames.
        iou_threshold: Overlap from which a detection hits.
    """
    classes = {int(label) for result in results for label in result.truth_class_ids}
    if not classes:
        return math.nan
    curves = (precision_recall(results, class_id=c, iou_threshold=iou_threshold) for c in sorted(classes))
    return float(np.mean([curve.average_precision() for curve in curves]))
