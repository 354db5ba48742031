"""Pr, Re and F1 as the field reports them, at one score threshold.

    Re  recall at IoU 0.5 of the detections with a score of at least the threshold
    Pr  mean interpolated precision over those of the 101 recall points that Re reaches
    F1  2 · Pr · Re / (Pr + Re)

so that mAP50 ≈ Pr × Re, which holds for the rows of the paper's table 1. Beside them stand the plain counts: hits over
detections, which no one should confuse with Pr.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loddis_trainer.metrics.average_precision import RECALL_POINTS, PrecisionRecall, precision_recall
from loddis_trainer.metrics.images import ImageResult

__all__ = ["PaperScores", "paper_scores"]


@dataclass(frozen=True, slots=True)
class PaperScores:
    """The field's scores, means over the classes that have ground truth; NaN where undefined.

    Attributes:
        pr: Mean interpolated precision up to `re`, in [0, 1].
        re: Recall at the threshold, in [0, 1].
        f1: Harmonic mean of both.
        plain_precision: Hits / detections at the threshold, in [0, 1]; NaN without detections.
    """

    pr: float
    re: float
    f1: float
    plain_precision: float


def paper_scores(results: Sequence[ImageResult], *, score_threshold: float, iou_threshold: float = 0.5) -> PaperScores:
    """Compute Pr, Re and F1.

    Args:
        results: All frames; detections below the threshold take part in no score but may be there.
        score_threshold: The operating point, in [0, 1].
        iou_threshold: Overlap from which a detection hits.
    """
    classes = sorted({int(label) for result in results for label in result.truth_class_ids})
    if not classes:
        return PaperScores(math.nan, math.nan, math.nan, math.nan)
    curves = [precision_recall(results, class_id=c, iou_threshold=iou_threshold) for c in classes]
    per_class = [_of_curve(curve, score_threshold) for curve in curves]
    pr, re = (float(np.mean([scores[i] for scores in per_class])) for i in (0, 1))
    f1 = 2 * pr * re / (pr + re) if pr + re > 0 else 0.0
    reported = [curve.hits[curve.scores >= score_threshold] for curve in curves]
    count = sum(len(hits) for hits in reported)
    plain = sum(int(hits.sum()) for hits in reported) / count if count else math.nan
    return PaperScores(pr, re, f1, plain)


def _of_curve(curve: PrecisionRecall, score_threshold: float) -> tuple[float, float]:
    reported = int((curve.scores >= score_threshold).sum())
    re = float(curve.recall[reported - 1]) if reported else 0.0
    reached = re + 1e-12 >= RECALL_POINTS
    if not reported or not curve.hits[:reported].any():
        return 0.0, re
    cut = PrecisionRecall(curve.scores[:reported], curve.hits[:reported], curve.targets)
    return float(cut.interpolated_precision()[reached].mean()), re
