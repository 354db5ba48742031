"""What a client of a soak has to hand, and what it notes."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from fuzz_seeds import Body
from numpy.typing import NDArray

__all__ = ["Mix", "Tally", "Visit", "noise", "raw_body", "reset_on_close"]

FRAME_HW = (256, 320)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets the connection, as a client that crashes does


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
            said = response.text[:300] if response.is_closed else ""
            self.faults.append(f"{mix}: {response.status_code} {said}")

    def count(self, mix: str, outcome: str) -> None:
        """Count what is no answer of HTTP."""
        self.statuses[f"{mix} {outcome}"] += 1


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
    folder: Path
    """That the server may read videos from."""
    next_index: Counter[str] = field(default_factory=Counter)
    """Of the frame to come, by stream."""

    async def post(
        self, body: Body, query: str = "", *, path: str = "/v1/detect", expected: tuple[int, ...] | None = None
    ) -> httpx.Response | None:
        """Send a body, and count the answer.

        Args:
            body: With the headers that matter.
            query: With its question mark.
            path: Of the route.
            expected: Statuses; all but server errors if none.

        Returns:
            The answer; None if no client of HTTP sends such headers.
        """
        headers = [(name.encode(), text.encode("latin-1", "replace")) for name, text in body.headers.items()]
        with contextlib.suppress(httpx.LocalProtocolError):
            answer = await self.client.post(f"{path}{query}", content=body.content, headers=headers)
            self.tally.note(self.mix, answer)
            if expected is not None and answer.status_code not in expected:
                self.tally.faults.append(f"{self.mix}: {answer.status_code} {answer.text[:300]}")
            return answer
        return None


@dataclass(frozen=True, slots=True)
class Mix:
    """One kind of client."""

    act: Callable[[Visit], Awaitable[None]]
    """What it does each time; its name is that of the mix."""
    rate: float
    """Times a second, on average; no more than one at a time."""


def raw_body(rng: random.Random, size_hw: tuple[int, int] = FRAME_HW) -> Body:
    """Give a raw 16-bit frame of noise, with the headers that describe it."""
    frame = noise(rng, size_hw)
    described = {"x-frame-width": str(frame.shape[1]), "x-frame-height": str(frame.shape[0])}
    return Body("raw", frame.tobytes(), described | {"x-frame-dtype": str(frame.dtype)})


def noise(rng: random.Random, size_hw: tuple[int, int] = FRAME_HW) -> NDArray[np.uint16]:
    """Give noise, ``(H, W)``."""
    return np.random.default_rng(rng.getrandbits(32)).integers(20_000, 21_000, size_hw, dtype=np.uint16)


def reset_on_close(connection: socket.socket) -> None:
    """Let a connection end without a word when it is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
