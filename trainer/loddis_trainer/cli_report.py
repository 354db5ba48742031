"""The command `loddis-trainer report`."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field
from rich.console import Console

from loddis_runtime.command import CliPositionalArg, SubCommand
from loddis_trainer.domain_spec import SplitName

__all__ = ["Report"]


class Report(SubCommand):
    """Write one HTML page about one or several runs: figures, curves, pictures, and what the method did.

    For example: loddis-trainer report alone=runs/p plain=runs/p-a loddis=runs/sky --on sky:test --out report.html
    """

    runs: CliPositionalArg[list[str]] = Field(description="Folders of runs, or NAME=FOLDER; up to eight.", min_length=1)
    out: Path = Field(description="File for the page.")
    on: list[SplitName] = Field(
        default=[],
        description="DOMAIN:SPLIT to measure on; repeats; test, or else val, of the task domains by default.",
    )
    data_root: Path | None = Field(
        default=None, description="Folder of the domains; that of the runs, or LODDIS_DATA, by default."
    )
    cache_dir: Path | None = Field(default=None, description="Folder of decoded frames; the user's cache by default.")
    frames: int = Field(default=1000, ge=0, description="Most frames of a split, evenly spaced; 0: all.")
    centre_distance_px: float = Field(
        default=3.0, gt=0, description="Within which a detection counts for Pd, frame pixels."
    )
    as_json: bool = Field(default=False, alias="json", description="Print the figures as JSON.")

    def cli_cmd(self) -> None:
        """Write the page."""
        from loddis_trainer.reporting import write_report  # torch and matplotlib take seconds; --help does not wait
        from loddis_trainer.reporting.collect import DataSource

        source = DataSource(
            data_root=self.data_root, cache_dir=self.cache_dir, most_frames=self.frames, progress=not self.as_json
        )
        figures = write_report(
            self.runs, self.out, on=self.on, source=source, centre_distance_px=self.centre_distance_px
        )
        if self.as_json:
            print(json.dumps({"out": str(self.out), "runs": figures}, indent=2))
            return
        size = self.out.stat().st_size / 1e6
        text = f"{self.out}: {len(figures)} runs, {size:.1f} MB"
        Console().print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)
