"""How a batch of any size runs in engines that were made for a few sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Chunk", "split_batch"]

LAUNCH_FRAMES = 2  # what one more launch is taken to cost, in frames computed for nothing


class Chunk(NamedTuple):
    """Frames `start` to `stop` of a batch, run as a batch of `size`, which is at least as many."""

    start: int
    stop: int
    size: int


def split_batch(count: int, sizes: Sequence[int]) -> list[Chunk]:
    """Cut a batch into chunks: the largest size while it is full, then what takes the rest at least cost.

    An engine computes all frames of a size, those that are not there too, and each launch has a price of its own.
    So 5 frames are 4 and 1, not a third of 16; and 2 are half of 4, not 1 and 1.

    Args:
        count: Frames.
        sizes: Batch sizes that there are, ascending.

    >>> [chunk.size for chunk in split_batch(21, [1, 4, 16])]
    [16, 4, 1]
    >>> split_batch(6, [1, 4])
    [Chunk(start=0, stop=4, size=4), Chunk(start=4, stop=6, size=4)]
    """
    full, rest = divmod(count, sizes[-1])
    chunks = []
    start = 0
    for size in [sizes[-1]] * full + _cheapest(rest, sizes):
        stop = min(start + size, count)
        chunks.append(Chunk(start, stop, size))
        start = stop
    return chunks


def _cheapest(count: int, sizes: Sequence[int]) -> list[int]:
    """Give the sizes that take `count` frames, at most the largest size: one for all, or full ones and then others."""
    if count == 0:
        return []
    plans = [[next(size for size in sizes if size >= count)]]
    for number, size in enumerate(sizes):
        if size < count:
            plans.append([size] * (count // size) + _cheapest(count % size, sizes[: number + 1]))
    return min(plans, key=lambda plan: sum(plan) + LAUNCH_FRAMES * len(plan))
