"""A domain's split, ready to draw from: pixels by memory map, boxes by array.

Legend: H W pixels of a frame, M ground truths of a frame.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame
from loddis_trainer.data.annotations import FrameRecord, SequenceSource, SplitIndex
from loddis_trainer.data.cache import FrameCache
from loddis_trainer.data.errors import BoxError, DataError
from loddis_trainer.data.readers import read_split
from loddis_trainer.data.unlabelled import LONGEST_WINDOW, UnlabelledFrames

__all__ = ["DomainDataset", "find_domain"]

log = logging.getLogger(__name__)


def find_domain(name_or_path: str | Path, *, data_root: Path | None = None) -> Path:
    """Find a domain's folder: a path that exists, else a name under `data_root` or ``$LODDIS_DATA``.

    Raises:
        DataError: No such folder; lists the domains that are there.
    """
    root = data_root or (Path(os.environ["LODDIS_DATA"]) if os.environ.get("LODDIS_DATA") else None)
    if root is not None and (root / name_or_path).is_dir():
        return root / name_or_path
    if Path(name_or_path).is_dir():
        return Path(name_or_path)
    if root is None:
        raise DataError(f"no domain '{name_or_path}': no such folder, and neither a data root nor LODDIS_DATA is given")
    there = sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    raise DataError(f"no domain '{name_or_path}' under {root}; there are: {', '.join(there) or 'none'}")


@dataclass(frozen=True)
class DomainDataset:
    """Labelled frames of one split of one domain.

    Attributes:
        name: Of the domain.
        split: ``train``, ``val`` or ``test``.
        classes: Names that class ids count in.
        root: The domain's folder.
        records: One a frame.
        sequences: Name to frame numbers, in the order of time.
        labels: ``(M,)`` class ids of each frame.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    root: Path
    records: tuple[FrameRecord, ...]
    sequences: dict[str, tuple[int, ...]]
    labels: tuple[NDArray[np.int64], ...]
    _cache: FrameCache
    _cached: tuple[int, ...]
    _unlabelled: UnlabelledFrames

    @classmethod
    def open(
        cls,
        name_or_path: str | Path,
        split: str,
        *,
        data_root: Path | None = None,
        cache_dir: Path | None = None,
        classes: Sequence[str] = ("target",),
        sequences: Iterable[str] | None = None,
        progress: bool = True,
    ) -> DomainDataset:
        """Read a split's annotations and map its decoded frames, decoding them first if need be.

        Args:
            name_or_path: Folder, or its name under the data root.
            split: ``train``, ``val`` or ``test``.
            data_root: Folder of domains; ``$LODDIS_DATA`` where it is not given.
            cache_dir: Folder of decoded frames.
            classes: A single name takes every category; several are matched by name, whatever the case.
            sequences: Only these.
            progress: Show a bar while decoding.

        Raises:
            DataError: A domain that is missing, empty, corrupt, or annotated with a class not in `classes`.
        """
        root = find_domain(name_or_path, data_root=data_root)
        try:
            index = read_split(root, split)
        except BoxError as error:
            raise BoxError(f"{error}; `loddis-trainer data inspect {root}` counts and names all such boxes") from None
        if sequences is not None:
            index = _only(index, tuple(sequences))
        for warning in index.warnings:
            log.warning(warning)
        return cls.of_index(index, root=root, cache_dir=cache_dir, classes=classes, progress=progress)

    @classmethod
    def of_index(
        cls,
        index: SplitIndex,
        *,
        root: Path,
        cache_dir: Path | None = None,
        classes: Sequence[str] = ("target",),
        progress: bool = True,
    ) -> DomainDataset:
        """Map the decoded frames of annotations that have been read, decoding them first if need be.

        Args:
            index: What `read_split` gave.
            root: The domain's folder.
            cache_dir: Folder of decoded frames.
            classes: As of `open`.
            progress: Show a bar while decoding.

        Raises:
            DataError: A frame that cannot be decoded, or a class that is not in `classes`.
        """
        records = tuple(record for sequence in index.sequences for record in sequence.records)
        labels = tuple(_class_ids(record, tuple(classes), root.name) for record in records)
        cache = FrameCache.open(index, cache_dir=cache_dir, progress=progress)
        return cls(
            root.name,
            index.split,
            tuple(classes),
            root,
            records,
            _number(index.sequences),
            labels,
            cache,
            tuple(range(len(records))),
            UnlabelledFrames(index, cache_dir=cache_dir, progress=progress),
        )

    @property
    def label(self) -> str:
        """``DOMAIN:SPLIT``."""
        return f"{self.name}:{self.split}"

    @property
    def parts(self) -> tuple[DomainDataset, ...]:
        """The splits that this is made of: itself."""
        return (self,)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.records)

    def record(self, number: int) -> FrameRecord:
        """Give what is known of a frame."""
        return self.records[number]

    def frame(self, number: int) -> Frame:
        """Give the pixels of a frame, ``(H, W)`` uint8 or uint16; a view, not to be written to."""
        return self._cache.frame(self._cached[number])

    def boxes(self, number: int) -> NDArray[np.float32]:
        """Give the ground truth of a frame, ``(M, 4)`` x1, y1, x2, y2 in frame pixels."""
        return self.records[number].boxes_xyxy

    def class_ids(self, number: int) -> NDArray[np.int64]:
        """Give the classes of a frame's ground truth, ``(M,)``."""
        return self.labels[number]

    def sequence_of(self, number: int) -> str:
        """Name the sequence that a frame belongs to."""
        return self._places[number][0]

    @cached_property
    def _places(self) -> dict[int, tuple[str, int]]:
        """Sequence of each frame, and its place there: looked up for every sample."""
        return {
            number: (name, place) for name, numbers in self.sequences.items() for place, number in enumerate(numbers)
        }

    @cached_property
    def steps(self) -> dict[str, int]:
        """By sequence, how far its frames are apart by index: 1 in videos, which have them all, else as the nearest."""
        steps = {}
        for name, numbers in self.sequences.items():
            indices = [self.records[number].frame_index for number in numbers]
            apart = [after - before for before, after in pairwise(indices) if after > before]
            steps[name] = 1 if self._unlabelled.of_video(name) else min(apart, default=1)
        return steps

    def evenly_spaced(self, count: int) -> list[int]:
        """Give the numbers of at most `count` frames, at least 1, from the first to the last."""
        spaced = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(int))
        return [int(number) for number in spaced]

    def prepare_windows(self, length: int) -> None:
        """Decode what windows of `length` frames show beside labelled ones, unless it is in the cache.

        Windows do so themselves, but without a bar, and in each process anew.

        Raises:
            DataError: A frame that cannot be decoded, or a disk that cannot hold the cache.
        """
        if length > 1:
            self._unlabelled.prepare(length)

    def window(self, number: int, length: int) -> list[Frame]:
        """Give the `length` frames of a sequence that end with this one, oldest first, as a stream would have them.

        These are the frames that came just before, labelled or not: a video's frames without label are decoded for it.
        Where the sequence starts, a frame is missing, or the dtype changes, the first frame after that stands for all
        before it: the network never takes what moved over a hole for the motion of one frame. A `Stream` of the runtime
        starts its window afresh there, too. A clip of every fifth image of a recording misses none: its frames are a
        step apart, that between its nearest two.

        Args:
            number: Of the frame.
            length: From 1 to 5.

        Raises:
            ValueError: A length that no model sees.
            DataError: A frame without label that cannot be decoded.
        """
        if not 1 <= length <= LONGEST_WINDOW:
            raise ValueError(f"a window has 1 to {LONGEST_WINDOW} frames, got {length}")
        frames = [self.frame(number)]
        if length == 1:
            return frames
        name, place = self._places[number]
        sequence, index, step = self.sequences[name], self.records[number].frame_index, self.steps[name]
        while len(frames) < length:
            index -= step
            before: Frame | None
            if place and self.records[sequence[place - 1]].frame_index == index:
                place -= 1
                before = self.frame(sequence[place])
            else:
                before = self._unlabelled.frame(name, index, length=length)
            if before is None or before.dtype != frames[-1].dtype:
                frames += [frames[-1]] * (length - len(frames))
            else:
                frames.append(before)
        return frames[::-1]

    def count_gaps(self) -> int:
        """Count the frames that follow on a gap: the one just before is missing, an earlier one is there."""
        return sum(
            self.records[second].frame_index - self.records[first].frame_index != self.steps[name]
            for name, numbers in self.sequences.items()
            if not self._unlabelled.of_video(name)
            for first, second in pairwise(numbers)
        )

    def take(self, fraction: float, *, seed: int) -> DomainDataset:
        """Keep a share of the frames by whole sequences, at least one: as near to the share as these allow.

        The same seed orders them the same way: a larger fraction holds all that a smaller one does.

        Raises:
            DataError: A fraction outside (0, 1].
        """
        if not 0 < fraction <= 1:
            raise DataError(f"the fraction of domain '{self.name}' must be in (0, 1], got {fraction:g}")
        names = sorted(self.sequences)
        order = np.random.default_rng(seed).permutation(len(names))
        frames = np.cumsum([len(self.sequences[names[i]]) for i in order])
        count = 1 + int(np.abs(frames - fraction * len(self)).argmin())
        return self.keep(names[i] for i in sorted(order[:count]))

    def keep(self, sequences: Iterable[str]) -> DomainDataset:
        """Keep only these sequences.

        Raises:
            DataError: A sequence that is not there.
        """
        kept: list[int] = []
        numbered: dict[str, tuple[int, ...]] = {}
        for name in sequences:
            if name not in self.sequences:
                raise DataError(f"domain '{self.name}' has no sequence '{name}' in its split '{self.split}'")
            numbered[name] = tuple(range(len(kept), len(kept) + len(self.sequences[name])))
            kept.extend(self.sequences[name])
        return replace(
            self,
            records=tuple(self.records[i] for i in kept),
            labels=tuple(self.labels[i] for i in kept),
            sequences=numbered,
            _cached=tuple(self._cached[i] for i in kept),
            _unlabelled=self._unlabelled.keep(numbered),
        )


def _only(index: SplitIndex, names: tuple[str, ...]) -> SplitIndex:
    there = {sequence.name: sequence for sequence in index.sequences}
    for name in names:
        if name not in there:
            raise DataError(f"domain '{index.domain}' has no sequence '{name}' in its split '{index.split}'")
    return replace(index, sequences=tuple(there[name] for name in names))


def _number(sequences: tuple[SequenceSource, ...]) -> dict[str, tuple[int, ...]]:
    numbered: dict[str, tuple[int, ...]] = {}
    start = 0
    for sequence in sequences:
        numbered[sequence.name] = tuple(range(start, start + len(sequence.records)))
        start += len(sequence.records)
    return numbered


def _class_ids(record: FrameRecord, classes: tuple[str, ...], domain: str) -> NDArray[np.int64]:
    if len(classes) == 1:
        return np.zeros(len(record.labels), dtype=np.int64)
    known = {name.casefold(): i for i, name in enumerate(classes)}
    for label in record.labels:
        if label.casefold() not in known:
            raise DataError(
                f"domain '{domain}' labels a '{label}', which is not among the classes {', '.join(classes)}"
            )
    return np.array([known[label.casefold()] for label in record.labels], dtype=np.int64)
