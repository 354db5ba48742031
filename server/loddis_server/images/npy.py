"""NumPy's `.npy`: one array, no pickles.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loddis_server.images.header import Buffer, Depth, ImageHeader, damaged, truncated

__all__ = ["check_complete", "decode", "read_header"]

NAME = ".npy file"
MAGIC_BYTES = 6
MAX_HEADER_BYTES = 4096
MAX_DIGITS = 9  # of a side
# A Python literal; what NumPy, and those who write like it, put into the files of plain arrays. Possessive throughout:
# blanks that may belong to two fields would be shared out in every way there is.
FIELD = re.compile(
    r"""\s*+['"](descr|fortran_order|shape)['"]\s*+:\s*+(['"][^'"]*+['"]|True|False|\([\d,\s]*+\))\s*+,?+\s*+"""
)
HEADER = re.compile(rf"\s*+\{{(?:{FIELD.pattern}){{3}}\}}\s*+")
DEPTHS: dict[str, Depth] = {"u1": "uint8", "u2": "uint16", "f4": "float32", "f8": "float64"}


class _Layout(NamedTuple):
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    fortran_order: bool
    start: int  # of the data, bytes


def read_header(data: Buffer) -> ImageHeader:
    """Read shape and dtype; nothing in the file is evaluated or unpickled.

    Raises:
        ProblemError: They are cut off, or not those of a frame.
    """
    layout = _parse(data)
    height, width = layout.shape[:2]
    channels = layout.shape[2] if len(layout.shape) == 3 else 1
    return ImageHeader(width, height, channels, DEPTHS[layout.dtype.str[1:]])


def check_complete(data: Buffer) -> None:
    """Count the bytes of the array.

    Raises:
        ProblemError: Fewer or more than the header promises.
    """
    layout = _parse(data)
    expected = layout.start + math.prod(layout.shape) * layout.dtype.itemsize
    if len(data) < expected:
        raise truncated(NAME, f"{layout.shape} {layout.dtype} needs {expected} bytes, got {len(data)}")
    if len(data) > expected:
        raise damaged(NAME, f"it goes on for {len(data) - expected} bytes after its array")


def decode(data: Buffer, header: ImageHeader) -> NDArray[np.generic]:
    """Give the array of a file that `read_header` and `check_complete` accepted, in native byte order."""
    layout = _parse(data)
    flat = np.frombuffer(data, dtype=layout.dtype, count=math.prod(layout.shape), offset=layout.start)
    return flat.astype(header.depth, copy=False).reshape(layout.shape, order="F" if layout.fortran_order else "C")


def _parse(data: Buffer) -> _Layout:
    """Read the header without evaluating it."""
    if len(data) < MAGIC_BYTES + 2:
        raise truncated(NAME, "within its header")
    version = data[MAGIC_BYTES]
    if version not in (1, 2, 3):
        raise damaged(NAME, f"format version {version} is not known")
    text_start = MAGIC_BYTES + (4 if version == 1 else 6)
    length = int.from_bytes(data[MAGIC_BYTES + 2 : text_start], "little")
    if len(data) < text_start:
        raise truncated(NAME, "within its header")
    if length > MAX_HEADER_BYTES:
        raise damaged(NAME, f"its header has {length} bytes, more than the {MAX_HEADER_BYTES} that are read")
    start = text_start + length
    if len(data) < start:
        raise truncated(NAME, "within its header")
    text = bytes(data[text_start:start]).decode("latin-1")
    fields = dict(FIELD.findall(text)) if HEADER.fullmatch(text) else {}
    if len(fields) != 3:
        raise damaged(NAME, "its header is not that of a plain array")
    descriptor = fields["descr"].strip("'\"")
    if descriptor[:1] not in tuple("<>|=") or descriptor[1:] not in DEPTHS:
        raise damaged(NAME, f"expected uint8, uint16 or float32, got {descriptor[:40]!r}")
    sides = re.findall(r"\d+", fields["shape"])
    shape = tuple(int(side) for side in sides) if all(len(side) <= MAX_DIGITS for side in sides) else ()
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))) or not all(shape):
        raise damaged(NAME, f"expected (H, W), or grey in (H, W, 1 | 3 | 4), got shape {fields['shape'][:40]}")
    return _Layout(np.dtype(descriptor), shape, fields["fortran_order"] == "True", start)
