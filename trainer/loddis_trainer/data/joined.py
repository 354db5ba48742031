"""Splits of several domains read as one: what a model with several tasks is chosen and compared on.

Legend: T frames of a window, H W pixels, M ground truths of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame
from loddis_trainer.data.annotations import FrameRecord
from loddis_trainer.data.domain import DomainDataset

__all__ = ["JoinedSplits", "LabelledFrames", "join"]


@dataclass(frozen=True)
class JoinedSplits:
    """Frames of several splits, numbered through.

    Attributes:
        parts: The splits, in order; at least one.
    """

    parts: tuple[DomainDataset, ...]

    @property
    def label(self) -> str:
        """All of them as ``DOMAIN:SPLIT``."""
        return ", ".join(part.label for part in self.parts)

    def __len__(self) -> int:
        """Number of frames."""
        return int(self._ends[-1])

    def frame(self, number: int) -> Frame:
        """Give the pixels of a frame, ``(H, W)``; a view, not to be written to."""
        part, own = self._locate(number)
        return part.frame(own)

    def boxes(self, number: int) -> NDArray[np.float32]:
        """Give the ground truth of a frame, ``(M, 4)`` x1, y1, x2, y2 in frame pixels."""
        part, own = self._locate(number)
        return part.boxes(own)

    def class_ids(self, number: int) -> NDArray[np.int64]:
        """Give the classes of a frame's ground truth, ``(M,)``."""
        part, own = self._locate(number)
        return part.class_ids(own)

    def sequence_of(self, number: int) -> str:
        """Name the sequence that a frame belongs to, and its split."""
        part, own = self._locate(number)
        return f"{part.label}/{part.sequence_of(own)}"

    def label_of(self, number: int) -> str:
        """Name the split that a frame belongs to, ``DOMAIN:SPLIT``."""
        return self._locate(number)[0].label

    def record(self, number: int) -> FrameRecord:
        """Give what is known of a frame."""
        part, own = self._locate(number)
        return part.record(own)

    def prepare_windows(self, length: int) -> None:
        """Decode what windows of `length` frames show beside labelled ones, unless it is in the cache."""
        for part in self.parts:
            part.prepare_windows(length)

    def window(self, number: int, length: int) -> list[Frame]:
        """Give `length` frames of a sequence that end with this one, oldest first."""
        part, own = self._locate(number)
        return part.window(own, length)

    def evenly_spaced(self, count: int) -> list[int]:
        """Give at most `count` numbers, at least 1: as many of each split, more of others where one holds fewer."""
        starts = self._ends - [len(part) for part in self.parts]
        shares = _shares(count, [len(part) for part in self.parts])
        return [
            int(start) + own
            for start, part, share in zip(starts, self.parts, shares, strict=True)
            for own in (part.evenly_spaced(share) if share else [])
        ]

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([len(part) for part in self.parts])

    def _locate(self, number: int) -> tuple[DomainDataset, int]:
        which = int(np.searchsorted(self._ends, number, side="right"))
        part = self.parts[which]
        return part, number - int(self._ends[which]) + len(part)


LabelledFrames: TypeAlias = DomainDataset | JoinedSplits
"""A split, or several as one."""


def join(parts: Sequence[DomainDataset]) -> LabelledFrames:
    """Give one split as it is, several as one.

    Raises:
        ValueError: There is none.
    """
    if not parts:
        raise ValueError("there is no split to join")
    return parts[0] if len(parts) == 1 else JoinedSplits(tuple(parts))


def _shares(count: int, sizes: Sequence[int]) -> list[int]:
    """Share a count out among splits of these sizes, the smallest first: what it lacks goes to the others."""
    shares, left = [0] * len(sizes), count
    for place, which in enumerate(sorted(range(len(sizes)), key=lambda one: sizes[one])):
        shares[which] = min(sizes[which], left // (len(sizes) - place))
        left -= shares[which]
    return shares
