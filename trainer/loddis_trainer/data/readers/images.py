"""Image files as arrays; one that was cut short is refused, where OpenCV would paint what is missing grey."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime import jpeg
from loddis_runtime.errors import JpegError, TruncatedJpegError
from loddis_trainer.data.errors import DataError

__all__ = ["read_image"]

JPEG_START = b"\xff\xd8"


def read_image(path: Path) -> NDArray[np.generic]:
    """Decode an image file, levels and channels as they are stored.

    From memory, not by name: OpenCV crashes on names that are not UTF-8, and makes up the rest of a file cut short.

    Returns:
        ``(H, W)``, or ``(H, W, C)`` where there are several channels.

    Raises:
        DataError: It cannot be read, is no image, or lacks a part of its pixels. One gap is left: a JPEG that was cut
            off and closed again is taken if it lacks its last block or two, or only a part of the last scan of a
            progressive one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    is_jpeg = data.startswith(JPEG_START)
    image = _decode(_checked_jpeg(data, path) if is_jpeg else data)
    if image is None:
        fault = "its JPEG data end too early, or do not decode" if is_jpeg else "it is cut short, or of another kind"
        raise DataError(f"{path} is no image that can be read: {fault}")
    return image


def _checked_jpeg(data: bytes, path: Path) -> bytes | memoryview:
    try:
        return jpeg.checked(data, strict=False)
    except TruncatedJpegError as error:
        raise DataError(f"{path} is cut short: {error}") from None
    except JpegError as error:
        raise DataError(f"{path} is no image that can be read: {error}") from None


def _decode(data: bytes | memoryview) -> NDArray[np.generic] | None:
    try:
        return cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # no bytes, or more pixels than OpenCV decodes
        return None
