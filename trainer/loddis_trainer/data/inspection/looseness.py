"""How a domain's boxes sit on their targets: beside them, and how loosely around them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from loddis_trainer.data.convention import measure_box_offset
from loddis_trainer.data.domain import DomainDataset
from loddis_trainer.data.inspection.distribution import Distribution, distribution
from loddis_trainer.data.inspection.findings import Finding
from loddis_trainer.data.inspection.sample import TargetSample
from loddis_trainer.metrics.groups import box_sides_px

__all__ = ["BoxConvention", "convention_findings", "describe_convention"]

SUBJECT = "boxes"
FEWEST_CLEAR = 20
TIGHT, LOOSE = 1.4, 3.0  # box side over core side: a Gaussian spot boxed at ± 1.5 σ, and at ± 3 σ
OFFSET_PX, SLIGHT_OFFSET_PX = 0.5, 0.25
ANOTHER_CONVENTION = 1.4  # ratio of looseness from which on two splits were boxed unlike


@dataclass(frozen=True, slots=True)
class BoxConvention:
    """Boxes of clear targets (SNR 8 and more) of one split.

    Attributes:
        offset_x_px: Median distance of box centres from their targets, positive to the right; NaN where fewer than 20
            targets tell.
        offset_y_px: Positive downwards.
        clear_targets: Whose core could be measured.
        box_side_px: Of these.
        core_side_px: Of their cores, above half of their height.
        looseness: Box side over core side, each target's own.
    """

    offset_x_px: float
    offset_y_px: float
    clear_targets: int
    box_side_px: Distribution
    core_side_px: Distribution
    looseness: Distribution

    @property
    def known(self) -> bool:
        """Whether enough targets were clear."""
        return self.clear_targets >= FEWEST_CLEAR


def describe_convention(dataset: DomainDataset, sample: TargetSample) -> BoxConvention:
    """Measure how the boxes of a split sit on their targets."""
    offset_x, offset_y = measure_box_offset(dataset)
    if (offset_x, offset_y) == (0.0, 0.0):  # too few clear targets
        offset_x = offset_y = math.nan
    clear = np.isfinite(sample.core_sides_px)
    sides, cores = box_sides_px(sample.boxes_xyxy[clear]), sample.core_sides_px[clear]
    return BoxConvention(
        offset_x_px=offset_x,
        offset_y_px=offset_y,
        clear_targets=int(clear.sum()),
        box_side_px=distribution(sides),
        core_side_px=distribution(cores),
        looseness=distribution(sides / cores),
    )


def convention_findings(domain: str, conventions: dict[str, BoxConvention]) -> list[Finding]:
    """Say what the boxes mean for mixing this domain with others."""
    findings = []
    chosen = next((split for split, found in conventions.items() if found.known), None)  # train, where it can be
    if chosen is None:
        splits = tuple(conventions)
        message = f"fewer than {FEWEST_CLEAR} targets are clear enough (SNR 8) to measure how boxes sit on them"
        return [Finding("note", SUBJECT, splits, message)] if splits else []
    found = conventions[chosen]
    findings.append(Finding("note", SUBJECT, (chosen,), _in_words(domain, found)))
    findings += _offset_findings(conventions)
    for split, other in conventions.items():
        ratio = other.looseness.median / found.looseness.median
        if other.known and max(ratio, 1 / ratio) >= ANOTHER_CONVENTION:
            message = (
                f"boxes in '{split}' are drawn otherwise than in '{chosen}': {other.looseness.median:.1f} against"
                f" {found.looseness.median:.1f} times as wide as the cores within; overlap is judged by another rule"
                " than was learned, so label both alike"
            )
            findings.append(Finding("warning", SUBJECT, (split,), message))
    return findings


def _in_words(domain: str, found: BoxConvention) -> str:
    looseness = found.looseness.median
    boxed = (
        f"boxes of '{domain}' are {looseness:.1f} times as wide as the cores within (medians"
        f" {found.box_side_px.median:.1f} and {found.core_side_px.median:.1f} px)"
    )
    if looseness > LOOSE:
        return f"{boxed}, which is loose: mixed with tighter domains, on either side, use --auxiliary-box-trust 0.2"
    if looseness < TIGHT:
        return f"{boxed}, which is tight: mixed with looser domains, on either side, use --auxiliary-box-trust 0.2"
    return f"{boxed}, about the whole spot: mixed with domains that differ by half, use --auxiliary-box-trust 0.2"


def _offset_findings(conventions: dict[str, BoxConvention]) -> list[Finding]:
    beside = {
        split: (found.offset_x_px, found.offset_y_px)
        for split, found in conventions.items()
        if max(abs(found.offset_x_px), abs(found.offset_y_px)) >= SLIGHT_OFFSET_PX
    }
    if not beside:
        return []
    places = "; ".join(f"'{split}' {_direction(x, y)}" for split, (x, y) in beside.items())
    far = any(max(abs(x), abs(y)) >= OFFSET_PX for x, y in beside.values())
    advice = (
        "subtract it from the labels, since it becomes part of every detection and tells domains apart"
        if far
        else "little enough to leave"
    )
    message = f"box centres lie beside their targets: {places}: {advice}"
    return [Finding("warning" if far else "note", SUBJECT, tuple(beside), message)]


def _direction(x: float, y: float) -> str:
    across = f"{abs(x):.2f} px {'right' if x > 0 else 'left'}"
    down = f"{abs(y):.2f} px {'below' if y > 0 else 'above'}"
    return f"{across}, {down}"
