"""What routes that take frames have in common: the time a request has, its body, and clients that leave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from loddis_server import problems
from loddis_server.bodies import read_body
from loddis_server.jobs import FrameJob
from loddis_server.metrics import Stage
from loddis_server.middleware import started_at
from loddis_server.problems import ProblemError
from loddis_server.service import Service

__all__ = [
    "answer_in_time",
    "outcomes",
    "read_in_time",
    "receive_body",
    "server_timing",
    "time_left_s",
    "unless_left",
]

T = TypeVar("T")


async def receive_body(request: Request, service: Service) -> tuple[bytes, float]:
    """Read the body of a request, a frame or several; gives it and the seconds since the request came.

    Raises:
        ProblemError: It is empty, too large, or not here in time.
        ClientDisconnect: The other side left.
    """
    body = await read_in_time(request, service, max_bytes=service.settings.max_body_bytes)
    seconds = time.perf_counter() - started_at(request.scope)
    service.metrics.stages["receive"].observe(seconds)
    return body, seconds


async def read_in_time(request: Request, service: Service, *, max_bytes: int) -> bytes:
    """Read a body that holds no frame.

    Not left to the framework: it would read the body of whoever comes, of any size and however long that takes, before
    it asks who they are.

    Raises:
        ProblemError: It is empty, too large, or not here in time.
        ClientDisconnect: The other side left.
    """
    limit_s = service.settings.request_timeout_s
    try:
        async with asyncio.timeout(time_left_s(request, service)):
            return await read_body(request.receive, request.headers, max_bytes=max_bytes)
    except TimeoutError:
        raise ProblemError(
            problems.UPLOAD_TIMEOUT, f"the body was not here {limit_s:g} s after the head of the request"
        ) from None


def time_left_s(request: Request, service: Service) -> float:
    """Give the seconds that are left to a request; none, or fewer, if its time is over."""
    return started_at(request.scope) + service.settings.request_timeout_s - time.perf_counter()


@asynccontextmanager
async def answer_in_time(request: Request, service: Service) -> AsyncIterator[None]:
    """Give what is within the time that is left to the request.

    Raises:
        ProblemError: It took longer.
    """
    limit_s = service.settings.request_timeout_s
    try:
        async with asyncio.timeout(time_left_s(request, service)):
            yield
    except TimeoutError:
        service.metrics.dropped.labels("timeout").inc()
        raise ProblemError(problems.TIMEOUT, f"no answer {limit_s:g} s after the head of the request") from None


async def unless_left(service: Service, receive: Receive, awaited: Awaitable[T]) -> T:
    """Wait for a result, but no longer than the other side does. What is awaited is then cancelled.

    Raises:
        ClientDisconnect: The other side left.
    """
    result = asyncio.ensure_future(awaited)
    result.add_done_callback(_retrieve)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((result, leaving), return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        service.metrics.dropped.labels("client_left").inc()
        raise ClientDisconnect
    finally:
        leaving.cancel()
        result.cancel()


def _retrieve(result: asyncio.Future[Any]) -> None:
    """Look at what a result came to, also where nobody waits for it any more."""
    if not result.cancelled():
        result.exception()


async def outcomes(service: Service, jobs: Sequence[FrameJob[T]], receive: Receive) -> list[T]:
    """Send frames on their way and wait for all of them; those that are left are given up with the first that fails.

    Args:
        service: Of the server.
        jobs: One a frame.
        receive: Of the request, whose body has been read.

    Raises:
        ClientDisconnect: The other side left.
        Exception: What went wrong with a frame.
    """
    results = [service.pipeline.submit(job) for job in jobs]
    try:
        if len(results) == 1:  # without the task that gathers: most requests bring one frame
            return [await unless_left(service, receive, results[0])]
        return await unless_left(service, receive, asyncio.gather(*results))
    finally:
        for job in jobs:
            job.abandon()


async def _left(receive: Receive) -> None:
    """Wait until the other side is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def server_timing(seconds: Mapping[Stage, float]) -> dict[str, str]:
    """Give the header that tells browsers and proxies where the time went."""
    return {"Server-Timing": ", ".join(f"{stage};dur={taken * 1000:.3f}" for stage, taken in seconds.items())}
