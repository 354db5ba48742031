"""PNG: 8 and 16 bits, grey, or colour that may turn out to be grey. https://www.w3.org/TR/png-3/"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from loddis_server.images.header import Buffer, ImageHeader, damaged, decode_with_opencv, truncated

__all__ = ["check_complete", "decode", "read_header"]

NAME = "PNG"
SIGNATURE_BYTES = 8
CHUNK = struct.Struct(">I4s")  # length, type; data and a CRC of 4 bytes follow
IHDR = struct.Struct(">IIBBBBB")
MAX_CHUNKS = 65_536
PACKED_PIECE_BYTES, PIECE_BYTES = 2**14, 2**18  # of rows, packed and not
PICTURE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
# Colour type -> bit depths, samples that a pixel is stored as, channels that the decoder gives.
KINDS: dict[int, tuple[tuple[int, ...], int, Literal[1, 3, 4]]] = {
    0: ((1, 2, 4, 8, 16), 1, 1),  # grey
    2: ((8, 16), 3, 3),
    3: ((1, 2, 4, 8), 1, 3),  # palette
    4: ((8, 16), 2, 4),  # grey with alpha
    6: ((8, 16), 4, 4),
}
# Of Adam7: first column and row of each pass, and the steps to the next.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
ONE_PASS = ((0, 0, 1, 1),)


def read_header(data: Buffer) -> ImageHeader:
    """Read the first chunk.

    Raises:
        ProblemError: It is cut off, or describes no picture.
    """
    end = SIGNATURE_BYTES + CHUNK.size + IHDR.size
    if len(data) < end:
        raise truncated(NAME, "within its header")
    length, kind = CHUNK.unpack_from(data, SIGNATURE_BYTES)
    if kind != b"IHDR" or length != IHDR.size:
        raise damaged(NAME, "it does not begin with its header")
    width, height, bits, colour, _, _, _ = IHDR.unpack_from(data, SIGNATURE_BYTES + CHUNK.size)
    if colour not in KINDS or bits not in KINDS[colour][0] or not width or not height:
        raise damaged(NAME, f"{width} x {height} pixels, colour type {colour} of {bits} bits is no picture")
    return ImageHeader(width, height, KINDS[colour][2], "uint16" if bits == 16 else "uint8")


def check_complete(data: Buffer) -> None:
    """Walk all chunks to the end, and hold their checksums against them.

    Raises:
        ProblemError: The file is cut off or damaged, or an animation.
    """
    for kind, _, _ in _chunks(memoryview(data)):
        if kind in ANIMATION:
            raise damaged(NAME, "it is an animation; send one frame a request")


def decode(data: Buffer, header: ImageHeader) -> NDArray[np.generic]:
    """Decode a file that `read_header` and `check_complete` accepted.

    The decoder gets the chunks of the picture alone, its rows no longer compressed: texts, profiles and what may follow
    the last row can be compressed a thousandfold, and it would unpack it all. Those rows are the only copy of them.
    """
    view = memoryview(data)
    chunks = [(kind, start, end) for kind, start, end in _chunks(view) if kind in PICTURE]
    content = [view[start + CHUNK.size : end - 4] for kind, start, end in chunks if kind == b"IDAT"]
    file = bytearray(view[:SIGNATURE_BYTES])
    for kind, start, end in chunks:
        if kind not in (b"IDAT", b"IEND"):
            file += view[start:end]
    packer = zlib.compressobj(0)
    for rows in _inflate(content, _rows_size(view)):
        file += _chunk(b"IDAT", packer.compress(rows))
    file += _chunk(b"IDAT", packer.flush())
    file += _chunk(b"IEND", b"")
    return decode_with_opencv(memoryview(file), header, NAME)


def _rows_size(view: memoryview) -> int:
    """Give the bytes of all rows, each with the byte of its filter."""
    width, height, bits, colour, _, _, interlaced = IHDR.unpack_from(view, SIGNATURE_BYTES + CHUNK.size)
    pixel_bits = bits * KINDS[colour][1]
    size = 0
    for column, row, step_x, step_y in PASSES if interlaced else ONE_PASS:
        columns, rows = -(-(width - column) // step_x), -(-(height - row) // step_y)
        size += rows * (1 + -(-columns * pixel_bits // 8)) if columns > 0 and rows > 0 else 0
    return size


def _inflate(content: list[memoryview], size: int) -> Iterator[bytes]:
    """Decompress rows a piece at a time, no more than there may be."""
    stream = zlib.decompressobj()
    left = size
    try:
        for packed in _pieces(content):
            rows = stream.decompress(packed, PIECE_BYTES)
            while rows:
                left -= len(rows)
                if left < 0:
                    raise damaged(NAME, f"its pixels need {size} bytes, it unpacks to more")
                yield rows
                rows = stream.decompress(stream.unconsumed_tail, PIECE_BYTES)
            if stream.eof:  # what follows is not looked at
                break
    except zlib.error:
        raise damaged(NAME, "its pixels do not unpack") from None
    if left or not stream.eof:
        raise damaged(NAME, f"its pixels need {size} bytes, it unpacks to {size - left}")


def _pieces(content: list[memoryview]) -> Iterator[memoryview]:
    """Cut packed content into pieces: what a piece leaves over is copied each time that some of it is unpacked."""
    for part in content:
        for start in range(0, len(part), PACKED_PIECE_BYTES):
            yield part[start : start + PACKED_PIECE_BYTES]


def _chunk(kind: bytes, content: bytes) -> bytes:
    """Make a chunk."""
    return b"".join([CHUNK.pack(len(content), kind), content, struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))])


def _chunks(view: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """Give kind, first byte and end of all chunks up to and with the last; raise if the file ends before it."""
    start = SIGNATURE_BYTES
    for _ in range(MAX_CHUNKS):
        if start + CHUNK.size > len(view):
            raise truncated(NAME, f"no end chunk in {len(view)} bytes")
        length, kind = CHUNK.unpack_from(view, start)
        end = start + CHUNK.size + length
        if end + 4 > len(view):
            raise truncated(NAME, f"a chunk runs to byte {end + 4}, the file has {len(view)}")
        (checksum,) = struct.unpack_from(">I", view, end)
        if zlib.crc32(view[start + 4 : end]) != checksum:
            raise damaged(NAME, f"the checksum of the chunk at byte {start} is wrong")
        yield kind, start, end + 4
        if kind == b"IEND":
            return
        start = end + 4
    raise damaged(NAME, f"it has more than {MAX_CHUNKS} chunks")
