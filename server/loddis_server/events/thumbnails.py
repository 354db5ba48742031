"""A picture of a target's neighbourhood, for whoever reads the event."""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from loddis_runtime.drawing import for_display
from loddis_runtime.frames import Frame

__all__ = ["thumbnail_png"]

SIDE_PX = 64
MARGIN = 3  # times the larger side of the box


def thumbnail_png(frame: Frame, box_xyxy: Sequence[float]) -> bytes:
    """Cut out the neighbourhood of a target.

    One pixel stays one pixel. 16-bit and float frames are stretched to 8 bit between two percentiles of what is cut
    out, so that a dim target shows; the picture is for people, not for measuring.

    Args:
        frame: ``(H, W)`` uint8, uint16 or float32.
        box_xyxy: Left, top, right, bottom in pixels of the frame; may reach over its edges.

    Returns:
        PNG, 8 bit, grey: 64 px square, more for large targets, less in frames that are smaller. At an edge of the frame
        it is moved inwards.
    """
    left, top, right, bottom = (float(side) for side in box_xyxy)
    side = max(SIDE_PX, round(MARGIN * max(right - left, bottom - top)))
    rows = _span((top + bottom) / 2, side, frame.shape[0])
    columns = _span((left + right) / 2, side, frame.shape[1])
    picture = for_display(frame[rows, columns])
    return cv2.imencode(".png", picture)[1].tobytes()


def _span(centre: float, side: int, length: int) -> slice:
    """Give a span of a side around a centre that lies within a length."""
    side = min(side, length)
    start = min(max(round(centre - side / 2), 0), length - side)
    return slice(start, start + side)
