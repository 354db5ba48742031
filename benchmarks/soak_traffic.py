"""What a server in use sees, as mixes: each is a client that does one thing over and over.

A new route gets a function here, `async def name(visit: Visit) -> None`, and a line in `MIXES`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import numpy as np
from fuzz_seeds import Body, seeds
from load_generator import detect_request
from mutations import mutate

__all__ = ["MIXES", "Mix", "Tally", "Visit", "run_traffic"]

FRAME_HW = (256, 320)
TIMEOUT_S = 30.0
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets the connection, as a client that crashes does


@dataclass(slots=True)
class Tally:
    """How often what was answered, over all mixes."""

    statuses: Counter[str] = field(default_factory=Counter)
    """By mix and status."""
    faults: list[str] = field(default_factory=list)
    """What no client should see."""

    def note(self, mix: str, response: httpx.Response) -> None:
        """Count an answer; a server error other than a refusal is a fault."""
        self.statuses[f"{mix} {response.status_code}"] += 1
        if response.status_code >= 500 and response.status_code not in (501, 503):
            self.faults.append(f"{mix}: {response.status_code} {response.text[:300]}")


@dataclass(slots=True)
class Visit:
    """What a mix has to hand."""

    mix: str
    """Its name."""
    url: str
    """Of the server."""
    client: httpx.AsyncClient
    """With connections of its own."""
    rng: random.Random
    """Decides everything that is left to chance."""
    tally: Tally
    """Takes the answers."""

    async def post(self, body: Body, query: str = "") -> None:
        """Send a body to `POST /v1/detect`, and count the answer."""
        headers = [(name.encode(), text.encode("latin-1", "replace")) for name, text in body.headers.items()]
        with contextlib.suppress(httpx.LocalProtocolError):  # a header that no client of HTTP sends
            answer = await self.client.post(f"/v1/detect{query}", content=body.content, headers=headers)
            self.tally.note(self.mix, answer)


@dataclass(frozen=True, slots=True)
class Mix:
    """One kind of client."""

    act: Callable[[Visit], Awaitable[None]]
    """What it does each time; its name is that of the mix."""
    rate: float
    """Times a second, on average; no more than one at a time."""


async def raw_frames(visit: Visit) -> None:
    """A camera's gateway: raw 16-bit frames, one after the other."""
    await visit.post(_raw(visit.rng))


async def files(visit: Visit) -> None:
    """People and scripts: files of every format, with options."""
    await visit.post(visit.rng.choice(seeds()), visit.rng.choice(("", "?score_threshold=0.01", "?max_detections=3")))


async def pictures(visit: Visit) -> None:
    """Somebody who looks: detections drawn into the frame."""
    await visit.post(_raw(visit.rng), "?return=image&score_threshold=0.05")


async def bad_input(visit: Visit) -> None:
    """Files that are spoiled, parameters that are wrong."""
    body = mutate(visit.rng, visit.rng.choice(seeds()), seeds())
    await visit.post(body, visit.rng.choice(("", "?score_threshold=2", "?model=nothing", "?scoer=1")))


async def operators(visit: Visit) -> None:
    """Prometheus, probes, a browser."""
    path = visit.rng.choice(("/metrics", "/livez", "/readyz", "/v1/models", "/problems", "/openapi.json", "/nothing"))
    visit.tally.note(visit.mix, await visit.client.get(path))


async def vanishing(visit: Visit) -> None:
    """Clients that leave: in the head, in the body, or before they are answered."""
    request = detect_request(_noise(visit.rng), visit.url)
    end = visit.rng.choice((visit.rng.randrange(100), visit.rng.randrange(len(request)), len(request)))
    parts = urlsplit(visit.url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    if visit.rng.random() < 0.5:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    with contextlib.suppress(ConnectionError):
        writer.write(request[:end])
        await writer.drain()
        await asyncio.sleep(visit.rng.choice((0.0, 0.01, 0.1)))
        writer.close()
        await writer.wait_closed()
    visit.tally.statuses[f"{visit.mix} left"] += 1


async def slow_upload(visit: Visit) -> None:
    """A bad line: the body comes in pieces."""
    request = detect_request(_noise(visit.rng), visit.url)
    parts = urlsplit(visit.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    for start in range(0, len(request), 20_000):
        writer.write(request[start : start + 20_000])
        await asyncio.sleep(0.05)
    status = (await reader.readuntil(b"\r\n")).split()[1].decode()
    visit.tally.statuses[f"{visit.mix} {status}"] += 1
    writer.close()
    await writer.wait_closed()


MIXES = (
    Mix(raw_frames, rate=20.0),
    Mix(files, rate=10.0),
    Mix(pictures, rate=1.0),
    Mix(bad_input, rate=10.0),
    Mix(operators, rate=2.0),
    Mix(vanishing, rate=5.0),
    Mix(slow_upload, rate=0.5),
)


async def run_traffic(url: str, *, seconds: float, seed: int, tally: Tally) -> None:
    """Let all mixes act for some time, then close every connection.

    Args:
        url: Of the server.
        seconds: How long.
        seed: Of what is left to chance.
        tally: Takes the answers.
    """
    ends = asyncio.get_running_loop().time() + seconds

    async def act_on(mix: Mix, client: httpx.AsyncClient) -> None:
        name = mix.act.__name__
        visit = Visit(name, url, client, random.Random(f"{seed}:{name}"), tally)
        while (left_s := ends - asyncio.get_running_loop().time()) > 0:
            try:
                await mix.act(visit)
            except (OSError, httpx.HTTPError, asyncio.IncompleteReadError) as error:
                tally.faults.append(f"{name}: no answer: {error!r}")
            await asyncio.sleep(min(left_s, visit.rng.expovariate(mix.rate)))

    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
        await asyncio.gather(*(act_on(mix, client) for mix in MIXES))


def _raw(rng: random.Random) -> Body:
    frame = _noise(rng)
    described = {"x-frame-width": str(frame.shape[1]), "x-frame-height": str(frame.shape[0])}
    return Body("raw", frame.tobytes(), described | {"x-frame-dtype": str(frame.dtype)})


def _noise(rng: random.Random) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    return np.random.default_rng(rng.getrandbits(32)).integers(20_000, 21_000, FRAME_HW, dtype=np.uint16)
