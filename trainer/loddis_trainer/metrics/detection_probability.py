"""Detection probability against false alarms per frame, by the distance of centres.

A box of a 5 px target that is off by 2 px fails IoU 0.5 and still points at the target: an operator counts it. Here a
detection hits a target of its class if their centres are no further apart than a given distance, one to one, best
score first; the second detection of a target is a false alarm. At a score threshold,

    Pd = targets hit / targets                           in [0, 1]
    Fa = detections that hit nothing / frames            at least 0, per frame

Greedy matching by score has no regrets: whom a detection hits does not depend on those that rank below it, so one
match gives all thresholds.

Legend: D detections, G ground truths of all frames; S different scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.metrics.images import FramePool, ImageResult, pool_frames
from loddis_trainer.metrics.matching import match_greedily, pairs_by_distance

__all__ = ["DetectionRoc", "common_threshold", "detection_roc", "roc_of_match"]

ROUNDING = 1e-12  # of false alarms per frame: a mean of 0.1 is 0.1


@dataclass(frozen=True, slots=True, eq=False)
class DetectionRoc:
    """All operating points of a detector.

    Attributes:
        thresholds: ``(S,)`` falling scores, each a possible threshold; equal scores appear once.
        pd: ``(S,)`` share of targets detected at each, never falling; NaN without targets.
        fa_per_frame: ``(S,)`` false alarms per frame at each, never falling.
        target_scores: ``(G,)`` score of the detection that hits each target, in the order of frames; NaN: missed.
        frames: Number of frames.
    """

    thresholds: NDArray[np.float64]
    pd: NDArray[np.float64]
    fa_per_frame: NDArray[np.float64]
    target_scores: NDArray[np.float64]
    frames: int

    def pd_at(self, fa_per_frame: float) -> float:
        """Give the largest Pd at no more than so many false alarms per frame; NaN without targets.

        Reporting nothing at all is a way to have no false alarms: 0 where only that is left.
        """
        if not len(self.target_scores):
            return math.nan
        allowed = _count_allowed(self.fa_per_frame, fa_per_frame)
        return float(self.pd[allowed - 1]) if allowed else 0.0

    def threshold_at(self, fa_per_frame: float) -> float:
        """Give a threshold with all of the Pd that so many false alarms per frame allow.

        It lies halfway between the last score that is allowed and the next one, which is not: a score that differs by
        a rounding, as another engine computes it, stays on its side. The lowest score if all are allowed; 1 if none
        is, which only a detection of score 1 gets past.
        """
        return common_threshold([self], fa_per_frame)

    def at_threshold(self, score_threshold: float) -> tuple[float, float]:
        """Give Pd (NaN without targets) and false alarms per frame at a threshold."""
        reported = int((self.thresholds >= score_threshold).sum())
        pd = float((self.target_scores >= score_threshold).mean()) if len(self.target_scores) else math.nan
        return pd, float(self.fa_per_frame[reported - 1]) if reported else 0.0

    def outline(self, points: int = 64) -> list[tuple[float, float, float]]:
        """Give the curve for plots: at most `points` rows of false alarms per frame, Pd, threshold.

        Rows are operating points that exist: the best of each step in Pd, then evenly over the logarithm of false
        alarms where there are more of these than asked for.
        """
        if not len(self.thresholds) or not len(self.target_scores):
            return []
        corners = np.flatnonzero(np.append(True, np.diff(self.pd) > 0))  # the least Fa of each Pd
        corners = np.union1d(corners, [len(self.pd) - 1])
        if len(corners) > points:
            low = np.log(1 / self.frames)
            places = np.log(np.maximum(self.fa_per_frame[corners], 1 / self.frames))
            wanted = np.linspace(low, max(low, places[-1]), points - 1)
            # The last corner that costs no more than wanted, so that every row is as good as the budget allows.
            taken = np.searchsorted(places, wanted + 1e-9, side="right") - 1
            corners = corners[np.unique(np.append(taken, len(corners) - 1).clip(0))]
        columns = (self.fa_per_frame[corners], self.pd[corners], self.thresholds[corners])
        return [(float(fa), float(pd), float(threshold)) for fa, pd, threshold in zip(*columns, strict=True)]


def common_threshold(curves: Sequence[DetectionRoc], fa_per_frame: float) -> float:
    """Give one threshold for several domains, as `DetectionRoc.threshold_at` does for one.

    Args:
        curves: Of each domain; each weighs alike, whatever its number of frames.
        fa_per_frame: False alarms per frame that are allowed, as the mean of the domains; at least 0.

    Returns:
        In [0, 1]; 1 if none is allowed.

    Raises:
        ValueError: No curve, or a negative budget.
    """
    if not curves:
        raise ValueError("a threshold needs the curve of one domain at least")
    thresholds = np.unique(np.concatenate([curve.thresholds for curve in curves]))[::-1]  # falling
    rising = np.zeros(len(thresholds))
    for curve in curves:
        reported = np.searchsorted(-curve.thresholds, -thresholds, side="right")
        rising += np.concatenate(([0.0], curve.fa_per_frame))[reported]
    allowed = _count_allowed(rising / len(curves), fa_per_frame)
    return float(thresholds[allowed - 1 : allowed + 1].mean()) if allowed else 1.0


def _count_allowed(rising: NDArray[np.float64], fa_per_frame: float) -> int:
    """Count the false alarms per frame, from the lowest, that keep to a budget."""
    if not fa_per_frame >= 0:
        raise ValueError(f"fa_per_frame must be at least 0, got {fa_per_frame}")
    return int(np.searchsorted(rising, fa_per_frame + ROUNDING, side="right"))


def detection_roc(results: Sequence[ImageResult], *, centre_distance_px: float = 3.0) -> DetectionRoc:
    """Match by centre distance, and sweep the threshold over all scores.

    Args:
        results: All frames, those without targets too: their false alarms count.
        centre_distance_px: Largest distance of a hit, frame pixels.

    Raises:
        ValueError: No frames, or a distance that is not above 0.
    """
    pool = pool_frames(results)
    return roc_of_match(pool, match_greedily(pool, pairs_by_distance(pool, centre_distance_px=centre_distance_px)))


def roc_of_match(pool: FramePool, matched: NDArray[np.int64]) -> DetectionRoc:
    """Sweep the threshold.

    Args:
        pool: All frames.
        matched: ``(D,)`` index of the target that each detection hits, −1 if none.

    Raises:
        ValueError: No frames.
    """
    if not pool.frames:
        raise ValueError("there are no frames to count false alarms per")
    target_scores = np.full(len(pool.truth_class_ids), np.nan)
    target_scores[matched[matched >= 0]] = pool.scores[matched >= 0]
    order = np.argsort(-pool.scores, kind="stable")
    scores, hits = pool.scores[order], matched[order] >= 0
    last_of_equal = np.append(np.diff(scores) != 0, True)[: len(scores)]
    found = np.cumsum(hits)[last_of_equal]
    return DetectionRoc(
        thresholds=scores[last_of_equal],
        pd=found / len(target_scores) if len(target_scores) else np.full(len(found), np.nan),
        fa_per_frame=np.cumsum(~hits)[last_of_equal] / pool.frames,
        target_scores=target_scores,
        frames=pool.frames,
    )
