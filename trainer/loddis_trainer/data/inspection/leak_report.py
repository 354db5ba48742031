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

from loddis_trainer.data.inspection.findings import MOST_EXAMPLES, Finding

__all__ = ["KINDS", "Leak", "LeakReport", "Overlap", "leak_findings"]

SUBJECT = "leaks"
Kind = Literal["identical", "near", "view"]
KINDS: tuple[Kind, ...] = ("identical", "near", "view")


@dataclass(frozen=True, slots=True)
class Leak:
    """Two sequences (or single images) that share frames.

    Attributes:
        kind: The worst that was found.
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
class Overlap:
    """How much of one split stands in another.

    Attributes:
        splits: The one learned from, and the one measured on.
        twins_share: Of the second split's frames looked at, in [0, 1], with an identical or near one in the first.
        view_share: With one that shows the same view at least.
    """

    splits: tuple[str, str]
    twins_share: float
    view_share: float


@dataclass(frozen=True, slots=True)
class LeakReport:
    """All that was found.

    Attributes:
        frames_looked_at: Of each split.
        overlaps: Of each two splits.
        leaks: Pairs of sequences, across splits and within them, the worst first.
    """

    frames_looked_at: dict[str, int]
    overlaps: tuple[Overlap, ...]
    leaks: tuple[Leak, ...]

    def of(self, kind: Kind, *, across: bool) -> list[Leak]:
        """Give those of one kind, across splits or within them."""
        return [leak for leak in self.leaks if leak.kind == kind and (leak.splits[0] != leak.splits[1]) == across]


def leak_findings(report: LeakReport) -> list[Finding]:
    """Say which frames and views stand in two splits, or twice in one."""
    findings = []
    twins = {o.splits: o.twins_share for o in report.overlaps}
    views = {o.splits: o.view_share for o in report.overlaps}
    if identical := report.of("identical", across=True):
        message = (
            f"{_pairs(identical)} in different splits hold identical frames ({_shares(identical, twins)}), so that"
            " figures say what was learned by heart: take one of each out"
        )
        findings.append(Finding("fault", SUBJECT, _splits(identical), message, _frames(identical)))
    if near := report.of("near", across=True):
        message = (
            f"{_pairs(near)} in different splits hold frames that are nearly the same, targets and all"
            f" ({_shares(near, twins)}), so that figures say what was learned by heart: split by recording, not by clip"
        )
        findings.append(Finding("fault", SUBJECT, _splits(near), message, _frames(near)))
    if alike := report.of("view", across=True):
        message = (
            f"{_pairs(alike)} in different splits show one view with targets elsewhere ({_shares(alike, views)}), so"
            " that figures speak of backgrounds that are known: split by place"
        )
        findings.append(Finding("warning", SUBJECT, _splits(alike), message, _frames(alike)))
    for split in report.frames_looked_at:
        within = [leak for leak in report.leaks if leak.splits == (split, split) and leak.kind != "view"]
        if within:
            message = (
                f"{_pairs(within)} within '{split}' hold frames that are identical or nearly so and count double: thin"
                " them out if they are many"
            )
            findings.append(Finding("note", SUBJECT, (split,), message, _frames(within)))
    return findings


def _pairs(leaks: list[Leak]) -> str:
    return "two sequences" if len(leaks) == 1 else f"{len(leaks)} pairs of sequences"


def _shares(leaks: list[Leak], shares: dict[tuple[str, str], float]) -> str:
    concerned = dict.fromkeys(leak.splits for leak in leaks)
    return ", ".join(f"{_percent(shares[pair])} of '{pair[1]}' stands in '{pair[0]}'" for pair in concerned)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def _splits(leaks: list[Leak]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(split for leak in leaks for split in leak.splits))


def _frames(leaks: list[Leak]) -> tuple[str, ...]:
    return tuple(
        f"{leak.frames[0]} ({leak.splits[0]}) and {leak.frames[1]} ({leak.splits[1]}), correlation"
        f" {leak.correlation:.3f}, {leak.pairs} such pairs"
        for leak in leaks[:MOST_EXAMPLES]
    )
