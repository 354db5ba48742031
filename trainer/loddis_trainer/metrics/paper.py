"""Pr, Re and F1 as the field reports them, and the plain counts, at one score threshold.

The field's, from the precision-recall curve of the detections with a score of at least the threshold (IoU 0.5):

    Re = recall                                                                in [0, 1]
    Pr = mean of the interpolated precision over the first ⌊100 · Re⌋ of the 101 recall points, at least one   in [0, 1]
    F1 = 2 · Pr · Re / (Pr + Re), 0 where both are 0                           in [0, 1]

so that mAP50 ≈ Pr × Re. Pr is an average over all higher thresholds, not the precision at this one: it is larger.
How many points "up to Re" are was read off the paper's table 1, where

    Pr · ⌊100 · Re⌋ ≤ 101 · mAP50 ≤ Pr · (⌊100 · Re⌋ + 1)

holds in each of its 54 cells; counting the point at Re too would hold in none.

The plain ones, over all classes together, hits TP, other detections FP, targets not hit FN:

    precision = TP / (TP + FP)      recall = TP / (TP + FN)      F1 = 2 TP / (2 TP + FP + FN)         each in [0, 1]

References:
    Chen et al. 2024, SSTNet: the evaluation that the paper says it follows; table 1 of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loddis_trainer.metrics.average_precision import MOST_DETECTIONS, PrecisionRecall, class_curves
from loddis_trainer.metrics.images import FramePool, ImageResult, pool_frames
from loddis_trainer.metrics.matching import Pairs, match_greedily, pairs_by_overlap

__all__ = ["PaperScores", "PlainScores", "paper_scores", "plain_scores", "scores_of_curves", "scores_of_match"]


@dataclass(frozen=True, slots=True)
class PaperScores:
    """The field's scores, means over the classes that have ground truth; NaN if none has.

    Attributes:
        pr: Mean interpolated precision up to `re`, in [0, 1]; 0 if no target is hit.
        re: Recall at the threshold, in [0, 1].
        f1: Harmonic mean of both.
    """

    pr: float
    re: float
    f1: float


@dataclass(frozen=True, slots=True)
class PlainScores:
    """Counts at the threshold, over all classes together.

    Attributes:
        hits: Detections that hit a target.
        false_alarms: Detections that do not.
        misses: Targets that no detection hits.
    """

    hits: int
    false_alarms: int
    misses: int

    @property
    def precision(self) -> float:
        """TP / (TP + FP), in [0, 1]; NaN without detections."""
        reported = self.hits + self.false_alarms
        return self.hits / reported if reported else math.nan

    @property
    def recall(self) -> float:
        """TP / (TP + FN), in [0, 1]; NaN without targets."""
        targets = self.hits + self.misses
        return self.hits / targets if targets else math.nan

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), in [0, 1]; NaN without targets."""
        if not self.hits + self.misses:
            return math.nan
        return 2 * self.hits / (2 * self.hits + self.false_alarms + self.misses)


def paper_scores(results: Sequence[ImageResult], *, score_threshold: float, iou_threshold: float = 0.5) -> PaperScores:
    """Compute the field's Pr, Re and F1.

    Args:
        results: All frames; detections below the threshold may be there and take no part.
        score_threshold: The operating point, in [0, 1].
        iou_threshold: Overlap from which a detection hits, in (0, 1].
    """
    pool = pool_frames(results).best(MOST_DETECTIONS)
    curves = class_curves(pool, pairs_by_overlap(pool, iou_threshold=iou_threshold))
    return scores_of_curves(curves, score_threshold=score_threshold)


def plain_scores(results: Sequence[ImageResult], *, score_threshold: float, iou_threshold: float = 0.5) -> PlainScores:
    """Count hits, false alarms and misses.

    Args:
        results: As `paper_scores`.
        score_threshold: As `paper_scores`.
        iou_threshold: As `paper_scores`.
    """
    pool = pool_frames(results).best(MOST_DETECTIONS)
    return scores_of_match(pool, pairs_by_overlap(pool, iou_threshold=iou_threshold), score_threshold=score_threshold)


def scores_of_curves(curves: dict[int, PrecisionRecall], *, score_threshold: float) -> PaperScores:
    """Compute the field's scores from the curves of all classes that have ground truth."""
    if not curves:
        return PaperScores(math.nan, math.nan, math.nan)
    per_class = [_of_curve(curve.above(score_threshold)) for curve in curves.values()]
    pr, re = (float(np.mean([scores[i] for scores in per_class])) for i in (0, 1))
    return PaperScores(pr, re, 2 * pr * re / (pr + re) if pr + re > 0 else 0.0)


def scores_of_match(pool: FramePool, pairs: Pairs, *, score_threshold: float) -> PlainScores:
    """Count in a pool of at most `MOST_DETECTIONS` of a frame and class, whose pairs overlap enough."""
    matched = match_greedily(pool, pairs)[pool.scores >= score_threshold]
    hits = int((matched >= 0).sum())
    return PlainScores(hits, len(matched) - hits, len(pool.truth_class_ids) - hits)


def _of_curve(reported: PrecisionRecall) -> tuple[float, float]:
    re = float(reported.recall[-1]) if len(reported.hits) else 0.0
    points = max(1, math.floor(100 * re + 1e-9))  # 0.29 · 100 is 28.999…
    return float(reported.interpolated_precision()[:points].mean()), re
