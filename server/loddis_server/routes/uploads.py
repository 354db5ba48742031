"""Reading the body of a request, in the time that the request has."""

from __future__ import annotations

import asyncio
import time

from fastapi import Request

from loddis_server.bodies import read_body
from loddis_server.middleware import started_at
from loddis_server.problems import UPLOAD_TIMEOUT, ProblemError
from loddis_server.settings import ServerSettings

__all__ = ["deadline_of", "receive_body"]


def deadline_of(request: Request, settings: ServerSettings) -> float:
    """Give when a request must be answered, on the clock of `time.perf_counter`."""
    return started_at(request.scope) + settings.request_timeout_s


async def receive_body(request: Request, settings: ServerSettings) -> bytes:
    """Read a body, no more of it than `max_body_bytes` and no longer than `request_timeout_s`.

    Raises:
        ProblemError: It is empty, too large or too slow.
        ClientDisconnect: The other side left.
    """
    try:
        async with asyncio.timeout(deadline_of(request, settings) - time.perf_counter()):
            return await read_body(request.receive, request.headers, max_bytes=settings.max_body_bytes)
    except TimeoutError:
        raise ProblemError(
            UPLOAD_TIMEOUT,
            f"the body was not here {settings.request_timeout_s:g} s after the head of the request",
        ) from None
