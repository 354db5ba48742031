"""How a batch of any size runs in engines that were made for a few sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Chunk", "split_batch"]


class Chunk(NamedTuple):
    """Frames `start` to `stop` of a batch, run as a batch of `size`, which is at least as many."""

    start: int
    stop: int
    size: int


def split_batch(count: int, sizes: Sequence[int]) -> list[Chunk]:
    """Cut a batch into chunks: the largest size while it is full, then the smallest that takes the rest.

    Args:
        count: Frames.
        sizes: Batch sizes that there are, ascending.

    >>> split_batch(6, [1, 4])
    [Chunk(start=0, stop=4, size=4), Chunk(start=4, stop=6, size=4)]
    """
    chunks = []
    for start in range(0, count, sizes[-1]):
        stop = min(start + sizes[-1], count)
        chunks.append(Chunk(start, stop, next(size for size in sizes if size >= stop - start)))
    return chunks
