"""Bodies that the server takes, one of every variant it reads, and bombs that it must not unpack."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

__all__ = ["HARMLESS_BOMBS", "Body", "bombs", "seeds"]

SIZE_HW = (48, 64)
BOUNDARY = "loddis-fuzz"
# Their pictures are whole, and what unpacks to more is no part of these.
HARMLESS_BOMBS = frozenset({"png text-bomb", "png profile-bomb"})
BOMB_BYTES = 2**28  # that a bomb unpacks to
LZW, DEFLATE, PACKBITS = 5, 8, 32773
LZW_CLEAR, LZW_END, LZW_FIRST = 256, 257, 258


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body, and the headers that matter for it."""

    name: str
    """Format and variant."""
    content: bytes
    """The body."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By names in lower case."""

    @property
    def format(self) -> str:
        """The first word of the name."""
        return self.name.split()[0]


@cache
def seeds() -> tuple[Body, ...]:
    """Give one body of each variant; all of them decode."""
    return (*_pngs(), *_jpegs(), *_tiffs(), *_plain())


def bombs() -> Iterator[Body]:
    """Give bodies that promise, or unpack to, far more than they are; all but `HARMLESS_BOMBS` must be refused."""
    rows = _deflated_zeros(BOMB_BYTES)
    yield Body("png giant-size", _png(2**31 - 1, 2**31 - 1, zlib.compress(b"")))
    yield Body("png zlib-bomb", _png(64, 64, rows))
    yield Body("png text-bomb", _png(64, 64, zlib.compress(bytes(65 * 64)), _png_chunk(b"zTXt", b"a\0\0" + rows)))
    yield Body("png profile-bomb", _png(64, 64, zlib.compress(bytes(65 * 64)), _png_chunk(b"iCCP", b"a\0\0" + rows)))
    jpeg = bytearray(_opencv(".jpg", _frame(np.uint8)))
    start = jpeg.index(b"\xff\xc0") + 5
    jpeg[start : start + 4] = b"\xff\xff\xff\xff"
    yield Body("jpeg giant-size", bytes(jpeg))
    yield Body("tiff giant-size", _tiff(2**31 - 1, 2**31 - 1, DEFLATE, rows))
    yield Body("tiff deflate-bomb", _tiff(64, 64, DEFLATE, rows))
    yield Body("tiff packbits-bomb", _tiff(64, 64, PACKBITS, b"\x81\0" * (BOMB_BYTES // 128)))
    yield Body("tiff lzw-bomb", _tiff(64, 64, LZW, _lzw_bomb(BOMB_BYTES)))
    yield Body("tiff giant-strip", _tiff(8, 8, DEFLATE, rows, rows_per_strip=2**31))
    yield Body("npy giant-shape", _npy_header("(99999999, 99999999)") + bytes(64))
    yield Body("npy overflowing-shape", _npy_header("(4294967296, 4294967297)") + bytes(64))
    yield Body("pgm giant-size", b"P5\n999999999 999999999\n255\n" + bytes(64))
    yield Body("pgm endless-header", b"P5\n#" + b"x" * 2**20)
    giant = {"x-frame-width": "2147483647", "x-frame-height": "2147483647", "x-frame-dtype": "float32"}
    yield Body("raw giant-size", bytes(64), giant)
    yield _form(Body("form", _png(64, 64, rows)), name="form zlib-bomb")
    yield _form(Body("form", b"\r\n".join([f"--{BOUNDARY}".encode()] * 2**15)), name="form many-parts")


def _pngs() -> Iterator[Body]:
    grey8, grey16 = _frame(np.uint8), _frame(np.uint16)
    yield Body("png grey8", _opencv(".png", grey8))
    yield Body("png grey16", _opencv(".png", grey16))
    yield Body("png rgb8", _opencv(".png", cv2.merge([grey8] * 3)))
    yield Body("png rgba8", _opencv(".png", cv2.merge([grey8] * 3 + [np.full_like(grey8, 255)])))
    yield Body("png rgb16", _opencv(".png", cv2.merge([grey16] * 3)))
    height, width = SIZE_HW
    palette = _png_chunk(b"PLTE", bytes(level for level in range(256) for _ in range(3)))
    indexed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in grey8))
    yield Body("png palette", _png(width, height, indexed, palette, colour=3))
    bits = zlib.compress(b"".join(b"\0" + np.packbits(row > 100).tobytes() for row in grey8))
    yield Body("png one-bit", _png(width, height, bits, bits=1))
    passes = b"".join(
        b"\0" + row.tobytes()
        for x, y, step_x, step_y in (
            *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
            *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
        )
        for row in grey8[y::step_y, x::step_x]
    )
    yield Body("png interlaced", _png(width, height, zlib.compress(passes), interlaced=True))


def _jpegs() -> Iterator[Body]:
    grey = _frame(np.uint8)
    yield Body("jpeg grey", _opencv(".jpg", grey))
    yield Body("jpeg colour", _opencv(".jpg", cv2.merge([grey] * 3)))
    yield Body("jpeg progressive", _opencv(".jpg", grey, cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    yield Body("jpeg restarts", _opencv(".jpg", grey, cv2.IMWRITE_JPEG_RST_INTERVAL, 2))


def _tiffs() -> Iterator[Body]:
    grey8, grey16 = _frame(np.uint8), _frame(np.uint16)
    yield Body("tiff uint8", _tifffile(grey8))
    yield Body("tiff uint16", _tifffile(grey16))
    yield Body("tiff float32", _tifffile(_frame(np.float32)))
    yield Body("tiff big-endian", _tifffile(grey16, byteorder=">"))
    yield Body("tiff bigtiff", _tifffile(grey16, bigtiff=True))
    yield Body("tiff tiled", _tifffile(grey16, tile=(16, 16)))
    yield Body("tiff strips", _tifffile(grey16, rowsperstrip=5))
    yield Body("tiff rgb", _tifffile(cv2.merge([grey8] * 3), photometric="rgb"))
    yield Body("tiff deflate", _tifffile(grey16, compression="zlib"))
    for name, number in (("lzw", LZW), ("packbits", PACKBITS)):
        yield Body(f"tiff {name}", _opencv(".tiff", grey16, cv2.IMWRITE_TIFF_COMPRESSION, number))


def _plain() -> Iterator[Body]:
    """Formats whose pixels are not packed, and forms."""
    for dtype in (np.uint8, np.uint16):
        frame = _frame(dtype)
        head = f"P5\n{frame.shape[1]} {frame.shape[0]}\n{np.iinfo(dtype).max}\n".encode()
        yield Body(f"pgm {frame.dtype}", head + frame.astype(frame.dtype.newbyteorder(">")).tobytes())
    for dtype in (np.uint8, np.uint16, np.float32, np.float64):
        yield Body(f"npy {np.dtype(dtype)}", _npy(_frame(dtype)))
    yield Body("npy fortran", _npy(np.asfortranarray(_frame(np.uint16))))
    yield Body("npy big-endian", _npy(_frame(np.uint16).astype(">u2")))
    yield Body("npy channels", _npy(np.stack([_frame(np.uint8)] * 3, axis=2)))
    for dtype in (np.uint8, np.uint16, np.float32):
        frame = _frame(dtype)
        described = {"x-frame-width": str(frame.shape[1]), "x-frame-height": str(frame.shape[0])}
        yield Body(f"raw {frame.dtype}", frame.tobytes(), described | {"x-frame-dtype": str(frame.dtype)})
    yield _form(Body("form", _opencv(".png", _frame(np.uint16))), name="form png")
    yield _form(Body("form", _npy(_frame(np.uint16))), name="form npy")


def _frame(dtype: Any) -> NDArray[Any]:
    """Give noise of few levels, which compresses but not to nothing; (48, 64)."""
    levels = np.random.default_rng(0).integers(0, 16, SIZE_HW)
    if np.dtype(dtype).kind == "f":
        return (levels / 16).astype(dtype)
    return (levels * (np.iinfo(dtype).max // 16)).astype(dtype)


def _opencv(extension: str, frame: NDArray[Any], *flags: int) -> bytes:
    encoded, content = cv2.imencode(extension, frame, flags)
    if not encoded:
        raise RuntimeError(f"OpenCV writes no {extension}")
    return content.tobytes()


def _tifffile(frame: NDArray[Any], **options: Any) -> bytes:
    target = io.BytesIO()
    tifffile.imwrite(target, frame, metadata=None, **options)
    return target.getvalue()


def _npy(array: NDArray[Any]) -> bytes:
    target = io.BytesIO()
    np.save(target, array)
    return target.getvalue()


def _npy_header(shape: str) -> bytes:
    text = f"{{'descr': '<u2', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _form(part: Body, *, name: str) -> Body:
    """Put a body into the part `frame` of a form."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="frame"; filename="f"\r\n\r\n'
    content = head.encode() + part.content + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Body(name, content, {"content-type": f"multipart/form-data; boundary={BOUNDARY}"})


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(
    width: int,
    height: int,
    rows: bytes,
    extra: bytes = b"",
    *,
    bits: int = 8,
    colour: int = 0,
    interlaced: bool = False,
) -> bytes:
    """Give a PNG of packed rows, with chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    chunks = [_png_chunk(b"IHDR", header), extra, _png_chunk(b"IDAT", rows), _png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _tiff(width: int, height: int, compression: int, strip: bytes, *, rows_per_strip: int | None = None) -> bytes:
    """Give an 8-bit TIFF of one packed strip."""
    entries = [
        *((256, width), (257, height), (258, 8), (259, compression), (262, 1), (273, 8)),
        *((278, rows_per_strip or height), (279, len(strip))),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, 4, 1, at) for tag, at in entries)
    return struct.pack("<2sHI", b"II", 42, 8 + len(strip)) + strip + directory + bytes(4)


def _deflated_zeros(size: int) -> bytes:
    """Give a zlib stream of zeros, a thousandth of what it unpacks to."""
    packer = zlib.compressobj(9)
    block = bytes(2**20)
    return b"".join([*(packer.compress(block) for _ in range(size // len(block))), packer.flush()])


def _lzw_bomb(size: int) -> bytes:
    """Give LZW codes of which each stands for a string one longer than the last, over and over."""
    longest = 4093 - LZW_FIRST
    table = [LZW_CLEAR, 0, *range(LZW_FIRST, LZW_FIRST + longest)]
    return _pack_codes([*table * (size // (longest * longest // 2) + 1), LZW_END])


def _pack_codes(codes: Sequence[int]) -> bytes:
    """Pack codes as TIFF has them: the highest bit first, and one bit wider one code early."""
    held = bits = entries = 0
    packed = bytearray()
    for code in codes:
        width = max(9, (entries + LZW_FIRST).bit_length()) if entries else 9
        held, bits = (held << width) | code, bits + width
        while bits >= 8:
            bits -= 8
            packed.append(held >> bits & 0xFF)
        held &= (1 << bits) - 1
        entries = 0 if code == LZW_CLEAR else entries + 1
    return bytes(packed) + bytes([held << (8 - bits) & 0xFF] if bits else [])
