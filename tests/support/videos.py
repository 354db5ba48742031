"""Videos written for tests, and sources read to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from loddis_server.sources.allow_list import SourceAllowList
from loddis_server.sources.settings import SourceSettings
from loddis_server.sources.source import Source
from loddis_server.sources.status import SourceFrame, SourceStatus

__all__ = ["TIMEOUT_S", "levels", "read_all", "write_video"]

TIMEOUT_S = 60.0


def levels(count: int, *, first: int = 1000, size_hw: tuple[int, int] = (64, 80)) -> list[NDArray[np.uint16]]:
    """Give 16-bit frames of one level each, which counts up."""
    return [np.full(size_hw, first + number, np.uint16) for number in range(count)]


def write_video(
    path: Path,
    frames: Sequence[NDArray[Any]],
    *,
    codec: str = "ffv1",
    array_format: str = "gray16le",
    pix_fmt: str | None = None,
    fps: int = 30,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video.

    Args:
        path: Its ending says the container.
        frames: As `array_format` has them.
        codec: FFmpeg's name.
        array_format: Pixel format of the arrays.
        pix_fmt: Pixel format in the file; the same if none.
        fps: Frames per second.
        options: For the encoder.
        container_options: For the container.
    """
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        if array_format.startswith("yuv420p"):
            stream.height = frames[0].shape[0] * 2 // 3
        stream.pix_fmt = pix_fmt or array_format
        for number, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format=array_format)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read_all(
    allow: SourceAllowList, *, timeout_s: float = TIMEOUT_S, **settings: Any
) -> tuple[list[SourceFrame], SourceStatus, list[SourceStatus]]:
    """Read a source until it is over; give its frames, how it ended, and what it told on the way."""
    told: list[SourceStatus] = []

    async def read() -> tuple[list[SourceFrame], SourceStatus]:
        async with Source(SourceSettings(**settings), allow=allow, on_status=told.append) as source:
            frames = [frame async for frame in source.frames()]
            return frames, source.status

    async def limited() -> tuple[list[SourceFrame], SourceStatus]:
        return await asyncio.wait_for(read(), timeout_s)

    frames, status = asyncio.run(limited())
    return frames, status, told
