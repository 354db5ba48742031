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
from loddis_trainer.data.inspection.leak_report import KINDS, MOST_LEAKS, Leak, LeakCount, LeakReport, Overlap
from loddis_trainer.data.inspection.thumbnails import SAME_VIEW, thumbnails

__all__ = ["LookedAt", "find_leaks", "look_at"]

MOST_FRAMES = 2500  # of a split of long sequences, evenly spaced in each; of single images all are looked at
MOST_IMAGES = 20_000
ROWS = 256  # of the correlation matrix at once
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
    overlaps: list[Overlap] = []
    counts: list[LeakCount] = []
    leaks: list[Leak] = []
    for first, second in combinations_with_replacement(looked_at, 2):
        tally = _Tally(first, second)
        for alike in _alike(first, second):
            tally.add(alike)
        counts += tally.counts()
        leaks += tally.leaks()
        if first is not second:
            overlaps.append(tally.overlap())
    leaks.sort(key=lambda leak: (KINDS.index(leak.kind), leak.splits[0] == leak.splits[1], -leak.correlation))
    looked = {each.split: len(each.numbers) for each in looked_at}
    return LeakReport(looked, tuple(overlaps), tuple(counts), tuple(leaks))


@dataclass(frozen=True, slots=True, eq=False)
class _Alike:
    """Pairs of frames of different sequences that show one view.

    Attributes:
        rows: ``(P,)`` places in the first split.
        columns: ``(P,)`` places in the second.
        correlations: ``(P,)`` of their thumbnails.
        kinds: ``(P,)`` what they share besides, places in `KINDS`.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    correlations: NDArray[np.float32]
    kinds: NDArray[np.intp]


def _alike(first: LookedAt, second: LookedAt) -> Iterator[_Alike]:
    """Give the pairs of frames that show one view, some sequences of the first split at a time.

    Of images of one scene every two do: never are all of the pairs in memory.
    """
    for start, end in _whole_sequences(first.sequences):
        correlation = first.thumbnails[start:end] @ second.thumbnails.T  # (end - start, M)
        here, there = np.nonzero(correlation >= SAME_VIEW)
        found = correlation[here, there]
        here = here + start
        if first is second:
            kept = first.sequences[here] < second.sequences[there]  # each pair once
            here, there, found = here[kept], there[kept], found[kept]
        if len(here):
            yield _Alike(here, there, found, _kinds(first, second, here, there))


def _whole_sequences(sequences: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut the frames of a split, which come by sequence, into runs of whole sequences, of `ROWS` frames at least."""
    ends = np.append(np.flatnonzero(np.diff(sequences)) + 1, len(sequences))
    start = 0
    while start < len(sequences):
        end = int(ends[min(int(np.searchsorted(ends, start + ROWS)), len(ends) - 1)])
        yield start, end
        start = end


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


class _Tally:
    """Counts what two splits share, and keeps the worst of it by name."""

    def __init__(self, first: LookedAt, second: LookedAt) -> None:
        self.first = first
        self.second = second
        self._sequence_pairs = np.zeros(len(KINDS), dtype=np.int64)
        self._worst: list[list[Leak]] = [[] for _ in KINDS]
        self._stands = np.zeros((len(KINDS), len(second.numbers)), dtype=np.bool_)  # in the first split too

    def add(self, alike: _Alike) -> None:
        """Add all pairs of frames of some sequences of the first split."""
        for kind in range(len(KINDS)):
            self._stands[kind, alike.columns[alike.kinds == kind]] = True
        number = self.first.sequences[alike.rows] * len(self.second.names) + self.second.sequences[alike.columns]
        pairs, pair_of = np.unique(number, return_inverse=True)  # of sequences
        worst_of = np.full(len(pairs), VIEW)
        np.minimum.at(worst_of, pair_of, alike.kinds)
        for kind in range(len(KINDS)):
            counted = alike.kinds == kind
            if kind == VIEW or self.first is self.second:
                counted &= worst_of[pair_of] == kind
            self._add_kind(kind, alike, pair_of, np.flatnonzero(counted))

    def _add_kind(self, kind: int, alike: _Alike, pair_of: NDArray[np.intp], places: NDArray[np.intp]) -> None:
        """Sum pairs of frames of a kind up to pairs of sequences, and keep those that are most alike."""
        order = places[np.lexsort((-alike.correlations[places], pair_of[places]))]  # by pair, the most alike first
        _, starts, frames = np.unique(pair_of[order], return_index=True, return_counts=True)
        self._sequence_pairs[kind] += len(starts)
        best = order[starts]
        most_alike = np.argsort(-alike.correlations[best], kind="stable")[:MOST_LEAKS]
        kept = [
            self._leak(
                kind, int(alike.rows[best[i]]), int(alike.columns[best[i]]), alike.correlations[best[i]], frames[i]
            )
            for i in most_alike
        ]
        self._worst[kind] = sorted(self._worst[kind] + kept, key=lambda leak: -leak.correlation)[:MOST_LEAKS]

    def _leak(self, kind: int, row: int, column: int, correlation: np.float32, pairs: np.int64) -> Leak:
        first, second = self.first, self.second
        return Leak(
            kind=KINDS[kind],
            splits=(first.split, second.split),
            sequences=(first.names[int(first.sequences[row])], second.names[int(second.sequences[column])]),
            pairs=int(pairs),
            frames=(
                name_frame(first.dataset, int(first.numbers[row])),
                name_frame(second.dataset, int(second.numbers[column])),
            ),
            correlation=min(1.0, float(correlation)),
        )

    def counts(self) -> list[LeakCount]:
        """Give how many pairs of sequences there are of each kind."""
        splits = (self.first.split, self.second.split)
        return [
            LeakCount(kind, splits, int(count))
            for kind, count in zip(KINDS, self._sequence_pairs, strict=True)
            if count
        ]

    def leaks(self) -> list[Leak]:
        """Give the worst of each kind."""
        return [leak for leaks in self._worst for leak in leaks]

    def overlap(self) -> Overlap:
        """Say how much of the second split the first one holds as well."""
        shares = [float(self._stands[: kind + 1].any(axis=0).mean()) for kind in range(len(KINDS))]
        return Overlap((self.first.split, self.second.split), *shares)
