"""The inspection from end to end: open, measure each split, compare them, rank what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loddis_trainer.data.domain import find_domain
from loddis_trainer.data.inspection.astray import astray_findings, find_astray_labels
from loddis_trainer.data.inspection.contrast import contrast_findings, describe_contrast
from loddis_trainer.data.inspection.counts import count_findings, count_split
from loddis_trainer.data.inspection.findings import ranked
from loddis_trainer.data.inspection.frames import describe_frames, format_findings
from loddis_trainer.data.inspection.labels import find_label_faults, label_findings
from loddis_trainer.data.inspection.leak_report import leak_findings
from loddis_trainer.data.inspection.leaks import find_leaks, look_at
from loddis_trainer.data.inspection.looseness import convention_findings, describe_convention
from loddis_trainer.data.inspection.motion import describe_motion, motion_findings
from loddis_trainer.data.inspection.report import Inspection, SplitInspection
from loddis_trainer.data.inspection.sample import TargetSample, measure_sample
from loddis_trainer.data.inspection.sizes import describe_sizes, size_findings
from loddis_trainer.data.inspection.splits import OpenSplit, open_splits
from loddis_trainer.data.inspection.videos import video_headers

__all__ = ["InspectedDomain", "inspect_domain"]

DEFAULT_FRAMES = 2000


@dataclass(frozen=True, slots=True, eq=False)
class InspectedDomain:
    """An inspection with what it looked at, for pictures of it.

    Attributes:
        inspection: What was found.
        splits: Opened.
        samples: Measured targets by split.
    """

    inspection: Inspection
    splits: tuple[OpenSplit, ...]
    samples: dict[str, TargetSample]


def inspect_domain(
    name_or_path: str | Path,
    *,
    data_root: Path | None = None,
    cache_dir: Path | None = None,
    frames: int = DEFAULT_FRAMES,
    progress: bool = True,
) -> InspectedDomain:
    """Look at a domain before training on it.

    Args:
        name_or_path: Folder, or its name under the data root.
        data_root: Folder of domains; ``$LODDIS_DATA`` where it is not given.
        cache_dir: Folder of decoded frames.
        frames: Of each split, whose targets are measured, evenly spaced; at least 1.
        progress: Show bars.

    Raises:
        DataError: No such domain, or a folder of no known format. What is wrong with a split is a finding.
    """
    root = find_domain(name_or_path, data_root=data_root)
    opened, findings = open_splits(root, cache_dir=cache_dir, progress=progress)
    samples = {split.name: measure_sample(split.dataset, frames=frames, progress=progress) for split in opened}
    splits = {split.name: _inspect_split(split, samples[split.name], frames=frames) for split in opened}
    leaks = find_leaks([look_at(split.name, split.dataset, progress=progress) for split in opened])
    findings += count_findings({name: split.counts for name, split in splits.items()})
    findings += leak_findings(leaks)
    findings += label_findings({name: split.labels for name, split in splits.items()})
    findings += astray_findings({name: split.astray for name, split in splits.items()})
    findings += format_findings({name: split.frames for name, split in splits.items()})
    findings += contrast_findings({name: split.contrast for name, split in splits.items()})
    findings += motion_findings({name: split.motion for name, split in splits.items()})
    findings += convention_findings(root.name, {name: split.boxes for name, split in splits.items()})
    findings += size_findings({name: split.sizes for name, split in splits.items()})
    return InspectedDomain(Inspection(root.name, splits, leaks, ranked(findings)), tuple(opened), samples)


def _inspect_split(split: OpenSplit, sample: TargetSample, *, frames: int) -> SplitInspection:
    headers = video_headers(split.sources)
    return SplitInspection(
        counts=count_split(split, headers),
        frames=describe_frames(split, headers, frames=frames),
        sizes=describe_sizes(split.dataset),
        contrast=describe_contrast(split.dataset, sample),
        boxes=describe_convention(split.dataset, sample),
        motion=describe_motion(split.dataset),
        labels=find_label_faults(split),
        astray=find_astray_labels(split.dataset, sample),
    )
