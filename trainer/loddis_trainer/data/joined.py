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


@dataclass(frozen=True, slots=False)
class JoinedSplits:
    """Frames of several splits, numbered through.

    Attributes:
        parts: The splits, in order.
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
        """Name the sequence that a frame belongs to, and its domain."""
        part, own = self._locate(number)
        return f"{part.name}/{part.sequence_of(own)}"

    def record(self, number: int) -> FrameRecord:
        """Give what is known of a frame."""
        part, own = self._locate(number)
        return part.record(own)

    def window(self, number: int, length: int) -> list[Frame]:
        """Give `length` frames of a sequence that end with this one, oldest first."""
        part, own = self._locate(number)
        return part.window(own, length)

    def evenly_spaced(self, count: int) -> list[int]:
        """Give at most `count` numbers, as many of each split; one that holds fewer gives what it has."""
        starts = self._ends - [len(part) for part in self.parts]
        share = max(1, count // len(self.parts))
        return [
            int(start) + own
            for start, part in zip(starts, self.parts, strict=True)
            for own in part.evenly_spaced(share)
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
    """Give one split as it is, several as one."""
    return parts[0] if len(parts) == 1 else JoinedSplits(tuple(parts))
