"""Frames as the bytes that a client would send, whole and broken."""

from __future__ import annotations

import io
import struct
import zlib
from itertools import accumulate
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

__all__ = [
    "jpeg_file",
    "jpeg_in_scans",
    "npy_file",
    "pgm_file",
    "png_chunk",
    "png_file",
    "png_from_rows",
    "raw_headers",
    "spot_frame",
    "tiff_file",
    "tiff_from_strips",
]


def spot_frame(
    *centres_xy: tuple[float, float],
    size_hw: tuple[int, int] = (64, 96),
    dtype: type[np.generic] = np.uint8,
    sigma_px: float = 1.0,
) -> NDArray[Any]:
    """Give a frame, level but for bright Gaussian spots, that the bundle of `support.bundles` detects.

    Args:
        centres_xy: Of the spots, pixels; the origin is the corner of the top-left pixel.
        size_hw: H, W.
        dtype: uint8, uint16 or float32 (in [0, 1]).
        sigma_px: Of the spots.
    """
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    levels = np.full(size_hw, 0.25)
    for x, y in centres_xy:
        levels += 0.7 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma_px**2))
    full_scale = 1.0 if dtype is np.float32 else float(np.iinfo(dtype).max)  # type: ignore[type-var]
    levels = np.clip(levels, 0, 1) * full_scale
    frame: NDArray[Any] = (levels if dtype is np.float32 else np.round(levels)).astype(dtype)
    return frame


def png_file(frame: NDArray[Any]) -> bytes:
    """Encode (H, W) or (H, W, 3 | 4) blue green red, 8 or 16 bits."""
    return _opencv(".png", frame)


def jpeg_file(frame: NDArray[Any], *, progressive: bool = False) -> bytes:
    """Encode 8 bits in the best quality."""
    return _opencv(".jpg", frame, cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive))


def jpeg_in_scans(channels: NDArray[np.uint8]) -> bytes:
    """Encode (C, H, W) so that each channel has a scan of its own, one after the other."""
    files = [_opencv(".jpg", channel, cv2.IMWRITE_JPEG_QUALITY, 100) for channel in channels]
    tables, _, behind = files[0].partition(b"\xff\xc0")
    size_hw = behind[3:7]
    codes = behind[11:].partition(b"\xff\xda")[0]
    numbers = range(1, len(files) + 1)
    described = b"".join(bytes([number, 0x11, 0]) for number in numbers)  # not subsampled, by the first table
    frame_header = b"\xff\xc0" + struct.pack(">HB4sB", 8 + len(described), 8, size_hw, len(files)) + described
    scans = b"".join(
        b"\xff\xda\0\x08\x01" + bytes([number, 0, 0, 63, 0]) + file.partition(b"\xff\xda")[2][8:-2]
        for number, file in zip(numbers, files, strict=True)
    )
    return tables + frame_header + codes + scans + b"\xff\xd9"


def tiff_file(frame: NDArray[Any], **options: Any) -> bytes:
    """Encode with `tifffile`; `compression="lzw"` and `"packbits"`, which that lacks here, with OpenCV."""
    by_opencv = {"lzw": 5, "packbits": 32773}
    if options.get("compression") in by_opencv:
        rows = options.get("rowsperstrip", len(frame))
        numbers = (cv2.IMWRITE_TIFF_COMPRESSION, by_opencv[options["compression"]], cv2.IMWRITE_TIFF_ROWSPERSTRIP, rows)
        return _opencv(".tiff", frame, *numbers)
    target = io.BytesIO()
    tifffile.imwrite(target, frame, **options)
    return target.getvalue()


def tiff_from_strips(
    size_hw: tuple[int, int], strips: list[bytes], *, compression: int, rows: int, shared: bool = False
) -> bytes:
    """Give an 8-bit TIFF made by hand.

    Args:
        size_hw: H, W that the header says.
        strips: Packed as they are, one after the other.
        compression: Its number.
        rows: Of a strip, that the header says.
        shared: Whether all strips are said to be the first, whose bytes are there once.
    """
    counts = [len(strip) for strip in strips]
    starts = [8, *([8] * (len(strips) - 1) if shared else (8 + end for end in accumulate(counts[:-1])))]
    content = strips[0] if shared else b"".join(strips)
    lists = 8 + len(content)
    directory = lists + 8 * len(strips)
    inline = len(strips) == 1  # one value stands in the directory itself
    entries = [
        (256, 1, size_hw[1]),
        (257, 1, size_hw[0]),
        (258, 1, 8),
        (259, 1, compression),
        (262, 1, 1),
        (273, len(strips), starts[0] if inline else lists),
        (278, 1, rows),
        (279, len(strips), counts[0] if inline else lists + 4 * len(strips)),
    ]
    return (
        struct.pack("<2sHI", b"II", 42, directory)
        + content
        + struct.pack(f"<{2 * len(strips)}I", *starts, *counts)
        + struct.pack("<H", len(entries))
        + b"".join(struct.pack("<HHII", tag, 4, number, value) for tag, number, value in entries)
        + bytes(4)
    )


def pgm_file(frame: NDArray[Any], *, comment: str = "") -> bytes:
    """Encode (H, W), 8 or 16 bits."""
    height, width = frame.shape
    remark = f"# {comment}\n" if comment else ""
    head = f"P5\n{remark}{width} {height}\n{np.iinfo(frame.dtype).max}\n"
    return head.encode() + frame.astype(frame.dtype.newbyteorder(">")).tobytes()


def npy_file(array: NDArray[Any]) -> bytes:
    """Encode any array, pickling objects."""
    target = io.BytesIO()
    np.save(target, array, allow_pickle=True)
    return target.getvalue()


def raw_headers(frame: NDArray[Any]) -> dict[str, str]:
    """Describe the bytes of a frame as the headers of a request."""
    return {
        "Content-Type": "application/octet-stream",
        "X-Frame-Width": str(frame.shape[1]),
        "X-Frame-Height": str(frame.shape[0]),
        "X-Frame-Dtype": frame.dtype.name,
    }


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Give one chunk of a PNG with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_from_rows(
    width: int,
    height: int,
    rows: bytes,
    *,
    bits: int = 8,
    colour: int = 0,
    interlaced: bool = False,
    extra: bytes = b"",
) -> bytes:
    """Give a PNG made by hand.

    Args:
        width: That the header says.
        height: That the header says.
        rows: Decompressed content, a filter byte before each row.
        bits: That the header says.
        colour: Colour type that the header says.
        interlaced: Whether the header says so.
        extra: Chunks between header and content.
    """
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    content = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra + content + png_chunk(b"IEND", b"")


def _opencv(extension: str, frame: NDArray[Any], *parameters: int) -> bytes:
    encoded, data = cv2.imencode(extension, frame, parameters)
    assert encoded
    return data.tobytes()
