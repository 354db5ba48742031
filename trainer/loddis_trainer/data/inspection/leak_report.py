"""What splits share, and why it matters: figures measured on such frames say what was learned by heart.

Three kinds, by what two frames of different sequences have in common:

- ``identical``: every pixel;
- ``near``: the view (thumbnails correlate at 0.9) and the places of all targets, within 3 px: a copy after compression
  or noise, the next frame of a recording that was cut in two, or what a detector can hardly tell from that;
- ``view``: the view alone, with targets elsewhere: clips of a camera that was not moved. A background that was learned
  helps there; it is a softer leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from loddis_trainer.data.inspection.findings import MOST_EXAMPLES, Finding, Severity, percent

__all__ = ["KINDS", "MOST_LEAKS", "Leak", "LeakCount", "LeakReport", "Overlap", "leak_findings"]

SUBJECT = "leaks"
MOST_LEAKS = 200  # that are listed: of images of one scene every two are one
Kind = Literal["identical", "near", "view"]
KINDS: tuple[Kind, ...] = ("identical", "near", "view")


@dataclass(frozen=True, slots=True)
class Leak:
    """Two sequences (or single images) that share frames of a kind.

    Attributes:
        kind: What they share; ``view``, and within a split any other, only where they share nothing worse.
        splits: Of the first and the second.
        sequences: The first and the second.
        pairs: Pairs of frames of this kind among those looked at.
        frames: The pair that is most alike, by name.
        correlation: Of that pair's thumbnails.
    """

    kind: Kind
    splits: tuple[str, str]
    sequences: tuple[str, str]
    pairs: int
    frames: tuple[str, str]
    correlation: float


@dataclass(frozen=True, slots=True)
class LeakCount:
    """How many pairs of sequences of two splits, or of one, share frames of a kind.

    Attributes:
        kind: As of `Leak`.
        splits: Of the first and the second.
        sequence_pairs: All of them, more than are listed where there are many.
    """

    kind: Kind
    splits: tuple[str, str]
    sequence_pairs: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of one split stands in another.

    Attributes:
        splits: The one learned from, and the one measured on.
        identical_share: Of the second split's frames looked at, in [0, 1], with an identical one in the first.
        twins_share: With an identical or near one.
        view_share: With one that shows the same view at least.
    """

    splits: tuple[str, str]
    identical_share: float
    twins_share: float
    view_share: float


@dataclass(frozen=True, slots=True)
class LeakReport:
    """All that was found.

    Attributes:
        frames_looked_at: Of each split.
        overlaps: Of each two splits.
        counts: Of all pairs of sequences, by kind and splits.
        leaks: Pairs of sequences, across splits and within them, the worst first: of each kind and two splits the
            `MOST_LEAKS` most alike.
    """

    frames_looked_at: dict[str, int]
    overlaps: tuple[Overlap, ...]
    counts: tuple[LeakCount, ...]
    leaks: tuple[Leak, ...]


def leak_findings(report: LeakReport) -> list[Finding]:
    """Say which frames and views stand in two splits, or twice in one."""
    findings = []
    across = [count for count in report.counts if count.splits[0] != count.splits[1]]
    if identical := [count for count in across if count.kind == "identical"]:
        shares = {overlap.splits: overlap.identical_share for overlap in report.overlaps}
        message = (
            f"{_pairs(identical)} in different splits hold identical frames ({_shares(identical, shares)}), so that"
            " figures say what was learned by heart: take one of each out"
        )
        findings.append(_finding("fault", message, report, identical))
    if near := [count for count in across if count.kind == "near"]:
        shares = {overlap.splits: overlap.twins_share for overlap in report.overlaps}
        message = (
            f"{_pairs(near)} in different splits hold frames that are nearly the same, targets and all"
            f" ({_shares(near, shares)}), so that figures say what was learned by heart: split by recording, not by"
            " clip"
        )
        findings.append(_finding("fault", message, report, near))
    if alike := [count for count in across if count.kind == "view"]:
        shares = {overlap.splits: overlap.view_share for overlap in report.overlaps}
        message = (
            f"{_pairs(alike)} in different splits show one view with targets elsewhere ({_shares(alike, shares)}), so"
            " that figures speak of backgrounds that are known: split by place"
        )
        findings.append(_finding("warning", message, report, alike))
    for split in report.frames_looked_at:
        within = [count for count in report.counts if count.splits == (split, split) and count.kind != "view"]
        if within:
            message = (
                f"{_pairs(within)} within '{split}' hold frames that are identical or nearly so and count double: thin"
                " them out if they are many"
            )
            findings.append(_finding("note", message, report, within))
    return findings


def _finding(severity: Severity, message: str, report: LeakReport, counts: list[LeakCount]) -> Finding:
    """Give a finding about these pairs of sequences, with the worst of them as examples."""
    splits = tuple(dict.fromkeys(split for count in counts for split in count.splits))
    concerned = {(count.kind, count.splits) for count in counts}
    worst = [leak for leak in report.leaks if (leak.kind, leak.splits) in concerned][:MOST_EXAMPLES]
    examples = tuple(
        f"{leak.frames[0]} ({leak.splits[0]}) and {leak.frames[1]} ({leak.splits[1]}), correlation"
        f" {leak.correlation:.3f}, {leak.pairs} such pairs"
        for leak in worst
    )
    return Finding(severity, SUBJECT, splits, message, examples)


def _pairs(counts: list[LeakCount]) -> str:
    total = sum(count.sequence_pairs for count in counts)
    return "two sequences" if total == 1 else f"{total} pairs of sequences"


def _shares(counts: list[LeakCount], shares: dict[tuple[str, str], float]) -> str:
    concerned = dict.fromkeys(count.splits for count in counts)
    return ", ".join(f"{percent(shares[pair])} of '{pair[1]}' stands in '{pair[0]}'" for pair in concerned)
