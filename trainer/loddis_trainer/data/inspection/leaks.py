"""Frames that stand in two splits, or twice in one: compare all with all, by thumbnails and by their targets.

Legend: N frames looked at in a split, M of them in another, P pairs of frames.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame
from loddis_trainer.data.domain import DomainDataset
from loddis_trainer.data.inspection.bars import tracked
from loddis_trainer.data.inspection.frames import name_frame
from loddis_trainer.data.inspection.leak_report import KINDS, Leak, LeakReport, Overlap
from loddis_trainer.data.inspection.thumbnails import SAME_VIEW, thumbnails

__all__ = ["LookedAt", "find_leaks", "look_at"]

MOST_FRAMES = 2500  # of a split of long sequences, evenly spaced in each; of single images all are looked at
MOST_IMAGES = 20_000
ROWS = 512  # of the correlation matrix at once
SAME_PLACE_PX = 3.0
IDENTICAL, NEAR, VIEW = range(len(KINDS))


@dataclass(frozen=True, slots=True, eq=False)
class LookedAt:
    """Frames of one split, ready to compare.

    Attributes:
        split: Name.
        dataset: Where they come from.
        numbers: ``(N,)`` frame numbers.
        thumbnails: ``(N, 1024)``.
        checksums: ``(N,)`` of the pixels.
        sequences: ``(N,)`` places of their sequences in `names`.
        names: Of sequences.
        targets: ``(N, 3)`` how many targets a frame has, and the mean of their centres, pixels.
    """

    split: str
    dataset: DomainDataset
    numbers: NDArray[np.int64]
    thumbnails: NDArray[np.float32]
    checksums: NDArray[np.int64]
    sequences: NDArray[np.int64]
    names: tuple[str, ...]
    targets: NDArray[np.float64]

    def frame(self, place: int) -> Frame:
        """Give the pixels of one of them."""
        return self.dataset.frame(int(self.numbers[place]))

    def boxes(self, place: int) -> NDArray[np.float32]:
        """Give the targets of one of them."""
        return self.dataset.boxes(int(self.numbers[place]))


def look_at(split: str, dataset: DomainDataset, *, progress: bool = True) -> LookedAt:
    """Make thumbnails and checksums of the frames of a split."""
    numbers = _spaced(dataset)
    checksums: list[int] = []

    def frames() -> Iterator[Frame]:
        title = f"comparing {dataset.name} {split}"
        for number in tracked(numbers, title, progress=progress):
            frame = dataset.frame(number)
            checksums.append(zlib.crc32(np.ascontiguousarray(frame).data.cast("B"), frame.shape[1]))
            yield frame

    small = thumbnails(frames())
    names = tuple(dataset.sequences)
    places = {name: i for i, name in enumerate(names)}
    return LookedAt(
        split=split,
        dataset=dataset,
        numbers=np.array(numbers, dtype=np.int64),
        thumbnails=small,
        checksums=np.array(checksums, dtype=np.int64),
        sequences=np.array([places[dataset.sequence_of(number)] for number in numbers], dtype=np.int64),
        names=names,
        targets=np.array([_summary(dataset.boxes(number)) for number in numbers]).reshape(-1, 3),
    )


def _spaced(dataset: DomainDataset) -> list[int]:
    """Give all frames, or as many of each sequence, its first and its last among them: where recordings are cut."""
    if len(dataset) <= MOST_FRAMES:
        return list(range(len(dataset)))
    each = max(2, MOST_FRAMES // len(dataset.sequences))
    chosen = []
    for numbers in dataset.sequences.values():
        places = np.unique(np.linspace(0, len(numbers) - 1, min(each, len(numbers))).astype(int))
        chosen += [numbers[int(place)] for place in places]
    places = np.unique(np.linspace(0, len(chosen) - 1, min(MOST_IMAGES, len(chosen))).astype(int))
    return [chosen[int(place)] for place in places]


def _summary(boxes: NDArray[np.float32]) -> tuple[float, float, float]:
    if not len(boxes):
        return 0.0, 0.0, 0.0
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2).mean(axis=0)
    return float(len(boxes)), float(x), float(y)


def find_leaks(looked_at: list[LookedAt]) -> LeakReport:
    """Compare all frames of different sequences, across splits and within each."""
    leaks: list[Leak] = []
    overlaps: list[Overlap] = []
    for first, second in combinations_with_replacement(looked_at, 2):
        rows, columns, values = _alike(first, second)
        kinds = _kinds(first, second, rows, columns)
        leaks += _by_sequences(first, second, rows, columns, values, kinds)
        if first is not second:
            overlaps.append(_overlap(first, second, columns, kinds))
    leaks.sort(key=lambda leak: (KINDS.index(leak.kind), leak.splits[0] == leak.splits[1], -leak.correlation))
    return LeakReport({each.split: len(each.numbers) for each in looked_at}, tuple(overlaps), tuple(leaks))


def _alike(first: LookedAt, second: LookedAt) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Give the pairs of frames of different sequences that show one view: places in both, correlations; ``(P,)``."""
    rows, columns, values = [], [], []
    for start in range(0, len(first.numbers), ROWS):
        correlation = first.thumbnails[start : start + ROWS] @ second.thumbnails.T  # (≤ ROWS, M)
        here, there = np.nonzero(correlation >= SAME_VIEW)
        found = correlation[here, there]
        here = here + start
        if first is second:
            kept = first.sequences[here] < second.sequences[there]  # each pair once
            here, there, found = here[kept], there[kept], found[kept]
        rows.append(here)
        columns.append(there)
        values.append(found)
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)


