"""Load on an HTTP server from one process: requests that are ready as bytes, over connections that stay open.

Answers are read no further than status, `Retry-After` and length, so that what is measured is the server: the share of
a core that the generator takes itself comes with every result.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

__all__ = ["Answer", "Load", "closed_loop", "detect_request", "open_loop"]

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
PATIENCE_S = 30.0  # after which a request without an answer counts as lost
LOST = 0  # status of a request whose connection broke, or that waited too long


@dataclass(frozen=True, slots=True)
class Answer:
    """How one request went."""

    due_s: float
    """When it was to be sent, from the start of the load. Latency counts from here, so that a generator that is held up
    by the server does not leave the wait out."""
    latency_s: float
    """Until the whole answer was there."""
    status: int
    """Of HTTP; 0 if there was no answer."""
    retry_after_s: int | None
    """What the answer advised."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a load."""

    answers: list[Answer]
    """One for each request, in the order of their answers."""
    seconds: float
    """From the first request to the last answer."""
    own_processor_share: float
    """Of one core, that the generator took."""
    worst_lag_s: float
    """How late the generator sent a request, at worst: its own fault, not the server's."""

    def latencies_ms(self, status: int, *, after_s: float = 0.0) -> list[float]:
        """Give the milliseconds of all answers of a status to requests that were due from a time on."""
        return [
            answer.latency_s * 1e3 for answer in self.answers if answer.status == status and answer.due_s >= after_s
        ]


def detect_request(frame: np.ndarray[tuple[int, ...], np.dtype[np.generic]], url: str) -> bytes:
    """Give the bytes of `POST /v1/detect` with a raw frame.

    Args:
        frame: ``(H, W)`` uint8, uint16 or float32.
        url: Of the server.
    """
    head = (
        f"POST /v1/detect HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nContent-Type: application/octet-stream\r\n"
        f"X-Frame-Width: {frame.shape[1]}\r\nX-Frame-Height: {frame.shape[0]}\r\nX-Frame-Dtype: {frame.dtype.name}\r\n"
        f"Content-Length: {frame.nbytes}\r\n\r\n"
    )
    return head.encode() + frame.tobytes()


async def closed_loop(url: str, requests: Sequence[bytes], *, clients: int, seconds: float) -> Load:
    """Let clients each send a request when the last one is answered.

    Args:
        url: Of the server.
        requests: Sent in turn.
        clients: That send at the same time.
        seconds: How long new requests are sent.
    """
    meter = _Meter()
    answers: list[Answer] = []
    async with _Connections(url) as connections:

        async def client(number: int) -> None:
            turn = number
            while (due_s := meter.elapsed_s) < seconds:
                answers.append(await _ask(connections, requests[turn % len(requests)], due_s, meter))
                turn += clients

        await asyncio.gather(*(client(number) for number in range(clients)))
        return meter.load(answers)


async def open_loop(url: str, requests: Sequence[bytes], *, rate: float, seconds: float, seed: int = 0) -> Load:
    """Send requests at random times, whatever becomes of those before: as many independent clients do (Poisson).

    Args:
        url: Of the server.
        requests: Sent in turn.
        rate: Requests a second, on average.
        seconds: How long.
        seed: Of the times.
    """
    times = random.Random(seed)
    meter = _Meter()
    answers: list[Answer] = []
    async with _Connections(url) as connections, asyncio.TaskGroup() as group:

        async def request(number: int, due_s: float) -> None:
            answers.append(await _ask(connections, requests[number % len(requests)], due_s, meter))

        due_s, number = 0.0, 0
        while due_s < seconds:
            if (ahead_s := due_s - meter.elapsed_s) > 0:
                await asyncio.sleep(ahead_s)
            meter.note_lag(meter.elapsed_s - due_s)
            group.create_task(request(number, due_s))
            number += 1
            due_s += times.expovariate(rate)
    return meter.load(answers)


class _Meter:
    """Time, lag and processor time of one load."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._processor_s = time.process_time()
        self._worst_lag_s = 0.0

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._started

    def note_lag(self, seconds: float) -> None:
        self._worst_lag_s = max(self._worst_lag_s, seconds)

    def load(self, answers: list[Answer]) -> Load:
        seconds = self.elapsed_s
        return Load(answers, seconds, (time.process_time() - self._processor_s) / seconds, self._worst_lag_s)


async def _ask(connections: _Connections, request: bytes, due_s: float, meter: _Meter) -> Answer:
    """Send a request over a connection that is free, and wait for its answer."""
    status, retry_after_s = LOST, None
    try:
        async with asyncio.timeout(PATIENCE_S):
            connection = await connections.take()
            try:
                status, retry_after_s = await connection.ask(request)
            finally:
                connections.give_back(connection)
    except (OSError, TimeoutError):
        pass
    return Answer(due_s, meter.elapsed_s - due_s, status, retry_after_s)


class _Connections:
    """Connections to one server: one that is free is used again, a new one made if none is."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._free: list[_Connection] = []

    async def __aenter__(self) -> _Connections:
        return self

    async def __aexit__(self, *exception: object) -> None:
        for connection in self._free:
            connection.close()

    async def take(self) -> _Connection:
        while self._free:
            connection = self._free.pop()
            if connection.is_usable:
                return connection
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(_Connection, self._host, self._port)
        return made

    def give_back(self, connection: _Connection) -> None:
        if connection.is_usable:
            self._free.append(connection)
        else:
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, int | None]] | None = None
        self.is_usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        self.is_usable = True

    async def ask(self, request: bytes) -> tuple[int, int | None]:
        """Give status and Retry-After of the answer."""
        if self._transport is None:
            raise ConnectionResetError
        self._received.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        except asyncio.CancelledError:  # an answer that comes later is not that of the next request
            self.is_usable = False
            raise

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(HEAD_END)
        if end < 0 or self._answer is None or self._answer.done():
            return
        head = bytes(self._received[: end + 2])
        length = LENGTH.search(head)
        if len(self._received) < end + len(HEAD_END) + (int(length[1]) if length else 0):
            return
        if CLOSES.search(head):
            self.is_usable = False
        advice = RETRY_AFTER.search(head)
        self._answer.set_result((int(head[9:12]), int(advice[1]) if advice else None))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
