"""Sources read to their end, and frames that can be told apart."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loddis_server.sources.allow_list import SourceAllowList
from loddis_server.sources.settings import SourceSettings
from loddis_server.sources.source import Source
from loddis_server.sources.status import SourceFrame, SourceStatus

__all__ = ["TIMEOUT_S", "levels", "read_all"]

TIMEOUT_S = 60.0


def levels(count: int, *, first: int = 1000, size_hw: tuple[int, int] = (64, 80)) -> list[NDArray[np.uint16]]:
    """Give 16-bit frames of one level each, which counts up."""
    return [np.full(size_hw, first + number, np.uint16) for number in range(count)]


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
