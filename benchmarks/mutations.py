"""Ways to spoil a file: at random, and where its format keeps lengths and sizes; one generator decides it all."""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Callable, Sequence

from fuzz_seeds import Body

__all__ = ["mutate"]

# Where integers wrap, change sign or run out of bits.
BOUNDARIES = (0, 1, 2, 7, 8, 127, 128, 255, 256, 257, 4095, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31)
HUGE = (2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
WORDS = (b"-1", b"0", b"00000000008", b"1e9", b"nan", b"4294967296", b"999999999", b"", b" ", b"\xff", b"0x10")
DIGITS = re.compile(rb"\d+")
PNG_START = 8

Mutation = Callable[[random.Random, bytearray], None]


def mutate(rng: random.Random, body: Body, others: Sequence[Body]) -> Body:
    """Give a spoiled copy of a body.

    Args:
        rng: Decides everything.
        body: To begin with; not changed.
        others: To splice parts of.
    """
    content = bytearray(body.content)
    general: list[Mutation] = [_flip_bits, _truncate, _repeat, _delete, _overwrite_integer, _overwrite_near_start]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        own = OF_FORMAT.get(body.format, ())
        kind = rng.random()
        if own and kind < 0.5:
            rng.choice(own)(rng, content)
        elif kind < 0.6:
            _splice(rng, content, rng.choice(others).content)
        else:
            rng.choice(general)(rng, content)
    if body.format == "png" and rng.random() < 0.7:  # else the checksums would catch nearly all there is
        _repair_checksums(content)
    headers = dict(body.headers)
    if headers and rng.random() < 0.5:
        name = rng.choice(sorted(headers))
        headers[name] = _spoil_text(rng, headers[name])
    return Body(body.name, bytes(content), headers)


def _position(rng: random.Random, content: bytearray) -> int:
    return rng.randrange(len(content)) if content else 0


def _flip_bits(rng: random.Random, content: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if content:
            content[_position(rng, content)] ^= 1 << rng.randrange(8)


def _truncate(rng: random.Random, content: bytearray) -> None:
    del content[_position(rng, content) :]


def _delete(rng: random.Random, content: bytearray) -> None:
    start = _position(rng, content)
    del content[start : start + rng.choice((1, 2, 4, 100))]


def _repeat(rng: random.Random, content: bytearray) -> None:
    start = _position(rng, content)
    content[start:start] = content[start : start + rng.choice((1, 4, 100, 1000))] * rng.choice((1, 2, 50))


def _splice(rng: random.Random, content: bytearray, other: bytes) -> None:
    start, length = rng.randrange(len(other)), rng.choice((4, 32, 400, len(other)))
    at = _position(rng, content)
    content[at : at + rng.choice((0, length))] = other[start : start + length]


def _overwrite_integer(rng: random.Random, content: bytearray, *, below: int | None = None) -> None:
    width, order = rng.choice("BHIQ"), rng.choice("<>")
    at = rng.randrange(max(1, min(below or len(content), len(content))))
    packed = struct.pack(order + width, rng.choice(BOUNDARIES + HUGE) % 2 ** (8 * struct.calcsize(order + width)))
    content[at : at + len(packed)] = packed


def _overwrite_near_start(rng: random.Random, content: bytearray) -> None:
    _overwrite_integer(rng, content, below=64)


def _spoil_text(rng: random.Random, text: str) -> str:
    """Put another number, or anything else, where a header has one."""
    if rng.random() < 0.5:
        return rng.choice([str(value) for value in BOUNDARIES + HUGE] + [word.decode("latin-1") for word in WORDS])
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice((";", '"', "=", "é", "\x7f", "x" * 300)) + text[at + rng.randrange(2) :]


def _lie_in_digits(rng: random.Random, content: bytearray) -> None:
    """Replace a number in a header of text."""
    numbers = list(DIGITS.finditer(bytes(content[:256])))
    if numbers:
        spot = rng.choice(numbers)
        content[spot.start() : spot.end()] = rng.choice((*WORDS, *(str(number).encode() for number in BOUNDARIES)))


def _png_chunks(content: bytearray) -> list[tuple[int, int]]:
    """Give start and end of each chunk, as far as they make sense."""
    chunks, start = [], PNG_START
    while start + 12 <= len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        if end > len(content):
            break
        chunks.append((start, end))
        start = end
    return chunks


def _lie_in_chunk(rng: random.Random, content: bytearray) -> None:
    """Change a chunk's length, its kind, or a field of the header."""
    chunks = _png_chunks(content)
    if not chunks:
        return
    start, end = rng.choice(chunks)
    what = rng.randrange(4)
    if what == 0:
        content[start : start + 4] = struct.pack(">I", rng.choice(BOUNDARIES) % 2**32)
    elif what == 1:
        content[start + 4 : start + 8] = rng.choice((b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"fcTL", b"zzzz"))
    elif what == 2:
        content[start:start] = content[start:end]
    else:
        field = rng.choice((0, 4, 8, 9, 10, 11, 12))
        width = ">I" if field < 8 else ">B"
        packed = struct.pack(width, rng.choice(BOUNDARIES) % 2 ** (8 * struct.calcsize(width)))
        content[16 + field : 16 + field + len(packed)] = packed


def _repair_checksums(content: bytearray) -> None:
    for start, end in _png_chunks(content):
        content[end - 4 : end] = struct.pack(">I", zlib.crc32(content[start + 4 : end - 4]))


def _lie_in_segment(rng: random.Random, content: bytearray) -> None:
    """Change the length of a JPEG's segment, a field of its frame header, or a marker."""
    markers = [at for at in range(len(content) - 4) if content[at] == 0xFF and 0xC0 <= content[at + 1] < 0xFF]
    if not markers:
        return
    at = rng.choice(markers)
    what = rng.randrange(3)
    if what == 0:
        content[at + 2 : at + 4] = struct.pack(">H", rng.choice(BOUNDARIES) % 2**16)
    elif what == 1:
        content[at + 1] = rng.choice((0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC9, 0xD0, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE1))
    else:
        field = at + 2 + rng.randrange(12)
        content[field : field + 2] = struct.pack(">H", rng.choice(BOUNDARIES) % 2**16)


def _lie_in_directory(rng: random.Random, content: bytearray) -> None:
    """Change tag, type, count or value of an entry of a TIFF's first directory, or where that stands."""
    order = ">" if content[:2] == b"MM" else "<"
    is_big = bytes(content[2:4]) in (b"+\0", b"\0+")
    pointer, entry, head = ("Q", 20, 8) if is_big else ("I", 12, 2)
    place = 8 if is_big else 4
    layout = struct.Struct(order + pointer)
    if len(content) < place + layout.size:
        return
    (start,) = layout.unpack_from(content, place)
    if rng.random() < 0.1 or start + head + entry > len(content):
        layout.pack_into(content, place, rng.choice(BOUNDARIES + HUGE) % 2 ** (8 * layout.size))
        return
    entries = min(int.from_bytes(content[start : start + head], "big" if order == ">" else "little"), 32)
    at = start + head + entry * rng.randrange(max(1, entries))
    fields = ((0, "H"), (2, "H"), (4, pointer), (4 + layout.size, pointer), (4 + layout.size, "H"))
    offset, width = rng.choice(fields)
    packed = struct.pack(order + width, rng.choice(BOUNDARIES + HUGE) % 2 ** (8 * struct.calcsize(order + width)))
    content[at + offset : at + offset + len(packed)] = packed


OF_FORMAT: dict[str, Sequence[Mutation]] = {
    "png": (_lie_in_chunk,),
    "jpeg": (_lie_in_segment,),
    "tiff": (_lie_in_directory,),
    "pgm": (_lie_in_digits,),
    "npy": (_lie_in_digits,),
    "form": (_lie_in_digits, _overwrite_near_start),
}
