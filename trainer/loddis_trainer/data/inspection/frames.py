"""What the frames of a split are like: sizes, bit depths, levels, rates, and how long they run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from loddis_trainer.data.domain import DomainDataset
from loddis_trainer.data.inspection.distribution import Distribution, distribution
from loddis_trainer.data.inspection.findings import MOST_EXAMPLES, Finding, named
from loddis_trainer.data.inspection.splits import OpenSplit
from loddis_trainer.data.inspection.videos import VideoHeader

__all__ = ["FrameFormats", "describe_frames", "format_findings", "name_frame"]

SUBJECT = "frames"
NARROW_SHARE = 0.25  # of the full range: used by less, a full-range policy leaves the network little contrast


@dataclass(frozen=True, slots=True)
class FrameFormats:
    """Frames of one split.

    Attributes:
        sizes: Frames by size, ``width x height`` in pixels, the most first.
        bits: Frames by bits a pixel, the most first.
        lowest_level: Least grey level of the frames looked at.
        highest_level: Greatest.
        flat_frames: Names of frames looked at that are one level throughout.
        frames_looked_at: For levels; evenly spaced.
        rates_fps: Sequences by the rate that their container states, ``unknown`` where it does not, the most first;
            empty where there are no videos.
        sequence_lengths: Labelled frames of sequences.
    """

    sizes: dict[str, int]
    bits: dict[int, int]
    lowest_level: int
    highest_level: int
    flat_frames: tuple[str, ...]
    frames_looked_at: int
    rates_fps: dict[str, int]
    sequence_lengths: Distribution


def describe_frames(split: OpenSplit, headers: dict[str, VideoHeader], *, frames: int) -> FrameFormats:
    """Describe the frames of a split.

    Args:
        split: Opened.
        headers: Of its videos, by sequence.
        frames: How many to look into for levels, at most.
    """
    dataset = split.dataset
    sizes = Counter(f"{width} x {height}" for height, width in split.sizes_hw.tolist())
    bits = Counter(split.bits.tolist())
    lowest, highest, flat = [], [], []
    numbers = dataset.evenly_spaced(frames)
    for number in numbers:
        frame = dataset.frame(number)
        lowest.append(int(frame.min()))
        highest.append(int(frame.max()))
        if lowest[-1] == highest[-1]:
            flat.append(name_frame(dataset, number))
    rates = Counter("unknown" if header.rate_fps is None else f"{header.rate_fps:g}" for header in headers.values())
    return FrameFormats(
        sizes=dict(sizes.most_common()),
        bits=dict(bits.most_common()),
        lowest_level=min(lowest),
        highest_level=max(highest),
        flat_frames=tuple(flat),
        frames_looked_at=len(numbers),
        rates_fps=dict(rates.most_common()),
        sequence_lengths=distribution([len(numbers) for numbers in dataset.sequences.values()]),
    )


def name_frame(dataset: DomainDataset, number: int) -> str:
    """Name a frame for people: its sequence, and its place where there are others."""
    sequence = dataset.sequence_of(number)
    record = dataset.records[number]
    alone = len(dataset.sequences[sequence]) == 1 and record.frame_index == 0
    return sequence if alone else f"{sequence} frame {record.frame_index}"


def format_findings(formats: dict[str, FrameFormats]) -> list[Finding]:
    """Say where formats are mixed, levels lie narrowly, or frames show nothing."""
    findings = []
    for split, found in formats.items():
        if len(found.sizes) > 1:
            several = named([f"{count} of {size}" for size, count in found.sizes.items()])
            message = f"'{split}' mixes frame sizes: {several}; each is letterboxed, so targets change size with them"
            findings.append(Finding("warning", SUBJECT, (split,), message))
        if len(found.bits) > 1:
            several = named([f"{count} of {bits} bit" for bits, count in found.bits.items()])
            message = f"'{split}' mixes bit depths: {several}; train with --intensity.kind percentile, or convert"
            findings.append(Finding("warning", SUBJECT, (split,), message))
        if found.flat_frames:
            message = (
                f"{len(found.flat_frames)} of {found.frames_looked_at} frames looked at in '{split}' are one grey"
                f" level throughout: take them out"
            )
            findings.append(Finding("warning", SUBJECT, (split,), message, found.flat_frames[:MOST_EXAMPLES]))
        if 16 in found.bits:
            findings.append(_wide(split, found))
        if len(found.rates_fps) > 1:
            several = named([f"{count} at {rate}" for rate, count in found.rates_fps.items()])
            message = f"'{split}' mixes frame rates a second: {several}; speeds in pixels per frame differ with them"
            findings.append(Finding("note", SUBJECT, (split,), message))
    single = tuple(split for split, found in formats.items() if found.sequence_lengths.quantiles["max"] == 1)
    if single:
        message = "all are single images: a window of several frames has no motion to learn from"
        findings.append(Finding("note", SUBJECT, single, message))
    return findings + _between_splits(formats)


def _wide(split: str, found: FrameFormats) -> Finding:
    used = (found.highest_level - found.lowest_level) / 65535
    levels = f"'{split}' has 16-bit frames with levels from {found.lowest_level} to {found.highest_level}"
    if used >= NARROW_SHARE:
        return Finding("note", SUBJECT, (split,), f"{levels}: they stay 16 bit through training and in the bundle")
    advice = f"{100 * used:.1f} % of the range; train with --intensity.kind percentile"
    if used:
        limits = f"--intensity.low {found.lowest_level} --intensity.high {found.highest_level}"
        advice += f", or with --intensity.kind full_range {limits}"
    return Finding("warning", SUBJECT, (split,), f"{levels}, {advice}")


def _between_splits(formats: dict[str, FrameFormats]) -> list[Finding]:
    findings = []
    train = formats.get("train")
    for split, found in formats.items():
        if train is None or split == "train":
            continue
        for what, here, there in (
            ("frame sizes", list(found.sizes), list(train.sizes)),
            ("bit depths", [f"{bits} bit" for bits in found.bits], [f"{bits} bit" for bits in train.bits]),
        ):
            unknown = [value for value in here if value not in there]
            if unknown:
                message = (
                    f"'{split}' has {what} that 'train' lacks: {named(unknown)} against {named(there)}; check that both"
                    " come from one sensor"
                )
                findings.append(Finding("warning", SUBJECT, (split,), message))
    return findings
