"""Everything that is measured of a detector on one split, in one object.

Undefined figures (recall without targets, precision without detections) are NaN here and null in JSON, never 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from loddis_trainer.metrics.average_precision import mean_average_precision
from loddis_trainer.metrics.detection_probability import DetectionRoc, detection_roc
from loddis_trainer.metrics.images import ImageResult
from loddis_trainer.metrics.paper import paper_scores

__all__ = ["FA_POINTS", "Group", "Metrics", "evaluate_images"]

FA_POINTS = (0.01, 0.05, 0.1, 1.0)  # false alarms per frame at which Pd is reported
SIZE_EDGES_PX = (0.0, 5.0, 10.0, 20.0, math.inf)
SNR_EDGES = (-math.inf, 3.0, 6.0, 12.0, math.inf)


@dataclass(frozen=True, slots=True)
class Group:
    """Targets of one size or SNR, at the operating point.

    Attributes:
        label: Such as ``5–10 px``.
        targets: How many.
        pd: Share of them detected, in [0, 1]; NaN without targets.
    """

    label: str
    targets: int
    pd: float


@dataclass(frozen=True, slots=True, eq=False)
class Metrics:
    """Figures of a detector on one split; docs/metrics.md defines each.

    Attributes:
        frames: Labelled frames.
        targets: Ground truths.
        map50: COCO AP at IoU 0.5, mean over classes, in [0, 1].
        score_threshold: The operating point of the figures below.
        pr: Mean interpolated precision up to `re`.
        re: Recall at IoU 0.5.
        f1: Of both.
        plain_precision: Hits / detections at IoU 0.5.
        centre_distance_px: Within which a detection counts for Pd and Fa.
        pd: Detection probability by centre distance.
        fa_per_frame: False alarms per frame by centre distance.
        roc: All other operating points.
        by_size: Targets by the square root of their box's area.
        by_snr: Targets by local SNR; empty where it was not measured.
    """

    frames: int
    targets: int
    map50: float
    score_threshold: float
    pr: float
    re: float
    f1: float
    plain_precision: float
    centre_distance_px: float
    pd: float
    fa_per_frame: float
    roc: DetectionRoc
    by_size: tuple[Group, ...]
    by_snr: tuple[Group, ...]

    def pd_at(self, fa_per_frame: float) -> float:
        """Give the largest Pd at no more than so many false alarms per frame."""
        return self.roc.pd_at(fa_per_frame)

    def threshold_at(self, fa_per_frame: float) -> float:
        """Give the lowest score threshold with no more than so many false alarms per frame."""
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
        """Give every figure, ready for JSON; the ROC at `FA_POINTS`."""
        scalars = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("roc", "by_size", "by_snr")
        }
        document = scalars | {
            "pd_at_fa_per_frame": {f"{fa:g}": self.pd_at(fa) for fa in FA_POINTS},
            "by_size": [asdict(group) for group in self.by_size],
            "by_snr": [asdict(group) for group in self.by_snr],
        }
        result: dict[str, Any] = _null_where_undefined(document)
        return result

    def table(self, *, title: str) -> Table:
        """Give the figures as a table for people."""
        table = Table(title=title, show_header=False)
        table.add_column("figure")
        table.add_column("value", justify="right")
        table.add_row("frames / targets", f"{self.frames} / {self.targets}")
        table.add_row("mAP50", _percent(self.map50))
        table.add_row(
            f"Pr, Re, F1 at score ≥ {self.score_threshold:.3f}", ", ".join(map(_percent, (self.pr, self.re, self.f1)))
        )
        distance = f"centre distance ≤ {self.centre_distance_px:g} px"
        table.add_row(f"Pd at Fa per frame, {distance}", f"{_percent(self.pd)} at {self.fa_per_frame:.3f}")
        for fa in FA_POINTS:
            table.add_row(f"Pd at Fa ≤ {fa:g} per frame", _percent(self.pd_at(fa)))
        for group in (*self.by_size, *self.by_snr):
            if group.targets:
                table.add_row(f"Pd of {group.targets} targets, {group.label}", _percent(group.pd))
        return table


def evaluate_images(
    results: Sequence[ImageResult],
    *,
    score_threshold: float,
    iou_threshold: float = 0.5,
    centre_distance_px: float = 3.0,
) -> Metrics:
    """Measure everything.

    Args:
        results: All labelled frames, with detections down to a low score: AP and ROC need them.
        score_threshold: The operating point, in [0, 1].
        iou_threshold: Overlap from which a detection hits, for AP, Pr, Re and F1.
        centre_distance_px: Distance up to which one hits, for Pd and Fa.

    Raises:
        ValueError: No frames.
    """
    roc = detection_roc(results, centre_distance_px=centre_distance_px)
    paper = paper_scores(results, score_threshold=score_threshold, iou_threshold=iou_threshold)
    pd, fa = roc.at_threshold(score_threshold)
    truth = np.concatenate([result.truth_boxes_xyxy for result in results]).astype(np.float64)
    sides = np.sqrt((truth[:, 2:] - truth[:, :2]).prod(axis=1))
    with_snr = all(len(result.truth_snr) == len(result.truth_boxes_xyxy) for result in results)
    snr = np.concatenate([result.truth_snr for result in results]) if with_snr else np.empty(0)
    detected = roc.target_scores >= score_threshold
    return Metrics(
        frames=len(results),
        targets=len(truth),
        map50=mean_average_precision(results, iou_threshold=iou_threshold),
        score_threshold=score_threshold,
        pr=paper.pr,
        re=paper.re,
        f1=paper.f1,
        plain_precision=paper.plain_precision,
        centre_distance_px=centre_distance_px,
        pd=pd,
        fa_per_frame=fa,
        roc=roc,
        by_size=_groups(sides, detected, SIZE_EDGES_PX, "{} px"),
        by_snr=_groups(snr, detected, SNR_EDGES, "SNR {}") if len(snr) else (),
    )


def _groups(
    values: NDArray[np.floating], detected: NDArray[np.bool_], edges: tuple[float, ...], text: str
) -> tuple[Group, ...]:
    groups = []
    for low, high in pairwise(edges):
        inside = (values >= low) & (values < high)
        count = int(inside.sum())
        pd = float(detected[inside].mean()) if count else math.nan
        groups.append(Group(text.format(_interval(low, high)), count, pd))
    return tuple(groups)


def _interval(low: float, high: float) -> str:
    if not math.isfinite(high):
        return f"≥ {low:g}"
    return f"{low:g}–{high:g}" if math.isfinite(low) and low > 0 else f"< {high:g}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "–"


def _null_where_undefined(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _null_where_undefined(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_null_where_undefined(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
