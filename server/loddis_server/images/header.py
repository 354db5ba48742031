"""What the header of a frame says, whatever the format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_server.problems import BAD_FRAME, TRUNCATED_IMAGE, ProblemError

__all__ = ["Buffer", "Depth", "ImageHeader", "damaged", "decode_with_opencv", "truncated"]

Buffer = bytes | memoryview
Depth = Literal["uint8", "uint16", "float32", "float64"]


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Size and kind of a frame that is still encoded.

    Attributes:
        width: Pixels.
        height: Pixels.
        channels: That the decoder will give; 1 for grey, 3 or 4 for what may turn out to be grey in several channels.
        depth: Of one channel.
    """

    width: int
    height: int
    channels: int
    depth: Depth

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height

    @property
    def values(self) -> int:
        """Of all channels."""
        return self.pixels * self.channels


def truncated(format_name: str, what: str) -> ProblemError:
    """Give the error for a file that ends too early."""
    return ProblemError(TRUNCATED_IMAGE, f"the {format_name} ends too early: {what}")


def damaged(format_name: str, what: str) -> ProblemError:
    """Give the error for a file that is all there and makes no sense."""
    return ProblemError(BAD_FRAME, f"the {format_name} cannot be used: {what}")


def decode_with_opencv(
    data: Buffer, header: ImageHeader, format_name: str, *, fault: str = "its pixels do not decode"
) -> NDArray[np.generic]:
    """Decode a file whose header and structure were checked.

    Args:
        data: The whole file.
        header: What it must turn out to be.
        format_name: For the message.
        fault: What it means if it does not decode.

    Returns:
        ``(H, W)``, or ``(H, W, 3 | 4)`` blue green red (alpha), of the header's depth, levels as they are stored.

    Raises:
        ProblemError: It does not decode, or to something else.
    """
    try:
        array = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        array = None
    if array is None:
        raise damaged(format_name, fault)
    if array.shape[:2] != (header.height, header.width) or array.dtype != np.dtype(header.depth):
        raise damaged(
            format_name,
            f"the header says {header.width} x {header.height} {header.depth}, "
            f"the pixels are {array.shape[1]} x {array.shape[0]} {array.dtype}",
        )
    return array
