"""JPEG: 8 bits, grey, or colour that may turn out to be grey."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from loddis_runtime import jpeg
from loddis_runtime.errors import JpegError, TruncatedJpegError
from loddis_server.images.header import Buffer, ImageHeader, damaged, decode_with_opencv, truncated
from loddis_server.problems import TRUE_COLOUR, ProblemError

__all__ = ["check_complete", "decode", "read_header"]

NAME = "JPEG"
DECODABLE = frozenset({0, 1, 2})  # processes: baseline, extended, progressive; Huffman coded


def read_header(data: Buffer) -> ImageHeader:
    """Find the start of frame.

    Raises:
        ProblemError: It is cut off before, or of a kind that cannot be decoded.
    """
    with _as_problems():
        frame = jpeg.read_frame_header(data)
    if frame.channels == 4:
        raise ProblemError(TRUE_COLOUR, "the JPEG is CMYK; send one infrared channel")
    is_known = frame.process in DECODABLE and frame.bits == 8 and frame.channels in (1, 3)
    if not is_known or not frame.width or not frame.height:
        raise damaged(
            NAME,
            "expected 8 bits in 1 or 3 channels, baseline or progressive, got "
            f"{frame.bits} bits in {frame.channels}, process {frame.process}, {frame.width} x {frame.height} pixels",
        )
    return ImageHeader(frame.width, frame.height, frame.channels, "uint8")


def check_complete(data: Buffer) -> None:
    """Walk all segments and the coded data between them to the end of the image.

    Raises:
        ProblemError: The file is cut off, has no picture in it, or not all of its scans.
    """
    with _as_problems():
        jpeg.checked(data)


def decode(data: Buffer, header: ImageHeader) -> NDArray[np.generic]:
    """Decode a file that `read_header` and `check_complete` accepted; an orientation in EXIF is not looked at."""
    fault = "its coded pixels end too early, or do not decode"
    return decode_with_opencv(jpeg.checked(data), header, NAME, fault=fault)


@contextmanager
def _as_problems() -> Iterator[None]:
    try:
        yield
    except TruncatedJpegError as error:
        raise truncated(NAME, str(error)) from None
    except JpegError as error:
        raise damaged(NAME, str(error)) from None
