"""Tables of the report: headline figures, data, configuration."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.config import FitConfig
from loddis_trainer.domain_spec import describe_share
from loddis_trainer.earlier import config_of
from loddis_trainer.errors import CheckpointError
from loddis_trainer.metrics import Metrics
from loddis_trainer.metrics.groups import box_sides_px
from loddis_trainer.metrics.images import pool_frames
from loddis_trainer.reporting.collect import Findings
from loddis_trainer.reporting.runs import TrainedRun

__all__ = ["Cell", "Table", "configuration_table", "data_tables", "headline_tables"]

NOT_RECORDED = "not recorded"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: its text, whether it is the best of its column, and which run's colour marks it (0 for none)."""

    text: str
    best: bool = False
    run: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption; the first `words` columns hold words, the others figures."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str
    words: int = 1
    dense: bool = False
    kind: str = "table"


# Name, figure, how to write it, and whether more is better whatever stands beside it.
COLUMNS: tuple[tuple[str, Callable[[Metrics], float], str, bool], ...] = (
    ("mAP50", lambda m: m.map50, "percent", True),
    ("Pr", lambda m: m.pr, "percent", False),
    ("Re", lambda m: m.re, "percent", False),
    ("F1", lambda m: m.f1, "percent", True),
    ("Pd", lambda m: m.pd, "percent", False),
    ("Fa per frame", lambda m: m.fa_per_frame, "number", False),
    ("Pd at 0.1 Fa", lambda m: m.pd_at(0.1), "percent", True),
    ("score ≥", lambda m: m.score_threshold, "number", False),
)


def headline_tables(findings: Findings) -> list[Table]:
    """Give the figures of every run, a table a split."""
    tables = []
    for split in findings.splits:
        of_runs = [findings.of(run, split).metrics for run in findings.runs]
        columns = []
        for _, figure, form, more_is_better in COLUMNS:
            values = [figure(metrics) for metrics in of_runs]
            known = [value for value in values if math.isfinite(value)]
            best = None
            if more_is_better and len(findings.runs) > 1 and len(set(known)) > 1:
                best = max(known)
            columns.append([Cell(_write(value, form), best=value == best) for value in values])
        rows = [
            (Cell(run.label, run=number), Cell(run.kind), *(column[number - 1] for column in columns))
            for number, run in enumerate(findings.runs, 1)
        ]
        first = of_runs[0]
        several = (
            " Differences of a point or two between single trainings are within what another seed changes."
            if len(findings.runs) > 1
            else ""
        )
        tables.append(
            Table(
                split,
                ("run", "trained on", *(name for name, *_ in COLUMNS)),
                tuple(rows),
                f"{first.frames} frames with {first.targets} targets. mAP50, Pr, Re and F1 ask for an IoU of 0.5, as"
                f" the field counts; Pd and false alarms (Fa) for a centre within {first.centre_distance_px:g} px."
                f"{several}",
                words=2,
            )
        )
    return tables


def data_tables(findings: Findings) -> list[Table]:
    """Say what each run was trained on, and what it was measured on."""
    trained = [
        (
            Cell(run.label, run=number),
            Cell(domain.name),
            Cell(domain.role),
            Cell(describe_share(domain.share, domain.fraction)),
            Cell(f"{domain.sequences}"),
            Cell(f"{domain.frames}"),
        )
        for number, run in enumerate(findings.runs, 1)
        for domain in run.info.domains
    ]
    measured = []
    for split in findings.splits:
        result = findings.of(findings.runs[0], split)
        pool = pool_frames(result.results)
        sides, snr = box_sides_px(pool.truth_boxes_xyxy), pool.truth_snr[np.isfinite(pool.truth_snr)]
        measured.append(
            (
                Cell(split),
                Cell(f"{pool.frames} of {len(result.dataset)}"),
                Cell(f"{len(sides)}"),
                Cell(_quartiles(sides, "px")),
                Cell(_quartiles(snr, "")),
            )
        )
    how = "" if findings.chosen else " The splits were chosen by default: test, or val where a domain has no test."
    return [
        Table(
            "Trained on",
            ("run", "domain", "role", "share", "sequences", "frames"),
            tuple(trained),
            "Share taken of the frames of each domain's train split; only whole sequences are.",
            words=3,
        ),
        Table(
            "Measured on",
            ("split", "frames", "targets", "side of boxes", "local SNR"),
            tuple(measured),
            f"Sides and SNR: median, and the range of the middle half.{how}",
        ),
    ]


def configuration_table(findings: Findings) -> Table:
    """Give every setting of every run; those that differ between runs come first and are marked."""
    of_runs = [_settings(run) for run in findings.runs]
    rows: list[tuple[bool, tuple[Cell, ...]]] = []
    named: dict[str, list[str]] = {}
    for name in FitConfig.model_fields:
        for place, settings in enumerate(of_runs):
            for key, value in _flat(name, settings[name]).items() if name in settings else ():
                named.setdefault(key, [NOT_RECORDED] * len(of_runs))[place] = value
    for name, values in named.items():
        differ = len({*values} - {NOT_RECORDED}) > 1
        rows.append((differ, (Cell(name, best=differ), *(Cell(value, best=differ) for value in values))))
    rows.sort(key=lambda row: not row[0])
    epochs = "; ".join(
        f"{run.label}: epoch {run.info.epoch} of {run.info.config.get('epochs')}" for run in findings.runs
    )
    return Table(
        "Configuration",
        ("setting", *(run.label for run in findings.runs)),
        tuple(cells for _, cells in rows),
        f"In bold and first, what differs between the runs. The best validation came after {epochs}.",
        words=1 + len(findings.runs),
        dense=True,
    )


def _settings(run: TrainedRun) -> dict[str, Any]:
    """Give a run's settings, those that came later at what they were before; as recorded where that cannot be told."""
    try:
        return config_of(run.info, name=run.label).model_dump(mode="json")
    except CheckpointError:
        return dict(run.info.config)


def _flat(name: str, value: Any) -> dict[str, str]:
    """Write a setting, or the settings of a group, as text."""
    if isinstance(value, dict):
        return {f"{name}.{key}": text for key, inner in value.items() for text in _flat(key, inner).values()}
    if isinstance(value, list):
        return {name: ", ".join(str(one) for one in value) or "–"}
    if value is None:
        return {name: "–"}
    return {name: value if isinstance(value, str) else json.dumps(value)}


def _write(value: float, form: str) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{100 * value:.1f} %" if form == "percent" else f"{value:.3f}"


def _quartiles(values: NDArray[np.float64], unit: str) -> str:
    if not len(values):
        return "–"
    low, middle, high = np.percentile(values, (25, 50, 75))
    return f"{middle:.1f} {unit} ({low:.1f} – {high:.1f})".replace("  ", " ")
