"""From runs to a page on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loddis_trainer.errors import TrainingError
from loddis_trainer.reporting.collect import DataSource, collect
from loddis_trainer.reporting.page import render_page
from loddis_trainer.reporting.runs import read_runs
from loddis_trainer.reporting.sections import build_sections

__all__ = ["write_report"]


def write_report(
    runs: Sequence[str],
    out: Path,
    *,
    on: Sequence[str] = (),
    source: DataSource | None = None,
    centre_distance_px: float = 3.0,
) -> dict[str, Any]:
    """Measure runs, and write a page about them in one go: there is never half a page.

    Args:
        runs: Folders of runs, or ``NAME=FOLDER``.
        out: The page.
        on: Splits as ``DOMAIN:SPLIT``; see `collect`.
        source: Where domains are found.
        centre_distance_px: Within which a detection counts for Pd, frame pixels.

    Returns:
        The figures, ready for JSON.

    Raises:
        TrainingError: `out` cannot be a file, or a run that is none.
        DataError: A domain or split that is not there.
        CheckpointError: Weights that cannot be read.
    """
    if out.is_dir() or not out.parent.is_dir():
        raise TrainingError(f"--out must be a file in a folder that exists, got {out}")
    read = read_runs(runs)
    findings = collect(read, source or DataSource(), on=on, centre_distance_px=centre_distance_px)
    title = ", ".join(run.label for run in read) if len(read) <= 3 else f"{len(read)} runs"
    text = render_page(findings, build_sections(findings), title=f"{title} on {', '.join(findings.splits)}")
    fresh = out.with_name(f".{out.name}.new")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(out)
    finally:
        fresh.unlink(missing_ok=True)
    return findings.to_dict()
