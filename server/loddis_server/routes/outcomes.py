"""Waiting for frames on their way through the pipeline, but no longer than the other side does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from loddis_runtime.detections import Detections
from loddis_server.pipeline import DetectionJob
from loddis_server.service import Service

__all__ = ["outcomes"]


async def outcomes(service: Service, jobs: Sequence[DetectionJob], receive: Receive) -> list[Detections]:
    """Send frames on their way and wait for all of them; those that are left are given up with the first that fails.

    Args:
        service: Of the server.
        jobs: One a frame.
        receive: Of the request, whose body has been read.

    Raises:
        ClientDisconnect: The other side left.
        Exception: What went wrong with a frame.
    """
    results = asyncio.gather(*(service.pipeline.submit(job) for job in jobs))
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((results, leaving), return_when=asyncio.FIRST_COMPLETED)
        if results.done():
            return results.result()
        service.metrics.dropped.labels("client_left").inc(len(jobs))
        raise ClientDisconnect
    finally:
        leaving.cancel()
        results.cancel()
        for job in jobs:
            job.abandon()


async def _left(receive: Receive) -> None:
    """Wait until the other side is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
