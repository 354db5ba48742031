"""How large targets are boxed: sides, groups by side, aspect."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.data.domain import DomainDataset
from loddis_trainer.data.inspection.distribution import Distribution, distribution
from loddis_trainer.data.inspection.findings import Finding
from loddis_trainer.metrics.groups import SIZE_EDGES_PX, box_sides_px

__all__ = ["TargetSizes", "all_boxes", "describe_sizes", "size_findings"]

SUBJECT = "sizes"
ANOTHER_SIZE = 1.5  # ratio of medians from which on two splits are unlike
TINY_PX = 4.0


@dataclass(frozen=True, slots=True)
class TargetSizes:
    """Boxes of one split, all of them.

    Attributes:
        side_px: √(width · height), with shares in the size groups of the metrics.
        aspect: Width / height.
        commonest: The size ``width x height`` that most boxes have, in pixels; empty without boxes.
        commonest_share: Of all boxes, in [0, 1]; 1 says that the size is a convention.
    """

    side_px: Distribution
    aspect: Distribution
    commonest: str
    commonest_share: float


def all_boxes(dataset: DomainDataset) -> NDArray[np.float64]:
    """Give the boxes of a split, ``(N, 4)`` x1, y1, x2, y2 in frame pixels."""
    boxes = [record.boxes_xyxy for record in dataset.records]
    return np.concatenate(boxes).astype(np.float64) if boxes else np.empty((0, 4))


def describe_sizes(dataset: DomainDataset) -> TargetSizes:
    """Describe the boxes of a split."""
    boxes = all_boxes(dataset)
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    sizes = Counter(f"{width:g} x {height:g}" for width, height in zip(wide.round(2), high.round(2), strict=True))
    commonest, count = sizes.most_common(1)[0] if sizes else ("", 0)
    return TargetSizes(
        side_px=distribution(box_sides_px(boxes), edges=SIZE_EDGES_PX),
        aspect=distribution(wide / np.maximum(high, 1e-6)),
        commonest=commonest,
        commonest_share=count / len(boxes) if len(boxes) else math.nan,
    )


def size_findings(sizes: dict[str, TargetSizes]) -> list[Finding]:
    """Say where boxes are of one size, hardly larger than a cell of the network, or unlike those learned from."""
    findings = []
    alike: dict[str, list[str]] = {}
    for split, found in sizes.items():
        if found.side_px.count > 1 and found.commonest_share >= 0.99:
            alike.setdefault(found.commonest, []).append(split)
    for size, splits in alike.items():
        message = (
            f"all boxes are {size} px: the size is a convention, so overlap with them measures"
            " places only; as an auxiliary domain use --auxiliary-box-trust 0"
        )
        findings.append(Finding("note", SUBJECT, tuple(splits), message))
    train = sizes.get("train")
    if train and train.side_px.count and train.side_px.quantiles["p25"] < TINY_PX:
        message = (
            f"a quarter of the boxes in 'train' are under {TINY_PX:g} px: try --stride 4 and --box-loss nwd, by which"
            " each has a cell of its own and a loss that does not vanish"
        )
        findings.append(Finding("note", SUBJECT, ("train",), message))
    for split, found in sizes.items():
        if train is None or split == "train" or not (train.side_px.median > 0 and found.side_px.median > 0):
            continue
        ratio = found.side_px.median / train.side_px.median
        if max(ratio, 1 / ratio) >= ANOTHER_SIZE:
            message = (
                f"boxes in '{split}' are {ratio:.2f} times as large as in 'train' (median {found.side_px.median:.1f}"
                f" against {train.side_px.median:.1f} px): check that both were labelled alike, or split anew"
            )
            findings.append(Finding("warning", SUBJECT, (split,), message))
    return findings
