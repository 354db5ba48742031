"""Pictures of a stream: its newest frame with detections and tracks drawn in, only while somebody watches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from pydantic import BaseModel, ConfigDict, Field

from loddis_server.streams.hub import Subscription
from loddis_server.streams.live import LiveStream

__all__ = ["BOUNDARY", "PictureOptions", "PreviewOptions", "picture_parts"]

BOUNDARY = "loddis-frame"
IDLE_S = 10.0  # after which something is sent again, so that proxies and clients keep the connection
# A header that nobody reads, of a first part whose picture is yet to come. By MIME, empty lines before that part would
# do too, but Chromium's page crashes at the second one.
AWAITED = b"X-Frame-Awaited: true\r\n"


class PictureOptions(BaseModel):
    """How to draw a frame."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: int = Field(default=2, ge=1, le=4, description="Picture pixels per frame pixel.")


class PreviewOptions(PictureOptions):
    """How to show a stream."""

    fps: float = Field(default=10.0, gt=0, le=30, allow_inf_nan=False, description="Most pictures a second.")


async def picture_parts(stream: LiveStream, listener: Subscription, options: PreviewOptions) -> AsyncGenerator[bytes]:
    """Give the parts of a `multipart/x-mixed-replace` answer until the stream ends.

    Where no new picture comes for `IDLE_S`, the newest is sent again, also where `options.fps` would have it later;
    while there is none, the head of the first part grows by a line.

    Args:
        stream: To show.
        listener: On it.
        options: How.
    """
    delimiter = opening = f"--{BOUNDARY}\r\n".encode()
    interval_s = min(1 / options.fps, IDLE_S)
    due = 0.0
    idle_from = time.monotonic() + IDLE_S
    while not listener.ended:
        message = await listener.next(timeout_s=max(0.0, idle_from - time.monotonic()))
        is_new = message is not None and message.kind == "frame"
        if listener.ended or not (is_new or time.monotonic() >= idle_from):
            continue
        await asyncio.sleep(due - time.monotonic())
        result = stream.latest
        if result is None:
            yield opening + AWAITED
            opening = b""
        else:
            due = time.monotonic() + interval_s
            picture = await stream.pictures.of(result, scale=options.scale)
            head = (
                f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n"
                f"X-Frame-Index: {result.window.frame_index}\r\n\r\n"
            )
            yield opening + head.encode() + picture + b"\r\n"
            opening = delimiter
        idle_from = time.monotonic() + IDLE_S
    yield f"--{BOUNDARY}--\r\n".encode()
