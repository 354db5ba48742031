"""Everything that is measured of a detector on one split, in one object; docs/metrics.md defines each figure.

Undefined figures (recall without targets, precision without detections) are NaN here and null in JSON, never 0 or 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from loddis_trainer.metrics.average_precision import MOST_DETECTIONS, class_curves, mean_over_classes
from loddis_trainer.metrics.detection_probability import DetectionRoc, roc_of_match
from loddis_trainer.metrics.groups import (
    FA_POINTS,
    SIZE_EDGES_PX,
    SNR_EDGES,
    ClassScores,
    Group,
    Matches,
    SequenceScores,
    box_sides_px,
    scores_by_class,
    scores_by_sequence,
    scores_by_value,
)
from loddis_trainer.metrics.images import ImageResult, pool_frames
from loddis_trainer.metrics.matching import match_greedily, pairs_by_distance, pairs_by_overlap
from loddis_trainer.metrics.paper import scores_of_curves, scores_of_match

__all__ = ["Metrics", "evaluate_images", "mean_map50", "mean_of_defined"]


@dataclass(frozen=True, slots=True, eq=False)
class Metrics:
    """Figures of a detector on one split.

    Attributes:
        frames: Labelled frames.
        targets: Ground truths.
        iou_threshold: Overlap from which a detection hits, for all figures up to `misses`.
        map50: COCO AP, mean over classes, in [0, 1].
        score_threshold: The operating point of the figures below.
        pr: The field's: mean interpolated precision up to `re`, in [0, 1].
        re: The field's: recall, in [0, 1].
        f1: The field's: harmonic mean of both.
        plain_precision: Hits / detections.
        plain_recall: Hits / targets, over all classes together.
        plain_f1: Of both.
        hits: Detections that hit.
        false_alarms: Detections that do not.
        misses: Targets that are not hit.
        centre_distance_px: Within which a detection counts for Pd and Fa, frame pixels.
        pd: Detection probability, in [0, 1].
        fa_per_frame: False alarms per frame.
        roc: All other operating points.
        by_class: Each class that has ground truth.
        by_size: Targets by √(width · height) of their box, frame pixels.
        by_snr: Targets by local SNR; empty where it was not measured.
        by_sequence: Each named sequence.
    """

    frames: int
    targets: int
    iou_threshold: float
    map50: float
    score_threshold: float
    pr: float
    re: float
    f1: float
    plain_precision: float
    plain_recall: float
    plain_f1: float
    hits: int
    false_alarms: int
    misses: int
    centre_distance_px: float
    pd: float
    fa_per_frame: float
    roc: DetectionRoc
    by_class: tuple[ClassScores, ...]
    by_size: tuple[Group, ...]
    by_snr: tuple[Group, ...]
    by_sequence: tuple[SequenceScores, ...]

    def pd_at(self, fa_per_frame: float) -> float:
        """Give the largest Pd at no more than so many false alarms per frame."""
        return self.roc.pd_at(fa_per_frame)

    def threshold_at(self, fa_per_frame: float) -> float:
        """Give a score threshold with no more than so many false alarms per frame and all the Pd that they allow."""
        return self.roc.threshold_at(fa_per_frame)

    def headline(self) -> dict[str, float]:
        """Give the figures that a manifest keeps; those that are undefined are left out."""
        figures = {
            "map50": self.map50,
            "pr": self.pr,
            "re": self.re,
            "f1": self.f1,
            "pd": self.pd,
            "fa_per_frame": self.fa_per_frame,
            **{f"pd_at_fa_{fa:g}": self.pd_at(fa) for fa in FA_POINTS},
            "centre_distance_px": self.centre_distance_px,
            "frames": float(self.frames),
            "targets": float(self.targets),
        }
        return {name: round(value, 5) for name, value in figures.items() if math.isfinite(value)}

    def to_dict(self) -> dict[str, Any]:
        """Give every figure and both curves, ready for JSON: what is undefined or without bound is None."""
        groups = ("by_class", "by_size", "by_snr", "by_sequence")
        document: dict[str, Any] = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name not in (*groups, "roc")
        }
        document["pd_at_fa_per_frame"] = {f"{fa:g}": self.pd_at(fa) for fa in FA_POINTS}
        document |= {name: [asdict(group) for group in getattr(self, name)] for name in groups}
        document["roc"] = [
            {"fa_per_frame": fa, "pd": pd, "score_threshold": threshold} for fa, pd, threshold in self.roc.outline()
        ]
        result: dict[str, Any] = _null_where_undefined(document)
        return result

    def to_json(self) -> str:
        """Give `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def table(self, *, title: str) -> Table:
        """Give the figures as a table for people."""
        table = Table(title=Text(title, style="table.title"), show_header=False)  # names are no markup
        table.add_column("figure")
        table.add_column("value", justify="right")
        at, distance = f"at score ≥ {self.score_threshold:.3f}", f"centre distance ≤ {self.centre_distance_px:g} px"
        plain = (self.plain_precision, self.plain_recall, self.plain_f1)
        table.add_row("frames / targets", f"{self.frames} / {self.targets}")
        table.add_row("mAP50", _percent(self.map50))
        table.add_row(f"Pr, Re, F1 {at}", _percent(self.pr, self.re, self.f1))
        table.add_row(f"plain precision, recall, F1 {at}", _percent(*plain))
        table.add_row(f"Pd at Fa per frame, {distance}, {at}", f"{_percent(self.pd)} at {self.fa_per_frame:.3f}")
        for fa in FA_POINTS:
            table.add_row(f"Pd at Fa ≤ {fa:g} per frame", _percent(self.pd_at(fa)))
        if len(self.by_class) > 1:
            table.add_section()
            for each in self.by_class:
                table.add_row(Text(f"AP50 of {each.targets} targets, {each.label}"), _percent(each.ap50))
        for groups in (self.by_size, self.by_snr):
            table.add_section()
            for group in groups:
                if group.targets:
                    row = f"Pd, mAP50 of {group.targets} targets, {group.label}"
                    table.add_row(row, _percent(group.pd, group.map50))
        return table


def evaluate_images(
    results: Sequence[ImageResult],
    *,
    score_threshold: float,
    iou_threshold: float = 0.5,
    centre_distance_px: float = 3.0,
    class_names: Sequence[str] = (),
) -> Metrics:
    """Measure everything.

    Args:
        results: All labelled frames, with detections down to a low score: AP and ROC need them.
        score_threshold: The operating point, in [0, 1].
        iou_threshold: Overlap from which a detection hits, for AP, Pr, Re and F1, in (0, 1].
        centre_distance_px: Distance up to which one hits, for Pd and Fa, frame pixels.
        class_names: By class id, for the report.

    Raises:
        ValueError: No frames, or a threshold or distance out of its range.
    """
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"score_threshold must be in [0, 1], got {score_threshold}")
    pool = pool_frames(results)
    matched = match_greedily(pool, pairs_by_distance(pool, centre_distance_px=centre_distance_px))
    roc = roc_of_match(pool, matched)
    best = pool.best(MOST_DETECTIONS)
    matches = Matches(pool, matched, roc, best, pairs_by_overlap(best, iou_threshold=iou_threshold))
    curves = class_curves(best, matches.pairs)
    paper = scores_of_curves(curves, score_threshold=score_threshold)
    plain = scores_of_match(best, matches.pairs, score_threshold=score_threshold)
    pd, fa = roc.at_threshold(score_threshold)
    sides = (box_sides_px(pool.truth_boxes_xyxy), box_sides_px(pool.boxes_xyxy), box_sides_px(best.boxes_xyxy))
    snrs = (pool.truth_snr, pool.snr, best.snr)
    snr_known = bool((pool.truth_snr == pool.truth_snr).any())
    return Metrics(
        frames=pool.frames,
        targets=len(pool.truth_class_ids),
        iou_threshold=iou_threshold,
        map50=mean_over_classes(curves),
        score_threshold=score_threshold,
        pr=paper.pr,
        re=paper.re,
        f1=paper.f1,
        plain_precision=plain.precision,
        plain_recall=plain.recall,
        plain_f1=plain.f1,
        hits=plain.hits,
        false_alarms=plain.false_alarms,
        misses=plain.misses,
        centre_distance_px=centre_distance_px,
        pd=pd,
        fa_per_frame=fa,
        roc=roc,
        by_class=scores_by_class(curves, score_threshold=score_threshold, class_names=class_names),
        by_size=scores_by_value(
            matches, values=sides, edges=SIZE_EDGES_PX, label="{} px", score_threshold=score_threshold
        ),
        by_snr=scores_by_value(matches, values=snrs, edges=SNR_EDGES, label="SNR {}", score_threshold=score_threshold)
        if snr_known
        else (),
        by_sequence=scores_by_sequence(matches, score_threshold=score_threshold),
    )


def _percent(*values: float) -> str:
    return ", ".join(f"{100 * value:.1f} %" if math.isfinite(value) else "–" for value in values)


def _null_where_undefined(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _null_where_undefined(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_null_where_undefined(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def mean_map50(results_by_domain: Sequence[Sequence[ImageResult]]) -> float:
    """Give the mean of the domains' mAP50, in [0, 1]: each weighs alike, however many targets it has.

    Domains without targets are left out; NaN if all are.
    """
    each = [evaluate_images(results, score_threshold=0.5).map50 for results in results_by_domain]
    return mean_of_defined(each)


def mean_of_defined(values: Iterable[float]) -> float:
    """Give the mean of the figures that are numbers, NaN if none is."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
