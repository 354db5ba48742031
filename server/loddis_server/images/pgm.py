"""Binary PGM: 8 and 16 bits. https://netpbm.sourceforge.net/doc/pgm.html"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from loddis_server.images.header import Buffer, ImageHeader, damaged, truncated

__all__ = ["check_complete", "decode", "read_header"]

NAME = "PGM"
MAX_HEADER_BYTES = 4096
GAP = rb"(?:[ \t\r\n\v\f]|#[^\n]*\n)+"
HEADER = re.compile(rb"P5" + GAP + rb"(\d{1,9})" + GAP + rb"(\d{1,9})" + GAP + rb"(\d{1,5})[ \t\r\n\v\f]")
HEADER_SO_FAR = re.compile(rb"P5(?:[ \t\r\n\v\f\d]|#[^\n]*(?:\n|$))*")


def read_header(data: Buffer) -> ImageHeader:
    """Read width, height and greatest level.

    Raises:
        ProblemError: They are cut off, or describe no picture.
    """
    header, _ = _parse(data)
    return header


def check_complete(data: Buffer) -> None:
    """Count the bytes of the pixels.

    Raises:
        ProblemError: Fewer or more than the header promises.
    """
    header, start = _parse(data)
    expected = start + header.pixels * np.dtype(header.depth).itemsize
    if len(data) < expected:
        raise truncated(NAME, f"{header.width} x {header.height} {header.depth} need {expected} bytes, got {len(data)}")
    if len(data) > expected and bytes(data[expected : expected + 16]).strip():
        raise damaged(NAME, f"it goes on for {len(data) - expected} bytes after its pixels; send one frame a request")


def decode(data: Buffer, header: ImageHeader) -> NDArray[np.generic]:
    """Give ``(H, W)`` of a file that `read_header` and `check_complete` accepted; levels are not rescaled."""
    _, start = _parse(data)
    stored = np.frombuffer(data, dtype=">u2" if header.depth == "uint16" else "u1", count=header.pixels, offset=start)
    return stored.astype(header.depth, copy=False).reshape(header.height, header.width)


def _parse(data: Buffer) -> tuple[ImageHeader, int]:
    """Give the header, and where the pixels begin."""
    head = bytes(data[:MAX_HEADER_BYTES])
    match = HEADER.match(head)
    if match is None:
        if len(data) <= MAX_HEADER_BYTES and HEADER_SO_FAR.fullmatch(head):
            raise truncated(NAME, "within its header")
        raise damaged(NAME, "expected P5, width, height and the greatest level in its header")
    width, height, highest = (int(number) for number in match.groups())
    if not width or not height or not 0 < highest < 65536:
        raise damaged(NAME, f"{width} x {height} pixels with levels up to {highest} is no picture")
    return ImageHeader(width, height, 1, "uint8" if highest < 256 else "uint16"), match.end()
