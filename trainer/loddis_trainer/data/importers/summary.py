"""What an import brought: frames, targets and box sides of each split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table
from rich.text import Text

from loddis_trainer.data.importers.records import SPLITS, ImportedFrame

__all__ = ["ImportReport", "SplitSummary", "summarise"]


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """One split of an imported domain.

    Attributes:
        split: Its name.
        sequences: Runs of frames; a still counts as one.
        frames: Labelled ones.
        targets: Boxes.
        empty_frames: Frames without a box.
        median_box_side_px: Of √(width · height); ``None`` without targets.
    """

    split: str
    sequences: int
    frames: int
    targets: int
    empty_frames: int
    median_box_side_px: float | None


@dataclass(frozen=True, slots=True)
class ImportReport:
    """A domain that was written.

    Attributes:
        out: Its folder.
        format: What was read.
        recognised_by: Why it was taken for this format; ``None`` if it was said.
        categories: Names of all targets.
        splits: Those that have frames.
        warnings: What was mended or left out, a line each.
    """

    out: Path
    format: str
    recognised_by: str | None
    categories: tuple[str, ...]
    splits: tuple[SplitSummary, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give all of it, ready for JSON."""
        return {**asdict(self), "out": str(self.out)}

    def table(self) -> Table:
        """Give the splits as a table for people."""
        title = f"{self.out} from {self.format}: {', '.join(self.categories) or 'no targets'}"
        table = Table(title=Text(title, style="table.title"))  # names are no markup
        table.add_column("split")
        for heading in ("sequences", "frames", "targets", "empty frames", "median box side"):
            table.add_column(heading, justify="right")
        for each in self.splits:
            side = "–" if each.median_box_side_px is None else f"{each.median_box_side_px:.1f} px"
            counts = (each.sequences, each.frames, each.targets, each.empty_frames)
            table.add_row(each.split, *(str(count) for count in counts), side)
        return table


def summarise(frames: Sequence[ImportedFrame]) -> tuple[SplitSummary, ...]:
    """Count the frames of each split that has any."""
    summaries = []
    for split in SPLITS:
        members = [frame for frame in frames if frame.split == split]
        if not members:
            continue
        sides = [math.sqrt(width * height) for frame in members for _, _, width, height in frame.boxes_xywh]
        summaries.append(
            SplitSummary(
                split,
                sequences=len({frame.group for frame in members}),
                frames=len(members),
                targets=len(sides),
                empty_frames=sum(not frame.boxes_xywh for frame in members),
                median_box_side_px=round(median(sides), 2) if sides else None,
            )
        )
    return tuple(summaries)
