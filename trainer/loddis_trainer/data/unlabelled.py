"""Frames of videos that no label names, for windows: a camera shows them before a labelled frame all the same.

They are neither learned from nor measured on, so they are decoded only when a window asks for them, and no more than
windows of its length show. Each length has a frame cache of its own, CACHE/DOMAIN-SPLIT-unlabelled-LENGTH-FINGERPRINT:
that of the labelled frames holds no others.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from loddis_runtime.frames import Frame
from loddis_trainer.data.annotations import FrameRecord, SequenceSource, SplitIndex
from loddis_trainer.data.cache import FrameCache
from loddis_trainer.data.readers.videos import decode_frames

__all__ = ["LONGEST_WINDOW", "UnlabelledFrames"]

log = logging.getLogger(__name__)

LONGEST_WINDOW = 5  # frames
SUFFIX = "unlabelled"


class UnlabelledFrames:
    """Frames of a split's videos that have no label, and come so soon before one that has that a window shows both.

    Args:
        index: What is labelled.
        cache_dir: Folder of decoded frames.
        progress: Show a bar while `prepare` decodes.
    """

    def __init__(self, index: SplitIndex, *, cache_dir: Path | None, progress: bool) -> None:
        self._index = index
        self._cache_dir = cache_dir
        self._progress = progress
        self._opened: dict[int, _Opened] = {}

    def keep(self, sequences: Collection[str]) -> UnlabelledFrames:
        """Give those of these sequences alone."""
        kept = tuple(sequence for sequence in self._index.sequences if sequence.name in sequences)
        index = replace(self._index, sequences=kept)
        return UnlabelledFrames(index, cache_dir=self._cache_dir, progress=self._progress)

    def prepare(self, length: int) -> None:
        """Decode all that windows of `length` frames show, unless it is in the cache: best before processes are forked.

        Raises:
            DataError: A frame that cannot be decoded, or a disk that cannot hold the cache.
        """
        if length not in self._opened:
            self._opened[length] = self._open(length, progress=self._progress)

    def of_video(self, sequence: str) -> bool:
        """Tell whether a sequence is a video, whose frames are all there, labelled or not."""
        return sequence in self._videos

    def frame(self, sequence: str, frame_index: int, *, length: int) -> Frame | None:
        """Give the pixels of one that windows of `length` frames show, ``(H, W)`` uint8 or uint16; none if it is none.

        They are a view, not to be written to.

        Raises:
            DataError: As `prepare`, if that was not called.
        """
        if length not in self._opened:
            self._opened[length] = self._open(length, progress=False)  # rich shows one bar at a time: may be a caller's
        return self._opened[length].frame(sequence, frame_index)

    def _open(self, length: int, *, progress: bool) -> _Opened:
        found = (_unlabelled(sequence, length) for sequence in self._index.sequences)
        sources = tuple(source for source in found if source is not None)
        if not sources:
            return _Opened(None, {})
        index = SplitIndex(self._index.domain, f"{self._index.split}-{SUFFIX}-{length}", sources)
        log.info("windows of %d frames show frames of %s:%s without label", length, index.domain, self._index.split)
        places = [(source.name, record.frame_index) for source in sources for record in source.records]
        cache = FrameCache.open(index, cache_dir=self._cache_dir, progress=progress)
        return _Opened(cache, {place: number for number, place in enumerate(places)})

    @cached_property
    def _videos(self) -> frozenset[str]:
        return frozenset(sequence.name for sequence in self._index.sequences if sequence.video is not None)


@dataclass(frozen=True, slots=True)
class _Opened:
    """What windows of one length show.

    Attributes:
        cache: The frames; none if there are none.
        numbers: Number of each there, by sequence and place in it.
    """

    cache: FrameCache | None
    numbers: dict[tuple[str, int], int]

    def frame(self, sequence: str, frame_index: int) -> Frame | None:
        number = self.numbers.get((sequence, frame_index))
        return None if self.cache is None or number is None else self.cache.frame(number)


def _unlabelled(sequence: SequenceSource, length: int) -> SequenceSource | None:
    """Give the unlabelled frames of a video that windows of `length` frames show; none of what is no video."""
    video = sequence.video
    if video is None or not sequence.records:
        return None
    labelled = {record.frame_index for record in sequence.records}
    reach = range(1, length)
    wanted = tuple(sorted({index - back for index in labelled for back in reach if index >= back} - labelled))
    if not wanted:
        return None
    size_hw, no_boxes = sequence.records[0].size_hw, np.empty((0, 4), dtype=np.float32)
    records = tuple(FrameRecord(index, size_hw, no_boxes, ()) for index in wanted)
    return SequenceSource(sequence.name, records, sequence.files, functools.partial(decode_frames, video, wanted))
