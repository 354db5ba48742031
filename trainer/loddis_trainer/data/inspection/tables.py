"""An inspection for people: a table with a column a split, and the findings below it."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from loddis_trainer.data.inspection.distribution import Distribution
from loddis_trainer.data.inspection.findings import SEVERITIES, Finding
from loddis_trainer.data.inspection.report import Inspection, SplitInspection
from loddis_trainer.metrics.groups import SIZE_EDGES_PX, SNR_EDGES, interval_label

__all__ = ["print_inspection"]

STYLES = {"fault": "bold red", "warning": "yellow", "note": "cyan"}
EXAMPLES_SHOWN = 5
Cell = Callable[[SplitInspection], str]


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Print the table and the findings."""
    if inspection.splits:
        console.print(_table(inspection))
        console.print("[dim]ranges: median (5 %–95 %)[/]", highlight=False)
    for finding in inspection.findings:
        console.print(_finding(finding), highlight=False)
    counts = ", ".join(_counted(inspection.count(severity), severity) for severity in SEVERITIES)
    console.print(f"{escape(inspection.domain)}: {counts}", style="bold", highlight=False)


def _table(inspection: Inspection) -> Table:
    table = Table(title=escape(inspection.domain))
    table.add_column("", no_wrap=True)
    for name in inspection.splits:
        table.add_column(name, justify="right")
    for section in SECTIONS:
        for label, cell in section:
            table.add_row(label, *(escape(cell(split)) for split in inspection.splits.values()))
        table.add_section()
    return table


def _finding(finding: Finding) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=7)
    grid.add_column()
    lines = [Text(finding.message)]
    lines += [Text(example, style="dim") for example in finding.examples[:EXAMPLES_SHOWN]]
    grid.add_row(Text(finding.severity, style=STYLES[finding.severity]), Group(*lines))
    return grid


def _counted(count: int, severity: str) -> str:
    return f"{count} {severity}{'' if count == 1 else 's'}"


def _range(values: Distribution, digits: int) -> str:
    if not values.count:
        return "–"
    low, middle, high = (f"{values.quantiles[name]:.{digits}f}" for name in ("p5", "median", "p95"))
    return middle if low == high else f"{middle} ({low}–{high})"


def _shares(values: Distribution) -> str:
    if not values.count:
        return "–"
    return " / ".join(f"{100 * share:.0f}" for share in values.shares.values()) + " %"


def _pair(x: float, y: float) -> str:
    return "–" if math.isnan(x) else f"{x:+.2f}, {y:+.2f}"


def _list(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "–"


def _keys(counts: dict[str, int] | dict[int, int]) -> str:
    return ", ".join(str(key) for key in counts)


def _intervals(edges: tuple[float, ...]) -> str:
    return " / ".join(interval_label(low, high) for low, high in pairwise(edges))


SECTIONS: tuple[tuple[tuple[str, Cell], ...], ...] = (
    (
        ("sequences", lambda s: f"{s.counts.sequences}"),
        ("frames in each", lambda s: _range(s.frames.sequence_lengths, 0)),
        ("labelled frames", lambda s: f"{s.counts.frames}"),
        ("frames without label", lambda s: f"{s.counts.unlabelled_frames}"),
        ("frames without targets", lambda s: f"{s.counts.frames_without_targets}"),
        ("targets", lambda s: f"{s.counts.targets}"),
        (
            "a frame: mean, most",
            lambda s: f"{s.counts.targets_per_frame_mean:.2f}, {s.counts.targets_per_frame_max}",
        ),
        ("boxes off the image", lambda s: f"{s.counts.boxes_off_image}"),
        ("boxes over its edge", lambda s: f"{s.counts.boxes_over_edge}"),
        ("boxes of no area", lambda s: f"{s.counts.boxes_of_no_area}"),
        ("categories", lambda s: _list(s.counts.categories)),
    ),
    (
        ("frame size, px", lambda s: _keys(s.frames.sizes)),
        ("bits a pixel", lambda s: _keys(s.frames.bits)),
        ("grey levels", lambda s: f"{s.frames.lowest_level}–{s.frames.highest_level}"),
        ("frames a second", lambda s: _keys(s.frames.rates_fps) or "–"),
    ),
    (
        ("box side, px", lambda s: _range(s.sizes.side_px, 1)),
        (f"  {_intervals(SIZE_EDGES_PX)}", lambda s: _shares(s.sizes.side_px)),
        ("width / height", lambda s: _range(s.sizes.aspect, 2)),
        ("SNR", lambda s: _range(s.contrast.snr, 1)),
        (f"  {_intervals(SNR_EDGES)}", lambda s: _shares(s.contrast.snr)),
    ),
    (
        ("box offset, px", lambda s: _pair(s.boxes.offset_x_px, s.boxes.offset_y_px)),
        ("core side, px", lambda s: _range(s.boxes.core_side_px, 1)),
        ("box / core", lambda s: _range(s.boxes.looseness, 1)),
    ),
    (
        ("speed, px/frame", lambda s: _range(s.motion.speed_px_per_frame, 1)),
        ("  against the scene", lambda s: _range(s.motion.own_speed_px_per_frame, 1)),
        ("camera, px/frame", lambda s: _range(s.motion.camera_px_per_frame, 1)),
    ),
)
