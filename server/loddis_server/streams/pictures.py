"""Pictures of a stream's results, drawn once for all who want the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import cv2
import numpy as np

from loddis_runtime.drawing import PALETTE_BGR, draw_detections, draw_marks, draw_text
from loddis_server.streams.session import StreamResult

__all__ = ["RunInWorker", "SharedPictures", "draw_result"]

T = TypeVar("T")
QUALITY = 85
LARGEST_SIDE_PX = 4096
MARGIN_PX = 6  # of a track's marks around those of its detection, picture pixels


class RunInWorker(Protocol):
    """Does slow work on another thread."""

    def __call__(self, function: Callable[[], T]) -> Awaitable[T]:
        """Run a function there."""
        ...


class SharedPictures:
    """The newest pictures of one stream, one a scale. Used on the event loop.

    Args:
        run_in_worker: Draws; the event loop has no time for it.
    """

    def __init__(self, run_in_worker: RunInWorker) -> None:
        self._run_in_worker = run_in_worker
        self._newest: dict[int, tuple[StreamResult, asyncio.Future[bytes]]] = {}

    async def of(self, result: StreamResult, *, scale: int) -> bytes:
        """Give the picture of a result, as `draw_result`."""
        drawn, picture = self._newest.get(scale, (None, None))
        if picture is None or drawn is not result:
            picture = asyncio.ensure_future(self._run_in_worker(lambda: draw_result(result, scale=scale)))
            self._newest[scale] = (result, picture)
        return await asyncio.shield(picture)  # who leaves takes it from nobody else


def draw_result(result: StreamResult, *, scale: int) -> bytes:
    """Draw a frame with its detections and tracks; gives a JPEG.

    Confirmed tracks have a number and a line that shows where they will be in ten frames.
    """
    side = max(result.frame.shape)
    scale = max(1, min(scale, LARGEST_SIDE_PX // side))
    picture = draw_detections(result.frame, result.detections, scale=scale)
    for track in result.tracks.tracks:
        if track.state == "tentative":
            continue
        colour = PALETTE_BGR[track.track_id % len(PALETTE_BGR)]
        x1, y1, x2, y2 = (round(side * scale) for side in track.box_xyxy)
        corners = (x1 - MARGIN_PX, y1 - MARGIN_PX, x2 + MARGIN_PX, y2 + MARGIN_PX)
        draw_marks(picture, corners, colour)
        draw_text(picture, f"#{track.track_id}", (corners[0], corners[3] + 18, corners[2], corners[3]), colour)
        centre = np.array(track.centroid_xy) * scale
        ahead = centre + np.array(track.velocity_xy) * scale * 10
        cv2.line(picture, _pixel(centre), _pixel(ahead), colour, 1, cv2.LINE_AA)
    if side * scale > LARGEST_SIDE_PX:
        shrink = LARGEST_SIDE_PX / (side * scale)
        picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return encoded.tobytes()


def _pixel(point: np.ndarray) -> tuple[int, int]:
    """Round to picture pixels, within what OpenCV draws."""
    x, y = np.clip(point, -1e4, 1e4)
    return round(float(x)), round(float(y))
