"""Raw pixels, described by headers of the request: `X-Frame-Width`, `X-Frame-Height`, `X-Frame-Dtype`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from loddis_server.images.header import Buffer, Depth, ImageHeader, damaged
from loddis_server.problems import BAD_PARAMETER, ProblemError

__all__ = ["DTYPES", "RAW_HEADERS", "check_complete", "decode", "read_header"]

NAME = "raw frame"
RAW_HEADERS = ("x-frame-width", "x-frame-height", "x-frame-dtype")
DTYPES = tuple(depth for depth in get_args(Depth) if depth != "float64")
SIDE = re.compile(r"[0-9]{1,9}")


def read_header(headers: Mapping[str, str]) -> ImageHeader:
    """Read size and dtype from the headers of a request, or of a part of one.

    Raises:
        ProblemError: One is missing or makes no sense; `errors` names each.
    """
    errors = []
    sides = []
    for name, written in zip(RAW_HEADERS[:2], ("X-Frame-Width", "X-Frame-Height"), strict=True):
        text = headers.get(name)
        if text is None:
            errors.append({"parameter": written, "message": "is required with the other X-Frame headers"})
        elif not SIDE.fullmatch(text) or int(text) == 0:
            errors.append({"parameter": written, "message": f"must be a number of pixels, got {text[:40]!r}"})
        else:
            sides.append(int(text))
    dtype = headers.get(RAW_HEADERS[2])
    if dtype not in DTYPES:
        came = "nothing" if dtype is None else repr(dtype[:40])
        errors.append({"parameter": "X-Frame-Dtype", "message": f"must be {', '.join(DTYPES)}; got {came}"})
    if errors:
        raise ProblemError(
            BAD_PARAMETER, "; ".join(f"{error['parameter']} {error['message']}" for error in errors), errors=errors
        )
    return ImageHeader(sides[0], sides[1], 1, cast(Depth, dtype))


def check_complete(data: Buffer, header: ImageHeader) -> None:
    """Count the bytes.

    Raises:
        ProblemError: Fewer or more than the headers promise.
    """
    expected = header.pixels * np.dtype(header.depth).itemsize
    if len(data) != expected:
        raise damaged(NAME, f"{header.width} x {header.height} {header.depth} takes {expected} bytes, got {len(data)}")


def decode(data: Buffer, header: ImageHeader) -> NDArray[np.generic]:
    """Give ``(H, W)`` of bytes that `check_complete` accepted, without a copy on little-endian machines."""
    little = np.frombuffer(data, dtype=np.dtype(header.depth).newbyteorder("<"))
    return little.astype(header.depth, copy=False).reshape(header.height, header.width)
