"""From the bytes of a body to a frame: what it is, how large it will be, whether it is all there; then decode.

Order matters. Each step costs more than the one before: the magic number, the header against the limit of pixels, the
walk through the file, and last the decoder, which allocates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.errors import FrameError
from loddis_runtime.frames import Frame, as_frame
from loddis_server.images import jpeg, npy, pgm, png, raw, tiff
from loddis_server.images.header import Buffer, ImageHeader
from loddis_server.problems import (
    BAD_FRAME,
    FRAME_TOO_LARGE,
    TRUE_COLOUR,
    TRUNCATED_IMAGE,
    UNSUPPORTED_MEDIA,
    ProblemError,
)

__all__ = ["FORMATS", "ImageFormat", "check_size", "count_values", "decode_file", "decode_raw", "format_of"]

MIN_SIDE_PX = 8  # one cell of the feature map: less holds no target and its surroundings


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """A file format.

    Attributes:
        name: For people.
        media_types: That declare it; the first is its own, others are in use.
        magics: Bytes that its files begin with.
        quick: Whether decoding is no more than a look at the bytes.
        read_header: Bytes of a file -> its header.
        check_complete: Raises if the file is cut off or damaged.
        decode: Bytes of a file and its header -> ``(H, W)`` or ``(H, W, C)``.
    """

    name: str
    media_types: tuple[str, ...]
    magics: tuple[bytes, ...]
    quick: bool
    read_header: Callable[[Buffer], ImageHeader]
    check_complete: Callable[[Buffer], None]
    decode: Callable[[Buffer, ImageHeader], NDArray[np.generic]]


FORMATS = (
    ImageFormat(
        name="PNG",
        media_types=("image/png",),
        magics=(b"\x89PNG\r\n\x1a\n",),
        quick=False,
        read_header=png.read_header,
        check_complete=png.check_complete,
        decode=png.decode,
    ),
    ImageFormat(
        name="JPEG",
        media_types=("image/jpeg", "image/jpg"),
        magics=(b"\xff\xd8\xff",),
        quick=False,
        read_header=jpeg.read_header,
        check_complete=jpeg.check_complete,
        decode=jpeg.decode,
    ),
    ImageFormat(
        name="TIFF",
        media_types=("image/tiff", "image/tif"),
        magics=(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        quick=False,
        read_header=tiff.read_header,
        check_complete=tiff.check_complete,
        decode=tiff.decode,
    ),
    ImageFormat(
        name="PGM",
        media_types=("image/x-portable-graymap", "image/x-portable-anymap"),
        magics=(b"P5\n", b"P5 ", b"P5\t", b"P5\r", b"P5#"),
        quick=True,
        read_header=pgm.read_header,
        check_complete=pgm.check_complete,
        decode=pgm.decode,
    ),
    ImageFormat(
        name=".npy",
        media_types=("application/x-npy", "application/x-numpy"),
        magics=(b"\x93NUMPY",),
        quick=True,
        read_header=npy.read_header,
        check_complete=npy.check_complete,
        decode=npy.decode,
    ),
)

# What people send by mistake, so that the answer can name it.
OTHER_MAGICS = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP or AVI",
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a ZIP archive, or .npz",
    b"%PDF": "PDF",
    b"P1": "a bitmap of text",
    b"P2": "a PGM of text, which must be binary (P5)",
    b"P4": "a bitmap of one bit",
    b"P6": "a colour PPM",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"{": "JSON",
    b"<": "HTML or XML",
}


def format_of(data: Buffer, declared: str | None) -> ImageFormat:
    """Tell the format of a file by its first bytes, and hold what was declared against it.

    Args:
        data: The file.
        declared: Media type in lower case without parameters; None if nothing was declared.

    Raises:
        ProblemError: It is none of `FORMATS`, or not the one declared.
    """
    head = bytes(data[:16])
    wanted = next((known for known in FORMATS if declared in known.media_types), None)
    actual = next((known for known in FORMATS if head.startswith(known.magics)), None)
    if actual is not None and wanted in (None, actual):
        return actual
    if wanted is not None and any(magic.startswith(head) for magic in wanted.magics):
        raise ProblemError(TRUNCATED_IMAGE, f"the {wanted.name} ends after {len(head)} bytes")
    other = next((name for magic, name in OTHER_MAGICS.items() if head.startswith(magic)), None)
    looks = actual.name if actual else other or f"no format that is known (it begins with {head[:8].hex(' ')})"
    if wanted is not None:
        raise ProblemError(UNSUPPORTED_MEDIA, f"the Content-Type says {declared}, the body is {looks}")
    raise ProblemError(
        UNSUPPORTED_MEDIA,
        f"the body is {looks}; expected {', '.join(known.name for known in FORMATS)}, "
        "or raw pixels with X-Frame-Width, X-Frame-Height and X-Frame-Dtype",
    )


def check_size(header: ImageHeader, *, max_pixels: int) -> None:
    """Check what a header promises before anything of that size is allocated.

    Raises:
        ProblemError: More than `max_pixels`, or a side below 8 pixels.
    """
    if header.channels > 1 and header.values > max_pixels:
        raise ProblemError(
            FRAME_TOO_LARGE,
            f"{header.width} x {header.height} in {header.channels} channels are {header.values} values, this server "
            f"takes up to {max_pixels}; send one channel",
        )
    if header.pixels > max_pixels:
        raise ProblemError(
            FRAME_TOO_LARGE,
            f"{header.width} x {header.height} are {header.pixels} pixels, this server takes up to {max_pixels}",
        )
    if min(header.width, header.height) < MIN_SIDE_PX:
        raise ProblemError(
            BAD_FRAME,
            f"a frame must be at least {MIN_SIDE_PX} pixels on each side, got {header.width} x {header.height}",
        )


def decode_file(data: Buffer, kind: ImageFormat, *, max_pixels: int) -> Frame:
    """Decode a file to a frame.

    Args:
        data: The file.
        kind: As `format_of` gives it.
        max_pixels: Largest frame.

    Raises:
        ProblemError: Too large, cut off, damaged, in colour, not finite.
    """
    header = _header_of(data, kind, max_pixels=max_pixels)
    kind.check_complete(data)
    return _as_frame(kind.decode(data, header))


def count_values(data: Buffer, kind: ImageFormat, *, max_pixels: int) -> int:
    """Give how many values a file decodes to, by its header alone; arguments are those of `decode_file`.

    Raises:
        ProblemError: Too large, or the header is cut off or damaged.
    """
    return _header_of(data, kind, max_pixels=max_pixels).values


def decode_raw(data: Buffer, header: ImageHeader) -> Frame:
    """Make a frame of raw pixels; `check_size` has seen the header, before the body was read.

    Raises:
        ProblemError: Another number of bytes than the header promises, or values that are not finite.
    """
    raw.check_complete(data, header)
    return _as_frame(raw.decode(data, header))


def _header_of(data: Buffer, kind: ImageFormat, *, max_pixels: int) -> ImageHeader:
    """Read a header, and check the size that it promises."""
    header = kind.read_header(data)
    check_size(header, max_pixels=max_pixels)
    return header


def _as_frame(array: NDArray[Any]) -> Frame:
    """Pass the runtime's gate, and tell colour from other faults."""
    try:
        return as_frame(array)
    except FrameError as error:
        in_colour = array.ndim == 3 and array.shape[2] > 1 and (array.dtype.kind == "u" or np.isfinite(array).all())
        raise ProblemError(TRUE_COLOUR if in_colour else BAD_FRAME, str(error)) from None
