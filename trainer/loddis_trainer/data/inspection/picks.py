"""Which targets of a split to show: the extremes and the middle, of as many sequences as there are.

Legend: N targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.data.domain import DomainDataset
from loddis_trainer.data.inspection.sample import TargetSample
from loddis_trainer.metrics.groups import box_sides_px

__all__ = ["Pick", "pick_targets"]

EVEN_PX = 0.5  # sides that differ by less over a split are of one size


@dataclass(frozen=True, slots=True)
class Pick:
    """One target to show.

    Attributes:
        reason: Why, in a word or two.
        target: Its place in the sample.
    """

    reason: str
    target: int


def pick_targets(dataset: DomainDataset, sample: TargetSample, *, count: int) -> list[Pick]:
    """Choose targets of a sample.

    Each is the first of its order whose sequence is not shown yet, or else whose frame is not.

    Args:
        dataset: The split.
        sample: Measured targets of it.
        count: At most.
    """
    picks: list[Pick] = []
    sequences: set[str] = set()
    frames: set[int] = set()
    for reason, order in _orders(sample):
        if len(picks) == count:
            break
        named = [(int(i), dataset.sequence_of(int(sample.numbers[i]))) for i in order]
        fresh = next((i for i, name in named if name not in sequences), None)
        if fresh is None:
            fresh = next((i for i, _ in named if int(sample.numbers[i]) not in frames), None)
        if fresh is None:
            continue
        picks.append(Pick(reason, fresh))
        frames.add(int(sample.numbers[fresh]))
        sequences.add(dataset.sequence_of(int(sample.numbers[fresh])))
    return picks


def _orders(sample: TargetSample) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Give reasons, and all targets by how well they serve each, the best first; ``(N,)`` each."""
    if not len(sample.snr):
        return
    sides = box_sides_px(sample.boxes_xyxy)
    _, of_frame, crowd = np.unique(sample.numbers, return_inverse=True, return_counts=True)
    yield "dimmest", np.argsort(sample.snr, kind="stable")
    yield "median", _nearest(sample.snr, 0.5)
    if np.ptp(sides) >= EVEN_PX:
        yield "smallest", np.argsort(sides, kind="stable")
    if crowd.max() > 1:
        yield "most crowded", np.argsort(-crowd[of_frame], kind="stable")
    if np.ptp(sides) >= EVEN_PX:
        yield "largest", np.argsort(-sides, kind="stable")
    yield "brightest", np.argsort(-sample.snr, kind="stable")
    yield "dim quartile", _nearest(sample.snr, 0.25)
    yield "bright quartile", _nearest(sample.snr, 0.75)
    yield "dim tenth", _nearest(sample.snr, 0.1)


def _nearest(values: NDArray[np.float64], quantile: float) -> NDArray[np.intp]:
    return np.argsort(np.abs(values - np.quantile(values, quantile)), kind="stable")
