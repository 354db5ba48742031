"""Motion JPEG of a stream: its newest frame with detections and tracks drawn in, only while somebody watches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol, TypeVar

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from loddis_runtime.drawing import PALETTE_BGR, draw_detections, draw_marks, draw_text
from loddis_server.streams.hub import Subscription
from loddis_server.streams.live import LiveStream
from loddis_server.streams.session import StreamResult

__all__ = ["BOUNDARY", "PreviewOptions", "draw_result", "picture_parts"]

T = TypeVar("T")
BOUNDARY = "loddis-frame"
QUALITY = 85
LARGEST_SIDE_PX = 4096
IDLE_S = 10.0
MARGIN_PX = 6  # of a track's marks around those of its detection, picture pixels


class RunInWorker(Protocol):
    """Does slow work on another thread."""

    def __call__(self, function: Callable[[], T]) -> Awaitable[T]:
        """Run a function there."""
        ...


class PreviewOptions(BaseModel):
    """How to show a stream."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fps: float = Field(default=10.0, gt=0, le=30, allow_inf_nan=False, description="Most pictures a second.")
    scale: int = Field(default=2, ge=1, le=4, description="Picture pixels per frame pixel.")


async def picture_parts(
    stream: LiveStream, listener: Subscription, options: PreviewOptions, *, run_in_worker: RunInWorker
) -> AsyncGenerator[bytes]:
    """Give the parts of a `multipart/x-mixed-replace` answer until the stream ends.

    Args:
        stream: To show.
        listener: On it; closed at the end.
        options: How.
        run_in_worker: Draws; the event loop has no time for it.
    """
    due = 0.0
    with listener:
        while not listener.ended:
            message = await listener.next(timeout_s=IDLE_S)
            if message is not None and message.kind != "frame":
                continue
            await asyncio.sleep(due - time.monotonic())
            result = stream.latest
            if result is None:
                continue
            due = time.monotonic() + 1 / options.fps
            picture = await run_in_worker(lambda shown=result: draw_result(shown, scale=options.scale))  # type: ignore[misc]
            yield (
                (
                    f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n"
                    f"X-Frame-Index: {result.window.frame_index}\r\n\r\n"
                ).encode()
                + picture
                + b"\r\n"
            )
        yield f"--{BOUNDARY}--\r\n".encode()


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
        draw_text(picture, f"#{track.track_id}", (corners[0], corners[3] + 12, corners[2], corners[3]), colour)
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
