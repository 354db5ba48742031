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
IDLE_S = 10.0


class PictureOptions(BaseModel):
    """How to draw a frame."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: int = Field(default=2, ge=1, le=4, description="Picture pixels per frame pixel.")


class PreviewOptions(PictureOptions):
    """How to show a stream."""

    fps: float = Field(default=10.0, gt=0, le=30, allow_inf_nan=False, description="Most pictures a second.")


async def picture_parts(stream: LiveStream, listener: Subscription, options: PreviewOptions) -> AsyncGenerator[bytes]:
    """Give the parts of a `multipart/x-mixed-replace` answer until the stream ends.

    Args:
        stream: To show.
        listener: On it.
        options: How.
    """
    due = 0.0
    while not listener.ended:
        message = await listener.next(timeout_s=IDLE_S)
        if message is not None and message.kind != "frame":
            continue
        await asyncio.sleep(due - time.monotonic())
        result = stream.latest
        if result is None:
            continue
        due = time.monotonic() + 1 / options.fps
        picture = await stream.pictures.of(result, scale=options.scale)
        head = (
            f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n"
            f"X-Frame-Index: {result.window.frame_index}\r\n\r\n"
        )
        yield head.encode() + picture + b"\r\n"
    yield f"--{BOUNDARY}--\r\n".encode()
