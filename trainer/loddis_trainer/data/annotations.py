"""What a reader gives of a domain: frames by sequence, each with its boxes; no pixels yet.

Legend: M ground truths of a frame.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["FrameRecord", "SequenceSource", "SplitIndex"]

Split = str


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One labelled frame.

    Attributes:
        frame_index: Place in its sequence, from 0, as the annotation counts.
        size_hw: Height and width that its boxes were annotated in, pixels; the decoded frame must have them.
        boxes_xyxy: ``(M, 4)`` float32 in frame pixels; M = 0 says "looked at, nothing there".
        labels: M category names.
    """

    frame_index: int
    size_hw: tuple[int, int]
    boxes_xyxy: NDArray[np.float32]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SequenceSource:
    """A run of frames in the order of time; a still image is a sequence of one.

    Attributes:
        name: Unique in its domain.
        records: Labelled frames by rising index, all of one size.
        files: Files the pixels come from, for the cache's fingerprint: one a record, or one for all.
        decode: Gives the pixels of every record, in order, ``(H, W)`` each.
    """

    name: str
    records: tuple[FrameRecord, ...]
    files: tuple[Path, ...]
    decode: Callable[[], Iterator[NDArray[np.generic]]]

    @property
    def video(self) -> Path | None:
        """The video that all frames come from, the labelled ones and others; none where each has a file."""
        if len(self.files) != 1:
            return None
        kind = mimetypes.guess_type(self.files[0].name)[0] or ""
        return self.files[0] if kind.startswith("video/") else None

    def where(self, place: int) -> str:
        """Name the file and the frame of a record, for messages."""
        return f"{self.files[min(place, len(self.files) - 1)]}, frame {self.records[place].frame_index}"


@dataclass(frozen=True, slots=True)
class SplitIndex:
    """One split of a domain.

    Attributes:
        domain: Name.
        split: ``train``, ``val`` or ``test``.
        sequences: All of them, by name.
        warnings: What was mended on the way, a line each.
    """

    domain: str
    split: Split
    sequences: tuple[SequenceSource, ...]
    warnings: tuple[str, ...] = ()
