"""How many bytes the packed pixels of a TIFF unpack to: Deflate, PackBits, LZW. TIFF 6.0, sections 9 and 13.

The decoder leaves black what does not unpack, and says nothing: an empty sky. So all that is packed is measured before
it is decoded.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["UnpackedSize", "deflate_size", "lzw_size", "packbits_size"]

Packed = bytes | memoryview
UnpackedSize = Callable[[Packed, int], int | None]

# By the first byte of a run of PackBits: below 128, that many bytes and one follow as they are; above, one byte to be
# repeated; 128 is nothing.
HEADS = np.arange(256)
RUN_STEPS = np.select([HEADS < 128, HEADS > 128], [HEADS + 2, 2], 1)  # bytes to the next
RUN_SIZES = np.select([HEADS < 128, HEADS > 128], [HEADS + 1, 257 - HEADS], 0)
LONGEST_RUN = int(RUN_STEPS.max())
# Pixels make long runs, which are soon walked one by one; of runs that are shorter on average, many are walked at once.
RUNS_ONE_BY_ONE, BYTES_PER_RUN = 64, 32
RUNS_BLOCK, RUN_DOUBLINGS = 2**14, 5

CLEAR, END, FIRST_ENTRY = 256, 257, 258  # codes of LZW: empty the table; no more data; the first string in the table
MAX_WIDTH = 12  # bits of a code
MAX_CODES = 4096 + 1024 - FIRST_ENTRY  # between two clears; decoders bear with tables that are not cleared in time
# An encoder clears its table when it is full or packs badly, which it needs thousands of codes to know.
BYTES_PER_CLEAR, SPARE_CLEARS = 1024, 2
HIGHEST = np.arange(MAX_CODES) + END  # that each code may be: the entry that it is about to make
# Nine bits, until that entry needs more; one code early, as TIFF has it.
WIDTHS = 9 + np.searchsorted([2**9 - 1, 2**10 - 1, 2**11 - 1], HIGHEST, side="right")
ENDS = np.cumsum(WIDTHS)  # bits from the clear to the end of each code
HIGHEST[0] = CLEAR - 1  # the first makes none


def deflate_size(packed: Packed, limit: int) -> int | None:
    """Give the bytes that a Deflate stream unpacks to, its checksum right; None if it does not, or to over `limit`."""
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(packed, limit + 1)
    except zlib.error:
        return None
    return len(unpacked) if stream.eof else None


def packbits_size(packed: Packed, limit: int) -> int | None:
    """Give the bytes that runs of PackBits unpack to; None if the last is cut off, or they are over `limit`."""
    size = position = 0
    for _ in range(RUNS_ONE_BY_ONE + len(packed) // BYTES_PER_RUN):
        if position >= len(packed) or size > limit:
            break
        head = packed[position]
        size += RUN_SIZES.item(head)
        position += RUN_STEPS.item(head)
    data = np.frombuffer(packed, dtype=np.uint8)
    while position < len(data) and size <= limit:
        step, unpacked = _many_runs(data[position : position + RUNS_BLOCK])
        position += step
        size += unpacked
    return size if position <= len(packed) and size <= limit else None


def _many_runs(data: NDArray[np.uint8]) -> tuple[int, int]:
    """Give how far the runs that begin in `data` reach, and the bytes that they unpack to, many runs at a time."""
    count = len(data)
    ends = np.arange(count + LONGEST_RUN)  # of the run that begins at each byte; from beyond the data none does
    ends[:count] += RUN_STEPS.take(data)
    sizes = np.zeros_like(ends)
    sizes[:count] = RUN_SIZES.take(data)
    for _ in range(RUN_DOUBLINGS):  # every turn doubles the runs from each byte
        sizes += sizes.take(ends)
        ends = ends.take(ends)
    position = size = 0
    while position < count:
        size += sizes.item(position)
        position = ends.item(position)
    return position, size


def lzw_size(packed: Packed, limit: int) -> int | None:
    """Give the bytes that codes of LZW unpack to; None if one of them is impossible, or they are over `limit`.

    Nothing is unpacked: the string of a code is one byte longer than that of the code that its entry was made from.
    """
    data = np.frombuffer(packed, dtype=np.uint8)
    bits = 8 * len(data)
    if bits < 9 or (int(data[0]) << 1 | int(data[1]) >> 7) != CLEAR:
        return None
    position, size = 9, 0
    for _ in range(SPARE_CLEARS + limit // BYTES_PER_CLEAR):
        codes = _codes(data, position, int(np.searchsorted(ENDS, bits - position, side="right")))
        stops = np.flatnonzero((codes == CLEAR) | (codes == END))
        count = int(stops[0]) if len(stops) else len(codes)
        strings = codes[:count]
        if (strings > HIGHEST[:count]).any():
            return None
        size += _total_length(strings)
        if size > limit:
            return None
        if count == len(codes):  # no more data, or a table that nobody clears
            return size if count < MAX_CODES else None
        if codes[count] == END:
            return size
        position += int(ENDS[count])
    return None


def _codes(data: NDArray[np.uint8], position: int, count: int) -> NDArray[np.int64]:
    """Read the codes after a clear, the first at a bit of the data."""
    starts = position % 8 + ENDS[:count] - WIDTHS[:count]
    first = position // 8
    held = np.zeros(count * MAX_WIDTH // 8 + 4, dtype=np.int64)
    part = data[first : first + len(held)]
    held[: len(part)] = part
    windows = held[:-2] << 16 | held[1:-1] << 8 | held[2:]  # 24 bits from each byte on
    read: NDArray[np.int64] = windows[starts >> 3] >> (24 - WIDTHS[:count] - (starts & 7)) & ((1 << WIDTHS[:count]) - 1)
    return read


def _total_length(codes: NDArray[np.int64]) -> int:
    """Add up the lengths of strings: each is one byte, and one for every entry on the way back to a byte."""
    count = len(codes)
    before = np.full(count + 1, count)  # the code that made the entry; `count` stands for none
    before[:count] = np.where(codes < CLEAR, count, codes - FIRST_ENTRY)
    steps = (before < count).astype(np.int64)
    while (before < count).any():  # every turn doubles how far back `before` points
        steps += steps[before]
        before = before[before]
    return count + int(steps.sum())