def _kinds(first: LookedAt, second: LookedAt, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.intp]:
    """Tell what pairs of frames that show one view share besides, ``(P,)`` places in `KINDS`."""
    kinds = np.full(len(rows), VIEW)
    between = np.abs(first.targets[rows] - second.targets[columns])  # (P, 3)
    near = (between[:, 0] == 0) & (np.hypot(between[:, 1], between[:, 2]) <= SAME_PLACE_PX)
    for i in np.flatnonzero(near & (first.targets[rows, 0] > 1)):  # of several targets the mean says too little
        near[i] = _same_places(first.boxes(int(rows[i])), second.boxes(int(columns[i])))
    kinds[near] = NEAR
    for i in np.flatnonzero(first.checksums[rows] == second.checksums[columns]):
        if np.array_equal(first.frame(int(rows[i])), second.frame(int(columns[i]))):
            kinds[i] = IDENTICAL
    return kinds


def _same_places(here: NDArray[np.float32], there: NDArray[np.float32]) -> bool:
    """Tell whether each target of one frame lies where one of the other does."""
    centres = [(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (here, there)]
    distances = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=2)
    return bool((distances.min(axis=0) <= SAME_PLACE_PX).all() and (distances.min(axis=1) <= SAME_PLACE_PX).all())


def _by_sequences(
    first: LookedAt,
    second: LookedAt,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    values: NDArray[np.float32],
    kinds: NDArray[np.intp],
) -> list[Leak]:
    """Sum pairs of frames up to pairs of sequences."""
    pair_of = first.sequences[rows] * len(second.names) + second.sequences[columns]
    # By pair of sequences, within it the worst kind first, within that the most alike first.
    order = np.lexsort((-values, kinds, pair_of))
    _, starts = np.unique(pair_of[order], return_index=True)
    leaks = []
    for group in np.split(order, starts[1:]) if len(order) else []:
        best = int(group[0])
        row, column = int(rows[best]), int(columns[best])
        leaks.append(
            Leak(
                kind=KINDS[int(kinds[best])],
                splits=(first.split, second.split),
                sequences=(first.names[int(first.sequences[row])], second.names[int(second.sequences[column])]),
                pairs=int((kinds[group] == kinds[best]).sum()),
                frames=(
                    name_frame(first.dataset, int(first.numbers[row])),
                    name_frame(second.dataset, int(second.numbers[column])),
                ),
                correlation=min(1.0, float(values[best])),
            )
        )
    return leaks


def _overlap(first: LookedAt, second: LookedAt, columns: NDArray[np.intp], kinds: NDArray[np.intp]) -> Overlap:
    """Say how much of the second split the first one holds as well."""
    count = len(second.numbers)
    twins = len(np.unique(columns[kinds != VIEW]))
    return Overlap((first.split, second.split), twins / count, len(np.unique(columns)) / count)
