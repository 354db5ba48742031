"""Image files as arrays; one that was cut short is refused, where OpenCV would paint what is missing grey."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_trainer.data.errors import DataError

__all__ = ["read_image"]

# JPEG: ITU-T T.81, annex B. In coded data 0xFF stands before a stuffed zero or a restart marker, too.
JPEG_START = b"\xff\xd8"
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # of a segment, or the end of the image
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
SEQUENTIAL = frozenset({0xC0, 0xC1})  # frames in Huffman codes, baseline and extended
# Ones, stuffed, as far as the decoder reads ahead. No code is all ones: they pass for a few dozen pixels at most.
READ_AHEAD = b"\xff\x00" * 8


def read_image(path: Path) -> NDArray[np.generic]:
    """Decode an image file, levels and channels as they are stored.

    From memory, not by name: OpenCV crashes on names that are not UTF-8, and makes up the rest of a file cut short.

    Returns:
        ``(H, W)``, or ``(H, W, C)`` where there are several channels.

    Raises:
        DataError: It cannot be read, is no image, or lacks a part of its pixels. Of a JPEG, the last few dozen pixels
            may be missing without notice; of one of several scans, more.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    is_jpeg = data.startswith(JPEG_START)
    image = _decode(_without_end(data, path) if is_jpeg else data)
    if image is None:
        fault = "its JPEG data end too early, or do not decode" if is_jpeg else "it is cut short, or of another kind"
        raise DataError(f"{path} is no image that can be read: {fault}")
    return image


def _decode(data: bytes) -> NDArray[np.generic] | None:
    try:
        return cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # no bytes, or more pixels than OpenCV decodes
        return None


def _without_end(data: bytes, path: Path) -> bytes:
    """Give a JPEG of one scan without its end: the decoder makes up what coded data lack only if it sees the end."""
    position = scans = 0
    is_sequential = False
    while marker := MARKER.search(data, position):
        kind, position = data[marker.end() - 1], marker.end()
        if kind == END_OF_IMAGE:
            return data[: marker.start()] + READ_AHEAD if is_sequential and scans == 1 else data
        is_sequential |= kind in SEQUENTIAL
        scans += kind == START_OF_SCAN
        position += int.from_bytes(data[position : position + 2], "big")
    raise DataError(f"{path} is cut short: its JPEG data have no end")
