"""The same figures for parts of the whole: by class, by size and SNR of the targets, by sequence.

Size is √(width · height) of the box in frame pixels, SNR is local. A target belongs to the group of its own value; a
false alarm to the group of the value measured where *it* is. For a group, all other targets are ignored, neither to be
found nor false to find, as COCO does for its areas; so each group's mAP50, Pr, Re, F1, Pd and Fa mean what they mean
for the whole, and the false alarms of the groups add up to those of the whole where their value is known.

Legend: D detections, G ground truths of all frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.metrics.average_precision import Membership, PrecisionRecall, class_curves, mean_over_classes
from loddis_trainer.metrics.detection_probability import DetectionRoc
from loddis_trainer.metrics.images import FramePool
from loddis_trainer.metrics.matching import Pairs
from loddis_trainer.metrics.paper import scores_of_curves

__all__ = [
    "FA_POINTS",
    "SIZE_EDGES_PX",
    "SNR_EDGES",
    "ClassScores",
    "Group",
    "Matches",
    "SequenceScores",
    "box_sides_px",
    "interval_label",
    "scores_by_class",
    "scores_by_sequence",
    "scores_by_value",
]

FA_POINTS = (0.01, 0.05, 0.1, 1.0)  # false alarms per frame at which Pd is reported
SIZE_EDGES_PX = (0.0, 5.0, 10.0, 20.0, math.inf)
SNR_EDGES = (0.0, 3.0, 6.0, 12.0, math.inf)


@dataclass(frozen=True, slots=True)
class Group:
    """Targets of one size or SNR; what is found of them is NaN where the group has none.

    Attributes:
        label: Such as ``5–10 px``.
        low: Least value, inclusive; NaN for targets whose value is unknown.
        high: Value from which on a target is in the next group.
        targets: How many.
        map50: As of all targets, in [0, 1].
        pr: At the operating point.
        re: At the operating point.
        f1: At the operating point.
        pd: At the operating point, by centre distance, in [0, 1].
        fa_per_frame: False alarms of this size or SNR, at the operating point; NaN where theirs was not measured.
        pd_at_fa_per_frame: Pd at the thresholds at which there are so many false alarms *of all kinds*.
    """

    label: str
    low: float
    high: float
    targets: int
    map50: float
    pr: float
    re: float
    f1: float
    pd: float
    fa_per_frame: float
    pd_at_fa_per_frame: dict[str, float]


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class that has ground truth.

    Attributes:
        label: Its name, or its number where no names are given.
        targets: How many.
        ap50: Its average precision, in [0, 1].
        pr: At the operating point.
        re: At the operating point.
        f1: At the operating point.
        precision_at_recall: Interpolated precision at the recalls 0, 0.01, … 1: the precision-recall curve.
    """

    label: str
    targets: int
    ap50: float
    pr: float
    re: float
    f1: float
    precision_at_recall: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SequenceScores:
    """One sequence, at the operating point, by centre distance.

    Attributes:
        sequence: Its name.
        frames: Labelled frames.
        targets: Ground truths.
        pd: Share of targets detected, in [0, 1]; NaN without targets.
        fa_per_frame: False alarms per frame.
    """

    sequence: str
    frames: int
    targets: int
    pd: float
    fa_per_frame: float


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """What the breakdowns are computed from.

    Attributes:
        pool: All frames.
        matched: ``(D,)`` target that each detection of `pool` hits by centre distance, −1 if none.
        roc: Of that match.
        best: The pool limited to what COCO counts.
        pairs: Of `best`, by overlap.
    """

    pool: FramePool
    matched: NDArray[np.int64]
    roc: DetectionRoc
    best: FramePool
    pairs: Pairs


