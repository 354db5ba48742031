"""Detection probability against false alarms per frame, by the distance of centres.

A box of a 5 px target that is off by 2 px fails IoU 0.5 and still points at the target: an operator counts it. Here a
detection hits a target if their centres are no further apart than a given distance, one to one, best score first.

    Pd = targets hit / targets            in [0, 1]
    Fa = detections that hit nothing / frames
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.boxes import pairwise_centre_distance
from loddis_trainer.metrics.images import ImageResult
from loddis_trainer.metrics.matching import match_greedily

__all__ = ["DetectionRoc", "detection_roc"]


@dataclass(frozen=True, slots=True, eq=False)
class DetectionRoc:
    """All operating points of a detector.

    Attributes:
        thresholds: ``(D,)`` falling scores, each a possible threshold; equal scores appear once.
        pd: ``(D,)`` share of targets detected at each, rising.
        fa_per_frame: ``(D,)`` false alarms per frame at each, rising.
        target_scores: ``(targets,)`` score of the detection that hits each target, in the order of frames; NaN: missed.
        frames: Number of frames.
    """

    thresholds: NDArray[np.float64]
    pd: NDArray[np.float64]
    fa_per_frame: NDArray[np.float64]
    target_scores: NDArray[np.float64]
    frames: int

    def pd_at(self, fa_per_frame: float) -> float:
        """Give the largest Pd at no more than so many false alarms per frame; NaN without targets."""
        if not len(self.target_scores):
            return math.nan
        allowed = self.fa_per_frame <= fa_per_frame
        return float(self.pd[allowed].max()) if allowed.any() else 0.0

    def threshold_at(self, fa_per_frame: float) -> float:
        """Give the lowest threshold with no more than so many false alarms per frame; 1 if there is none."""
        allowed = self.fa_per_frame <= fa_per_frame
        return float(self.thresholds[allowed].min()) if allowed.any() else 1.0

    def at_threshold(self, score_threshold: float) -> tuple[float, float]:
        """Give Pd (NaN without targets) and false alarms per frame at a threshold."""
        reported = int((self.thresholds >= score_threshold).sum())
        pd = float((self.target_scores >= score_threshold).mean()) if len(self.target_scores) else math.nan
        return pd, float(self.fa_per_frame[reported - 1]) if reported else 0.0


def detection_roc(results: Sequence[ImageResult], *, centre_distance_px: float = 3.0) -> DetectionRoc:
    """Match by centre distance, class by class, and sweep the threshold over all scores.

    Args:
        results: All frames, those without targets too: their false alarms count.
        centre_distance_px: Largest distance of a hit, frame pixels.

    Raises:
        ValueError: No frames, or a distance that is not above 0.
    """
    if not results:
        raise ValueError("there are no frames to count false alarms per")
    if not centre_distance_px > 0:
        raise ValueError(f"centre_distance_px must be above 0, got {centre_distance_px}")
    scores: list[NDArray[np.float64]] = []
    hits: list[NDArray[np.bool_]] = []
    target_scores: list[NDArray[np.float64]] = []
    for result in results:
        frame_scores = result.scores.astype(np.float64)
        distance = pairwise_centre_distance(result.boxes_xyxy, result.truth_boxes_xyxy)
        other_class = result.class_ids[:, None] != result.truth_class_ids[None]
        affinity = np.where(other_class, -np.inf, -distance)
        matched = match_greedily(affinity, frame_scores, at_least=-centre_distance_px)
        of_targets = np.full(len(result.truth_boxes_xyxy), np.nan)
        of_targets[matched[matched >= 0]] = frame_scores[matched >= 0]
        scores.append(frame_scores)
        hits.append(matched >= 0)
        target_scores.append(of_targets)
    together, hit = np.concatenate(scores), np.concatenate(hits)
    order = np.argsort(-together, kind="stable")
    together, hit = together[order], hit[order]
    last_of_equal = np.append(np.diff(together) != 0, True) if len(together) else np.empty(0, dtype=bool)
    of_targets = np.concatenate(target_scores)
    return DetectionRoc(
        thresholds=together[last_of_equal],
        pd=np.cumsum(hit)[last_of_equal] / max(1, len(of_targets)),
        fa_per_frame=np.cumsum(~hit)[last_of_equal] / len(results),
        target_scores=of_targets,
        frames=len(results),
    )
