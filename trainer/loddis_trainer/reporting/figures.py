"""Figures of what runs detect: precision and recall, detections against false alarms, sizes and SNR, negative shift."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from loddis_trainer.metrics import Group, Metrics
from loddis_trainer.metrics.average_precision import RECALL_POINTS
from loddis_trainer.reporting.collect import Findings
from loddis_trainer.reporting.palette import INK, MUTED, PAPER, run_colour, run_dashes
from loddis_trainer.reporting.runs import TrainedRun
from loddis_trainer.reporting.svg import FULL_WIDTH, Canvas, canvas, panel

__all__ = ["detection_curves", "group_bars", "negative_shift", "precision_recall_curves"]

NEGATIVE_SHIFT_FIGURES: tuple[tuple[str, Callable[[Metrics], float]], ...] = (
    ("mAP50", lambda metrics: metrics.map50),
    ("F1", lambda metrics: metrics.f1),
    ("Pd at 0.1 false alarms per frame", lambda metrics: metrics.pd_at(0.1)),
)


def precision_recall_curves(findings: Findings) -> str:
    """Draw precision over recall, a panel a split (the paper's figure 5); the mean where there are several classes."""
    with _row_of(len(findings.splits)) as drawn:
        for axes, split in _panels(drawn, findings.splits):
            for number, run in enumerate(findings.runs):
                classes = findings.of(run, split).metrics.by_class
                if classes:
                    mean = np.mean([one.precision_at_recall for one in classes], axis=0)
                    _line(axes, number, RECALL_POINTS, mean)
            axes.set(xlim=(0, 1), ylim=(0, 1.02))
            panel(axes, title=split, x="recall", y="precision")
    return drawn.svg


def detection_curves(findings: Findings) -> str:
    """Draw Pd over false alarms per frame, a panel a split, with a dot at each run's operating point."""
    with _row_of(len(findings.splits)) as drawn:
        for axes, split in _panels(drawn, findings.splits):
            of_runs = [findings.of(run, split).metrics for run in findings.runs]
            least, most = _decades(of_runs)
            for number, metrics in enumerate(of_runs):
                rows = np.array(metrics.roc.outline(256)).reshape(-1, 3)
                if len(rows):
                    axes.step(
                        np.maximum(rows[:, 0], least),
                        rows[:, 1],
                        where="post",
                        color=run_colour(number),
                        dashes=run_dashes(number) or (None, None),
                    )
                if math.isfinite(metrics.pd):
                    axes.plot(
                        [max(metrics.fa_per_frame, least)],
                        [metrics.pd],
                        "o",
                        zorder=5,
                        color=run_colour(number),
                        markersize=7,
                        markeredgecolor=PAPER,
                        markeredgewidth=1.5,
                    )
            axes.set(xscale="log", xlim=(least, most), ylim=(0, 1.02))
            axes.xaxis.set_major_formatter(functools.partial(_write_rate, drawn_for_0=least))
            axes.xaxis.set_minor_formatter(NullFormatter())
            panel(axes, title=split, x="false alarms per frame", y="Pd")
    return drawn.svg


def _decades(of_runs: Sequence[Metrics]) -> tuple[float, float]:
    """Give the ends of a logarithmic axis of false alarms per frame, whole decades: 0 is drawn at the lower one."""
    fewest = 0.5 / min(metrics.frames for metrics in of_runs)
    rows = [row for metrics in of_runs for row in metrics.roc.outline(256)]
    most = max([metrics.fa_per_frame for metrics in of_runs] + [row[0] for row in rows])
    low = math.floor(math.log10(fewest))
    return 10.0**low, 10.0 ** max(low + 2, math.ceil(math.log10(most) - 1e-9) if most > 0 else low)


def _write_rate(value: float, _: float | None, *, drawn_for_0: float) -> str:
    return "0" if value <= drawn_for_0 else f"{value:g}"


def group_bars(findings: Findings, split: str) -> str:
    """Draw Pd at the operating point by size and by SNR of the targets."""
    kinds: list[tuple[str, Callable[[Metrics], Sequence[Group]]]] = [
        ("by size (√ of the box's area)", lambda metrics: metrics.by_size),
        ("by local SNR", lambda metrics: metrics.by_snr),
    ]
    with canvas(width=FULL_WIDTH, height=2.7, columns=2, share_y=True) as drawn:
        for axes, (title, groups_of) in zip(drawn.all_axes(), kinds, strict=True):
            groups = [groups_of(findings.of(run, split).metrics) for run in findings.runs]
            shown = [place for place, group in enumerate(groups[0]) if group.targets]
            values = np.array([[row[place].pd for place in shown] for row in groups]).reshape(len(groups), -1)
            _bars(axes, values, with_labels=len(findings.runs) <= 3)
            labels = [f"{groups[0][place].label}\nn = {groups[0][place].targets}" for place in shown]
            axes.set_xticks(range(len(shown)), labels)
            axes.grid(visible=False, axis="x")
            axes.set_ylim(0, 1.1)
            panel(axes, title=title, y="Pd" if axes is drawn.all_axes()[0] else "")
    return drawn.svg


def negative_shift(findings: Findings, alone: TrainedRun, compared: Sequence[TrainedRun], split: str) -> str:
    """Draw what auxiliary data did to each run, against the run on the task domain alone (the paper's figure 4).

    Args:
        findings: Of all runs.
        alone: Trained on the task domain alone, P.
        compared: Trained with auxiliary domains, P+A.
        split: Measured on.
    """
    with canvas(width=FULL_WIDTH, height=2.6, columns=3) as drawn:
        for axes, (name, figure) in zip(drawn.all_axes(), NEGATIVE_SHIFT_FIGURES, strict=True):
            base = figure(findings.of(alone, split).metrics)
            top = 0.0
            for place, run in enumerate([alone, *compared]):
                value = figure(findings.of(run, split).metrics)
                if not math.isfinite(value):
                    continue
                number = findings.runs.index(run)
                axes.bar(place, value, width=0.62, color=run_colour(number))
                change = f"{100 * value:.1f}" if run is alone else f"{100 * (value - base):+.1f}".replace("-", "−")
                axes.annotate(
                    change,
                    (place, value),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="center",
                    color=MUTED if run is alone else INK,
                )
                top = max(top, value)
            if math.isfinite(base):
                axes.axhline(base, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            axes.set_xticks(range(len(compared) + 1), ["P", *("P+A" for _ in compared)])
            axes.grid(visible=False, axis="x")
            axes.set_xlim(-0.7, max(len(compared), 2) + 0.7)
            axes.set_ylim(0, max(top * 1.16, 0.02))
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
            panel(axes, title=name)
    return drawn.svg


def _row_of(panels: int) -> AbstractContextManager[Canvas]:
    """Open a figure of up to three panels a row."""
    columns = min(panels, 3)
    rows = -(-panels // columns)
    height = 3.3 if columns < 3 else 2.9
    return canvas(width=FULL_WIDTH * (0.55 if panels == 1 else 1), height=height * rows, rows=rows, columns=columns)


def _panels(drawn: Canvas, splits: Sequence[str]) -> Iterator[tuple[Axes, str]]:
    """Give a panel for each split; those that are left over vanish."""
    for axes in drawn.all_axes()[len(splits) :]:
        axes.set_visible(False)
    return zip(drawn.all_axes(), splits, strict=False)


def _line(axes: Axes, number: int, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    axes.plot(x, y, color=run_colour(number), dashes=run_dashes(number) or (None, None))


def _bars(axes: Axes, values: NDArray[np.float64], *, with_labels: bool) -> None:
    """Draw bars side by side, values ``(runs, groups)``; undefined ones are left out."""
    runs = len(values)
    width = 0.78 / runs
    for number, row in enumerate(values):
        places = np.arange(len(row)) + (number - (runs - 1) / 2) * width
        known = np.isfinite(row)
        bars = axes.bar(places[known], row[known], width=width * 0.92, color=run_colour(number))
        if with_labels:
            texts = [f"{100 * value:.0f}" for value in row[known]]
            axes.bar_label(bars, texts, padding=2, color=MUTED, fontsize=7.5)
