"""Frames of videos that no label names, for windows: a camera shows them before a labelled frame all the same.

They are neither learned from nor measured on, so they are decoded only when a window asks for them, and into a frame
cache of their own, CACHE/DOMAIN-SPLIT-unlabelled-FINGERPRINT. That of the labelled frames holds no others.
"""

from __future__ import annotations

import functools
import logging
from functools import cached_property
from pathlib import Path

import numpy as np

from loddis_runtime.frames import Frame
from loddis_trainer.data.annotations import FrameRecord, SequenceSource, SplitIndex
from loddis_trainer.data.cache import FrameCache
from loddis_trainer.data.readers.videos import decode_frames

__all__ = ["LONGEST_WINDOW", "UnlabelledFrames"]

log = logging.getLogger(__name__)

LONGEST_WINDOW = 5  # frames; what lies farther before a labelled frame no window shows, so it is not decoded
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
        self._cache: FrameCache | None = None

    def prepare(self) -> None:
        """Decode all of them, unless they are in the cache: best done before processes are forked.

        Raises:
            DataError: A frame that cannot be decoded, or a disk that cannot hold the cache.
        """
        if self._sources and self._cache is None:
            self._cache = self._open(progress=self._progress)

    def of_video(self, sequence: str) -> bool:
        """Tell whether a sequence is a video, whose frames are all there, labelled or not."""
        return sequence in self._videos

    def knows(self, sequence: str, frame_index: int) -> bool:
        """Tell whether a frame of a sequence is one of them."""
        return (sequence, frame_index) in self._numbers

    def frame(self, sequence: str, frame_index: int) -> Frame | None:
        """Give the pixels of one of them, ``(H, W)`` uint8 or uint16, a view, not to be written to; none if it is none.

        Raises:
            DataError: As `prepare`, if that was not called.
        """
        number = self._numbers.get((sequence, frame_index))
        if number is None:
            return None
        if self._cache is None:
            log.info("decoding frames of %s:%s without label, for windows", self._index.domain, self._index.split)
            self._cache = self._open(progress=False)  # a bar of the caller's may be there: rich shows one at a time
        return self._cache.frame(number)

    def _open(self, *, progress: bool) -> FrameCache:
        index = SplitIndex(self._index.domain, f"{self._index.split}-{SUFFIX}", self._sources)
        return FrameCache.open(index, cache_dir=self._cache_dir, progress=progress)

    @cached_property
    def _sources(self) -> tuple[SequenceSource, ...]:
        found = (_unlabelled(sequence) for sequence in self._index.sequences)
        return tuple(source for source in found if source is not None)

    @cached_property
    def _videos(self) -> frozenset[str]:
        return frozenset(sequence.name for sequence in self._index.sequences if sequence.video is not None)

    @cached_property
    def _numbers(self) -> dict[tuple[str, int], int]:
        """Number of each in the cache, by sequence and place there."""
        places = [(source.name, record.frame_index) for source in self._sources for record in source.records]
        return {place: number for number, place in enumerate(places)}


def _unlabelled(sequence: SequenceSource) -> SequenceSource | None:
    """Give the frames of a video that are within reach before a labelled one; none of what is no video."""
    video = sequence.video
    if video is None or not sequence.records:
        return None
    labelled = {record.frame_index for record in sequence.records}
    reach = range(1, LONGEST_WINDOW)
    wanted = tuple(sorted({index - back for index in labelled for back in reach if index >= back} - labelled))
    if not wanted:
        return None
    size_hw, no_boxes = sequence.records[0].size_hw, np.empty((0, 4), dtype=np.float32)
    records = tuple(FrameRecord(index, size_hw, no_boxes, ()) for index in wanted)
    return SequenceSource(sequence.name, records, sequence.files, functools.partial(decode_frames, video, wanted))