def box_sides_px(boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the sizes ``(N,)`` of boxes ``(N, 4)``: √(width · height)."""
    return np.asarray(np.sqrt((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)), dtype=np.float64)


def scores_by_value(
    matches: Matches,
    *,
    values: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    edges: Sequence[float],
    label: str,
    score_threshold: float,
) -> tuple[Group, ...]:
    """Score groups of targets.

    Args:
        matches: Of all frames.
        values: Size or SNR of the targets, of the detections of the pool, and of those of its best; NaN where unknown.
        edges: Rising; each group reaches from one to the next.
        label: Of a group, with ``{}`` for its interval.
        score_threshold: The operating point.

    Returns:
        A group between each two edges, and one for the targets whose value is unknown if there are any.
    """
    of_targets, of_detections, of_best = values
    measured = not len(of_detections) or not np.isnan(of_detections).all()
    thresholds = {f"{fa:g}": matches.roc.threshold_at(fa) for fa in FA_POINTS}
    false = (matches.pool.scores >= score_threshold) & (matches.matched < 0)
    intervals = list(pairwise(edges))
    if np.isnan(of_targets).any():
        intervals.append((math.nan, math.nan))
    groups = []
    for low, high in intervals:
        wanted, mine, mine_of_best = (_within(value, low, high) for value in (of_targets, of_detections, of_best))
        curves = class_curves(matches.best, matches.pairs, group=Membership(mine_of_best, wanted))
        scores = scores_of_curves(curves, score_threshold=score_threshold)
        target_scores = matches.roc.target_scores[wanted]
        group = Group(
            label=label.format(interval_label(low, high)),
            low=low,
            high=high,
            targets=int(wanted.sum()),
            map50=mean_over_classes(curves),
            pr=scores.pr,
            re=scores.re,
            f1=scores.f1,
            pd=_share(target_scores >= score_threshold),
            fa_per_frame=int((false & mine).sum()) / matches.pool.frames,
            pd_at_fa_per_frame={fa: _share(target_scores >= at) for fa, at in thresholds.items()},
        )
        if not measured:  # whose the false alarms are is not known
            group = replace(group, map50=math.nan, pr=math.nan, f1=math.nan, fa_per_frame=math.nan)
        groups.append(group)
    return tuple(groups)


def scores_by_class(
    curves: dict[int, PrecisionRecall], *, score_threshold: float, class_names: Sequence[str] = ()
) -> tuple[ClassScores, ...]:
    """Score every class that has ground truth."""
    scored = []
    for class_id, curve in curves.items():
        scores = scores_of_curves({class_id: curve}, score_threshold=score_threshold)
        scored.append(
            ClassScores(
                label=class_names[class_id] if class_id < len(class_names) else str(class_id),
                targets=curve.targets,
                ap50=curve.average_precision(),
                pr=scores.pr,
                re=scores.re,
                f1=scores.f1,
                precision_at_recall=tuple(curve.interpolated_precision().tolist()),
            )
        )
    return tuple(scored)


def scores_by_sequence(matches: Matches, *, score_threshold: float) -> tuple[SequenceScores, ...]:
    """Score every sequence that has a name, in the order of names."""
    pool = matches.pool
    names, of_frame = np.unique(np.array(pool.sequences, dtype=str), return_inverse=True)
    false = (pool.scores >= score_threshold) & (matches.matched < 0)
    count = len(names)
    frames = np.bincount(of_frame, minlength=count)
    alarms = np.bincount(of_frame[pool.frame_ids[false]], minlength=count)
    of_target = of_frame[pool.truth_frame_ids]
    targets = np.bincount(of_target, minlength=count)
    found = np.bincount(of_target[matches.roc.target_scores >= score_threshold], minlength=count)
    return tuple(
        SequenceScores(
            sequence=str(name),
            frames=int(frames[i]),
            targets=int(targets[i]),
            pd=float(found[i] / targets[i]) if targets[i] else math.nan,
            fa_per_frame=float(alarms[i] / frames[i]),
        )
        for i, name in enumerate(names)
        if name
    )


def _share(detected: NDArray[np.bool_]) -> float:
    return float(detected.mean()) if len(detected) else math.nan


def _within(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    return np.isnan(values) if math.isnan(low) else (values >= low) & (values < high)


def interval_label(low: float, high: float) -> str:
    """Write what lies from `low` on and below `high`, such as ``5–10``; NaN says that it is unknown."""
    if math.isnan(low):
        return "unknown"
    if math.isinf(high):
        return f"≥ {low:g}"
    return f"{low:g}–{high:g}" if low > 0 else f"< {high:g}"
