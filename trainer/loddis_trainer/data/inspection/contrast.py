"""How far targets stand out from the noise around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loddis_trainer.data.domain import DomainDataset
from loddis_trainer.data.inspection.distribution import Distribution, distribution
from loddis_trainer.data.inspection.findings import MOST_EXAMPLES, Finding
from loddis_trainer.data.inspection.frames import name_frame
from loddis_trainer.data.inspection.sample import TargetSample
from loddis_trainer.metrics.groups import SNR_EDGES

__all__ = ["NOTHING_SNR", "TargetContrast", "contrast_findings", "describe_contrast"]

SUBJECT = "contrast"
NOTHING_SNR = 1.5  # the peak of a box that holds nothing but noise is at 1 to 3: below it there is not even that
ANOTHER_SNR = 2.0  # ratio of medians from which on two splits are unlike


@dataclass(frozen=True, slots=True)
class TargetContrast:
    """Targets of the frames looked at in one split.

    Attributes:
        snr: With shares in the SNR groups of the metrics.
        frames_looked_at: Evenly spaced.
        nothing: Boxes in which nothing stands out, SNR below 1.5.
        dimmest: The worst of those by name, with box and SNR.
    """

    snr: Distribution
    frames_looked_at: int
    nothing: int
    dimmest: tuple[str, ...]


def describe_contrast(dataset: DomainDataset, sample: TargetSample) -> TargetContrast:
    """Describe a sample of a split."""
    order = np.argsort(sample.snr, kind="stable")
    empty = [i for i in order if sample.snr[i] < NOTHING_SNR]
    return TargetContrast(
        snr=distribution(sample.snr, edges=SNR_EDGES),
        frames_looked_at=len(sample.frames),
        nothing=len(empty),
        dimmest=tuple(_name(dataset, sample, int(i)) for i in empty[:MOST_EXAMPLES]),
    )


def _name(dataset: DomainDataset, sample: TargetSample, i: int) -> str:
    x1, y1, x2, y2 = sample.boxes_xyxy[i]
    where = name_frame(dataset, int(sample.numbers[i]))
    return f"{where}, box at {x1:.0f}, {y1:.0f} of {x2 - x1:.0f} x {y2 - y1:.0f} px, SNR {sample.snr[i]:.1f}"


def contrast_findings(contrasts: dict[str, TargetContrast]) -> list[Finding]:
    """Say where boxes hold nothing to see, and where a split is much dimmer or brighter than what is learned from."""
    findings = []
    for split, found in contrasts.items():
        if found.nothing:
            share = 100 * found.nothing / found.snr.count
            message = (
                f"in {found.nothing} of {found.snr.count} boxes looked at in '{split}' ({share:.1f} %) nothing stands"
                f" out (SNR < {NOTHING_SNR}): look at them, and take out those that are no targets"
            )
            findings.append(Finding("warning", "labels", (split,), message, found.dimmest))
    train = contrasts.get("train")
    for split, found in contrasts.items():
        if train is None or split == "train" or not (train.snr.median > 0 and found.snr.median > 0):
            continue
        ratio = found.snr.median / train.snr.median
        if max(ratio, 1 / ratio) >= ANOTHER_SNR:
            kind = "dimmer" if ratio < 1 else "brighter"
            message = (
                f"targets in '{split}' are {kind} than in 'train' (median SNR {found.snr.median:.1f} against"
                f" {train.snr.median:.1f}): its figures speak of other conditions; compare them by SNR group"
            )
            findings.append(Finding("warning", SUBJECT, (split,), message))
    return findings
