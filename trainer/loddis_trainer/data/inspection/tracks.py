"""Targets followed from each labelled frame to the next, by what lies nearest.

Legend: K steps, A and B targets of a frame and of the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.data.domain import DomainDataset
from loddis_trainer.metrics.groups import box_sides_px

__all__ = ["Steps", "follow"]


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Steps of targets between frames that follow one another directly.

    Attributes:
        before: ``(K,)`` frame numbers.
        after: ``(K,)`` those of the next frames.
        moved_xy: ``(K, 2)`` of box centres, frame pixels.
        side_px: ``(K,)`` larger of both box sides.
        certain: ``(K,)`` whether both frames have as many targets, so that none has come or gone.
    """

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    moved_xy: NDArray[np.float64]
    side_px: NDArray[np.float64]
    certain: NDArray[np.bool_]

    @property
    def speed_px(self) -> NDArray[np.float64]:
        """Lengths of the steps, ``(K,)`` px per frame."""
        return np.asarray(np.hypot(self.moved_xy[:, 0], self.moved_xy[:, 1]), dtype=np.float64)


def follow(dataset: DomainDataset) -> Steps:
    """Join targets that are each other's nearest in two frames of which none is missing in between."""
    before, after, moved, sides, certain = [], [], [], [], []
    for name, numbers in dataset.sequences.items():
        for first, second in pairwise(numbers):
            if dataset.records[second].frame_index - dataset.records[first].frame_index != dataset.steps[name]:
                continue
            here, there = dataset.boxes(first).astype(np.float64), dataset.boxes(second).astype(np.float64)
            if not (len(here) and len(there)):
                continue
            rows, columns = _nearest(here, there)
            before.append(np.full(len(rows), first))
            after.append(np.full(len(rows), second))
            moved.append((_centres(there)[columns] - _centres(here)[rows]).reshape(-1, 2))
            sides.append(np.maximum(box_sides_px(here)[rows], box_sides_px(there)[columns]))
            certain.append(np.full(len(rows), len(here) == len(there)))
    if not before:
        none = np.empty(0, dtype=np.int64)
        return Steps(none, none, np.empty((0, 2)), np.empty(0), np.empty(0, dtype=np.bool_))
    return Steps(*(np.concatenate(part) for part in (before, after, moved, sides, certain)))


def _centres(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _nearest(here: NDArray[np.float64], there: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Give the pairs that are each other's nearest: places in both."""
    if len(here) == len(there) == 1:
        one = np.zeros(1, dtype=np.intp)
        return one, one
    distances = np.linalg.norm(_centres(here)[:, None] - _centres(there)[None], axis=2)  # (A, B)
    onwards, back = distances.argmin(axis=1), distances.argmin(axis=0)
    rows = np.flatnonzero(back[onwards] == np.arange(len(here)))
    return rows, onwards[rows]
