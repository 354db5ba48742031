"""What a server in use sees, as mixes: each is a client that does one thing over and over.

A new route gets a function here or in `soak_streams`, `async def name(visit: Visit) -> None`, and a line in `MIXES`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from fuzz_seeds import seeds
from load_generator import detect_request
from mutations import mutate
from soak_streams import STREAM_MIXES, write_camera
from soak_visit import Mix, Tally, Visit, noise, raw_body, reset_on_close
from websockets.exceptions import WebSocketException

__all__ = ["MIXES", "fill_pools", "run_traffic"]

TIMEOUT_S = 30.0
BURST = 24  # requests at once that bring every pool of threads and connections to its size
BURSTS = 3


async def raw_frames(visit: Visit) -> None:
    """A camera's gateway: raw 16-bit frames, one after the other."""
    await visit.post(raw_body(visit.rng))


async def files(visit: Visit) -> None:
    """People and scripts: files of every format, with options."""
    await visit.post(visit.rng.choice(seeds()), visit.rng.choice(("", "?score_threshold=0.01", "?max_detections=3")))


async def pictures(visit: Visit) -> None:
    """Somebody who looks: detections drawn into the frame."""
    await visit.post(raw_body(visit.rng), "?return=image&score_threshold=0.05")


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
    request = detect_request(noise(visit.rng), visit.url)
    end = visit.rng.choice((visit.rng.randrange(100), visit.rng.randrange(len(request)), len(request)))
    parts = urlsplit(visit.url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    if visit.rng.random() < 0.5:
        reset_on_close(writer.get_extra_info("socket"))
    with contextlib.suppress(ConnectionError):
        writer.write(request[:end])
        await writer.drain()
        await asyncio.sleep(visit.rng.choice((0.0, 0.01, 0.1)))
        writer.close()
        await writer.wait_closed()
    visit.tally.count(visit.mix, "left")


async def slow_upload(visit: Visit) -> None:
    """A bad line: the body comes in pieces."""
    request = detect_request(noise(visit.rng), visit.url)
    parts = urlsplit(visit.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    for start in range(0, len(request), 20_000):
        writer.write(request[start : start + 20_000])
        await asyncio.sleep(0.05)
    status = (await reader.readuntil(b"\r\n")).split()[1].decode()
    visit.tally.count(visit.mix, status)
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
    *STREAM_MIXES,
)


async def fill_pools(url: str) -> None:
    """Let a server start all threads and connections that it keeps, so that whatever comes later is a leak.

    Pools start their threads as they are needed: for decoding, finishing, the model repository and the database. One
    that met its first busy moment only in the traffic that counts would look like one.

    Args:
        url: Of the server.
    """
    rng = random.Random(0)
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
        for _ in range(BURSTS):
            frames = (raw_body(rng) for _ in range(BURST))
            files = (rng.choice(seeds()) for _ in range(BURST))
            await asyncio.gather(
                *(client.post("/v1/detect", content=body.content, headers=body.headers) for body in (*frames, *files)),
                *(client.get(path) for path in ("/v1/models", "/v1/events") for _ in range(BURST)),
            )


async def run_traffic(url: str, *, seconds: float, seed: int, tally: Tally, folder: Path) -> None:
    """Let all mixes act for some time, then close every connection.

    Args:
        url: Of the server.
        seconds: How long.
        seed: Of what is left to chance.
        tally: Takes the answers.
        folder: That the server may read videos from; one is put there.
    """
    write_camera(folder)
    ends = asyncio.get_running_loop().time() + seconds

    async def act_on(mix: Mix, client: httpx.AsyncClient) -> None:
        name = mix.act.__name__
        visit = Visit(name, url, client, random.Random(f"{seed}:{name}"), tally, folder)
        while (left_s := ends - asyncio.get_running_loop().time()) > 0:
            try:
                await mix.act(visit)
            except (OSError, httpx.HTTPError, asyncio.IncompleteReadError, WebSocketException) as error:
                tally.faults.append(f"{name}: no answer: {error!r}")
            await asyncio.sleep(min(left_s, visit.rng.expovariate(mix.rate)))

    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
        await asyncio.gather(*(act_on(mix, client) for mix in MIXES))
