"""How much of everything a split holds, and how much of it is labelled."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from loddis_trainer.data.annotations import SequenceSource
from loddis_trainer.data.inspection.findings import MOST_EXAMPLES, Finding, Severity, named, percent
from loddis_trainer.data.inspection.splits import OpenSplit
from loddis_trainer.data.inspection.videos import VideoHeader

__all__ = ["SplitCounts", "count_findings", "count_split"]

SUBJECT = "counts"
FEW_TARGETS = 100  # fewer make steps of over 1 % in every figure
UNLABELLED_SHARE = 0.05  # of a split's frames, from which on it is a warning


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """Counts of one split.

    Attributes:
        sequences: Runs of frames; a single image is one.
        frames: Labelled ones, those looked at and found empty included.
        targets: Boxes that lie on their image, in part at least.
        boxes_off_image: Wholly outside of it: no targets, and left out of all other figures.
        boxes_over_edge: In part outside of it: targets of what is inside.
        boxes_of_no_area: Of a width or height that is not positive: left out as well.
        frames_without_targets: Labelled as empty.
        unlabelled_frames: Frames of videos without a row, and gaps in the counting of clips: neither learned from nor
            measured on.
        unlabelled_by_sequence: The same by sequence, the most first; only those that lack some.
        categories: Targets of each, the most first.
        targets_per_frame_mean: Over labelled frames.
        targets_per_frame_max: In the most crowded one.
    """

    sequences: int
    frames: int
    targets: int
    boxes_off_image: int
    boxes_over_edge: int
    boxes_of_no_area: int
    frames_without_targets: int
    unlabelled_frames: int
    unlabelled_by_sequence: dict[str, int]
    categories: dict[str, int]
    targets_per_frame_mean: float
    targets_per_frame_max: int


def count_split(split: OpenSplit, headers: dict[str, VideoHeader]) -> SplitCounts:
    """Count a split.

    Args:
        split: Opened.
        headers: Of its videos, by sequence.
    """
    dataset, misplaced = split.dataset, split.misplaced
    per_frame = [len(dataset.boxes(number)) for number in range(len(dataset))]
    missing = Counter(
        {
            source.name: _unlabelled(source, headers.get(source.name), step=dataset.steps[source.name])
            for source in split.sources
        }
    )
    missing = +missing
    lacking = misplaced.lacking
    categories = Counter(label for record in dataset.records for label in record.labels)
    return SplitCounts(
        sequences=len(dataset.sequences),
        frames=len(dataset),
        targets=sum(per_frame),
        boxes_off_image=len(misplaced.off_image),
        boxes_over_edge=len(misplaced.over_edge),
        boxes_of_no_area=len(misplaced.no_area),
        frames_without_targets=sum(not count and i not in lacking for i, count in enumerate(per_frame)),
        unlabelled_frames=missing.total(),
        unlabelled_by_sequence=dict(missing.most_common()),
        categories=dict(categories.most_common()),
        targets_per_frame_mean=sum(per_frame) / len(per_frame),
        targets_per_frame_max=max(per_frame),
    )


def _unlabelled(source: SequenceSource, header: VideoHeader | None, *, step: int) -> int:
    indices = [record.frame_index for record in source.records]
    if header is not None:
        return max(0, header.frames - len(indices))
    return (max(indices) - min(indices)) // step + 1 - len(set(indices)) if indices else 0


def count_findings(counts: dict[str, SplitCounts]) -> list[Finding]:
    """Say what of the counts stands against training or measuring."""
    findings = []
    for split, found in counts.items():
        if not found.targets:
            message = f"'{split}' has not one target in {found.frames} frames: nothing can be learned or measured there"
            findings.append(Finding("fault", SUBJECT, (split,), message))
        elif found.targets < FEW_TARGETS:
            message = f"'{split}' has {found.targets} targets only: each is over 1 % of every figure; label more"
            findings.append(Finding("warning", SUBJECT, (split,), message))
        if found.sequences == 1:
            message = (
                f"'{split}' is one sequence only: its frames resemble one another, and no part of it can be set aside"
                " by whole sequences; add others"
            )
            findings.append(Finding("warning", SUBJECT, (split,), message))
        findings += _unlabelled_findings(split, found)
    return findings + _category_findings(counts)


def _unlabelled_findings(split: str, found: SplitCounts) -> list[Finding]:
    if not found.unlabelled_frames:
        return []
    lacking = found.unlabelled_by_sequence
    share = found.unlabelled_frames / (found.frames + found.unlabelled_frames)
    message = (
        f"frames of '{split}' without label, which are left out: {found.unlabelled_frames} in"
        f" {len(lacking)} of {found.sequences} sequences, {percent(share)}; label them where a target is in sight"
    )
    examples = tuple(f"{name}: {count}" for name, count in list(lacking.items())[:MOST_EXAMPLES])
    severity: Severity = "warning" if share >= UNLABELLED_SHARE else "note"
    return [Finding(severity, SUBJECT, (split,), message, examples)]


def _category_findings(counts: dict[str, SplitCounts]) -> list[Finding]:
    if "train" not in counts:
        return []
    findings = []
    learned = {name.casefold(): name for name in counts["train"].categories}  # a training matches them so
    for split, found in counts.items():
        measured = {name.casefold(): name for name in found.categories}
        unknown = sorted(measured[name] for name in measured.keys() - learned.keys())
        if unknown and learned:
            message = f"'{split}' has categories that 'train' lacks, which are never learned: {named(unknown)}"
            findings.append(Finding("warning", SUBJECT, (split,), message))
        missed = sorted(learned[name] for name in learned.keys() - measured.keys())
        if missed and measured:
            message = f"'{split}' lacks categories of 'train', so that nothing says how they are found: {named(missed)}"
            findings.append(Finding("note", SUBJECT, (split,), message))
    return findings
