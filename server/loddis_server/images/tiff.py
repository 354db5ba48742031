"""TIFF: one page of 8 or 16 bits or 32-bit floats, grey, or colour that may be grey. TIFF 6.0 and BigTIFF."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loddis_server.images.header import Buffer, Depth, ImageHeader, damaged, decode_with_opencv, truncated
from loddis_server.images.unpacking import UnpackedSize, deflate_size, lzw_size, packbits_size
from loddis_server.problems import TRUE_COLOUR, ProblemError

__all__ = ["check_complete", "decode", "read_header"]

NAME = "TIFF"
MAX_ENTRIES = 4096
# A decoder allocates whole strips or tiles, whatever the size of the picture.
MAX_BLOCK_EXCESS = 4
MIN_BLOCK_PIXELS = 2**16
MAX_BLOCKS = 2**15  # strips or tiles: each costs time, however small it is
# What packs worst makes two bytes of one. More is filling that unpacks to nothing, and takes its time to.
MAX_PACKED_EXCESS, SPARE_PACKED_BYTES = 2, 1024
INTEGER_TYPES = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}  # BYTE, SHORT, LONG, LONG8
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION = 256, 257, 258, 259, 262, 274
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PLANAR = 273, 277, 278, 279, 284
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, SAMPLE_FORMAT = 322, 323, 324, 325, 339
WANTED = frozenset(
    {WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS}
    | {PLANAR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, SAMPLE_FORMAT}
)
UNCOMPRESSED = 1
COMPRESSIONS = {UNCOMPRESSED: "none", 5: "LZW", 8: "Deflate", 32773: "PackBits", 32946: "Deflate"}
UNPACKED_SIZES: dict[int, UnpackedSize] = {
    UNCOMPRESSED: lambda stored, limit: min(len(stored), limit),
    5: lzw_size,
    8: deflate_size,
    32773: packbits_size,
    32946: deflate_size,
}
NO_VALUES = np.empty(0, dtype=np.uint32)
BLACK_IS_ZERO, RGB, PALETTE, CMYK = 1, 2, 3, 5
DEPTHS: dict[tuple[int, int], Depth] = {(8, 1): "uint8", (16, 1): "uint16", (32, 3): "float32"}  # bits, sample format


class _Page(NamedTuple):
    """The first directory of a file.

    Attributes:
        tags: Values of each tag that matters here; views of the file.
        is_last: Whether no other page follows.
    """

    tags: Mapping[int, NDArray[np.unsignedinteger[Any]]]
    is_last: bool

    def get(self, tag: int, default: int) -> int:
        """Give the first value of a tag."""
        values = self.tags.get(tag)
        return default if values is None or not len(values) else int(values[0])


class _Blocks(NamedTuple):
    """The strips or tiles of a picture.

    Attributes:
        total: How many, in all planes.
        planes: That hold one channel each; 1 if channels are interleaved.
        pixels: Of each.
        last_pixels: Of the last in each plane, at least: a strip has only the rows that are left.
    """

    total: int
    planes: int
    pixels: int
    last_pixels: int


def read_header(data: Buffer) -> ImageHeader:
    """Read the first directory.

    Raises:
        ProblemError: It is cut off, or of a kind that is not read.
    """
    page = _read_page(data)
    width, height, channels = page.get(WIDTH, 0), page.get(HEIGHT, 0), page.get(SAMPLES, 1)
    bits, sample_format = page.get(BITS, 1), page.get(SAMPLE_FORMAT, 1)
    photometric = page.get(PHOTOMETRIC, BLACK_IS_ZERO)
    compression = page.get(COMPRESSION, UNCOMPRESSED)
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        raise damaged(NAME, f"{width} x {height} pixels is no picture")
    if photometric == CMYK:
        raise ProblemError(TRUE_COLOUR, "the TIFF is CMYK; send one infrared channel")
    if (photometric, channels) not in ((BLACK_IS_ZERO, 1), (PALETTE, 1), (RGB, 3), (RGB, 4)):
        raise damaged(NAME, f"expected one black-is-zero channel, got {channels} of photometric kind {photometric}")
    depth = DEPTHS.get((bits, sample_format))
    if depth is None:
        kinds = {1: "unsigned integers", 2: "signed integers", 3: "floats"}
        kind = kinds.get(sample_format, f"samples of format {sample_format}")
        raise damaged(NAME, f"expected 8- or 16-bit unsigned integers or 32-bit floats, got {bits}-bit {kind}")
    if compression not in COMPRESSIONS:
        known = ", ".join(dict.fromkeys(COMPRESSIONS.values()))
        raise damaged(NAME, f"its compression must be one of {known}, got number {compression}")
    if page.get(ORIENTATION, 1) != 1:
        raise damaged(NAME, f"its orientation is {page.get(ORIENTATION, 1)}; store rows from top to bottom (1)")
    if not page.is_last:
        raise damaged(NAME, "it has several pages; send one frame a request")
    return ImageHeader(width, height, 3 if photometric == PALETTE else channels, depth)


def check_complete(data: Buffer) -> None:
    """Check that all strips or tiles are there, within the file, and full of pixels.

    Raises:
        ProblemError: The file is cut off, or its blocks do not make up the picture.
    """
    page = _read_page(data)
    tiled = TILE_OFFSETS in page.tags
    starts = page.tags.get(TILE_OFFSETS if tiled else STRIP_OFFSETS, NO_VALUES)
    counts = page.tags.get(TILE_COUNTS if tiled else STRIP_COUNTS, NO_VALUES)
    blocks = _blocks(page, tiled=tiled)
    largest = MAX_BLOCK_EXCESS * max(page.get(WIDTH, 0) * page.get(HEIGHT, 0), MIN_BLOCK_PIXELS)
    if blocks.pixels > largest:
        raise damaged(NAME, f"its strips or tiles have {blocks.pixels} pixels, the picture needs at most {largest}")
    if blocks.total > MAX_BLOCKS:
        raise damaged(NAME, f"it has {blocks.total} strips or tiles, more than the {MAX_BLOCKS} that are read")
    if len(starts) != blocks.total or len(counts) != blocks.total:
        raise damaged(NAME, f"expected {blocks.total} strips or tiles, got {len(starts)} with {len(counts)} lengths")
    if not counts.all():
        raise damaged(NAME, "a strip or tile is empty")
    # Each alone first: the sum of two huge numbers would wrap around.
    end = max(int(starts.max()), int(counts.max()))
    if end <= len(data):
        end = int((starts.astype(np.int64) + counts.astype(np.int64)).max())
    if end > len(data):
        raise truncated(NAME, f"its pixels run to byte {end}, the file has {len(data)}")
    held = int(counts.astype(np.int64).sum())
    if held > len(data):
        raise damaged(NAME, f"its strips or tiles overlap: they have {held} bytes together, the file {len(data)}")
    _check_blocks(memoryview(data), page, blocks, starts.tolist(), counts.tolist())


def decode(data: Buffer, header: ImageHeader) -> NDArray[np.generic]:
    """Decode a file that `read_header` and `check_complete` accepted."""
    return decode_with_opencv(data, header, NAME)


def _check_blocks(view: memoryview, page: _Page, blocks: _Blocks, starts: list[int], counts: list[int]) -> None:
    """Hold what each block unpacks to against its pixels: the decoder leaves black what is not there, an empty sky."""
    pixel_bits = page.get(SAMPLES, 1) // blocks.planes * page.get(BITS, 8)
    whole, last = blocks.pixels * pixel_bits // 8, blocks.last_pixels * pixel_bits // 8
    compression = page.get(COMPRESSION, UNCOMPRESSED)
    if compression == UNCOMPRESSED:
        needed = page.get(WIDTH, 0) * page.get(HEIGHT, 0) * pixel_bits * blocks.planes // 8
        if sum(counts) < needed:
            raise truncated(NAME, f"its pixels need {needed} bytes, it holds {sum(counts)}")
    elif max(counts) > MAX_PACKED_EXCESS * whole + SPARE_PACKED_BYTES:
        raise damaged(NAME, f"a strip or tile of {max(counts)} bytes is too much for the {whole} that it unpacks to")
    unpacked_size = UNPACKED_SIZES[compression]
    in_a_plane = blocks.total // blocks.planes
    for number, (start, count) in enumerate(zip(starts, counts, strict=True), start=1):
        size = unpacked_size(view[start : start + count], whole)
        least = whole if number % in_a_plane else last
        if size is None or not least <= size <= whole:
            raise damaged(NAME, f"the strip or tile at byte {start} does not unpack to its pixels")


def _blocks(page: _Page, *, tiled: bool) -> _Blocks:
    """Work out the strips or tiles that the picture must have."""
    width, height = page.get(WIDTH, 0), page.get(HEIGHT, 0)
    if tiled:
        block_width, block_height = page.get(TILE_WIDTH, 0), page.get(TILE_HEIGHT, 0)
    else:
        block_width, block_height = width, min(page.get(ROWS_PER_STRIP, height), height)
    if not block_width or not block_height or (tiled and (block_width % 16 or block_height % 16)):
        raise damaged(NAME, f"it cannot be made of strips or tiles of {block_width} x {block_height} pixels")
    planes = page.get(SAMPLES, 1) if page.get(PLANAR, 1) == 2 else 1
    total = -(-width // block_width) * -(-height // block_height) * planes
    pixels = block_width * block_height
    return _Blocks(total, planes, pixels, pixels if tiled else width * height % pixels or pixels)


def _read_page(data: Buffer) -> _Page:
    """Read the first directory of a file, in either byte order, classic or big."""
    order = "<" if bytes(data[:2]) == b"II" else ">"
    big = bytes(data[2:4]) in (b"+\0", b"\0+")
    word, entry = ("Q", struct.Struct(order + "HHQ8s")) if big else ("I", struct.Struct(order + "HHI4s"))
    count_of = struct.Struct(order + ("Q" if big else "H"))
    offset_of = struct.Struct(order + word)
    (start,) = _unpack(data, offset_of, 8 if big else 4)
    (entries,) = _unpack(data, count_of, start)
    if not 0 < entries <= MAX_ENTRIES:
        raise damaged(NAME, f"its directory has {entries} entries")
    tags: dict[int, NDArray[np.unsignedinteger[Any]]] = {}
    position = start + count_of.size
    seen: set[int] = set()
    for _ in range(entries):
        tag, kind, count, inline = _unpack(data, entry, position)
        position += entry.size
        # What is read here and what the decoder reads must be the same: readers differ in which of two they take.
        if tag in seen:
            raise damaged(NAME, f"its tag {tag} stands there twice")
        seen.add(tag)
        if tag not in WANTED:
            continue
        if kind not in INTEGER_TYPES:
            raise damaged(NAME, f"its tag {tag} is of type {kind}, no unsigned integer")
        dtype = np.dtype(order + INTEGER_TYPES[kind])
        if count * dtype.itemsize <= len(inline):
            tags[tag] = np.frombuffer(inline, dtype=dtype, count=count)
        else:
            (offset,) = offset_of.unpack(inline)
            if offset + count * dtype.itemsize > len(data):
                raise truncated(NAME, f"tag {tag} lies at byte {offset}, the file has {len(data)}")
            tags[tag] = np.frombuffer(data, dtype=dtype, count=count, offset=offset)
    (following,) = _unpack(data, offset_of, position)
    return _Page(tags, is_last=following == 0)


def _unpack(data: Buffer, layout: struct.Struct, offset: int) -> tuple[Any, ...]:
    """Read a structure at an offset that came from the file."""
    if offset + layout.size > len(data):
        raise truncated(NAME, f"its directory runs to byte {offset + layout.size}, the file has {len(data)}")
    return layout.unpack_from(data, offset)
