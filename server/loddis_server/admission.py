"""Who may come in: the bound on frames between the head of their request and its answer.

It counts from the head of a request on, so that a full server says so before it has read a body, and never holds more
bodies and frames in memory than it admitted. Used on the event loop; `on_the_way` may be asked from any thread.
"""

from __future__ import annotations

import asyncio
import math
import threading
from types import TracebackType

from loddis_server.metrics import Metrics
from loddis_server.problems import NOT_READY, OVERLOADED, ProblemError

__all__ = ["Admission", "Ticket"]


class Ticket:
    """One admitted request, from `Admission.enter`.

    Leave the `with` block and the place is free again, unless somebody still holds the request's body: then once they
    let go. A client that leaves takes nothing out of the memory of a thread that is reading its frame.
    """

    __slots__ = ("_admission", "_arrived", "_holders")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._arrived = False
        self._holders = 1

    def hold(self) -> None:
        """Keep the place beyond the `with` block, until `release`; on the event loop."""
        self._holders += 1

    def release(self) -> None:
        """Let go; on the event loop."""
        self._holders -= 1
        if self._holders == 0:
            self._admission.leave()

    def arrived(self) -> None:
        """Say that the frame is in the queue of the network, from any thread."""
        with self._admission.lock:
            if not self._arrived:
                self._arrived = True
                self._admission.on_the_way -= 1

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.arrived()
        self.release()


class Admission:
    """Lets in as many requests as may wait and run at once, and none while it is closed.

    Args:
        capacity: Requests at once.
        metrics: Told how many there are.

    Attributes:
        on_the_way: Admitted requests whose frames are not in the queue of the network yet.
        seconds_per_frame: What the network takes, for the advice when to come back; kept by whoever runs it.
    """

    def __init__(self, capacity: int, metrics: Metrics) -> None:
        self.capacity = capacity
        self.lock = threading.Lock()
        self.on_the_way = 0
        self.seconds_per_frame = 0.0
        self._in_flight = 0
        self._closed: str | None = "the server is starting: models are being loaded"
        self._idle = asyncio.Event()
        self._idle.set()
        metrics.in_flight.set_function(lambda: self._in_flight)

    @property
    def in_flight(self) -> int:
        """Requests that are in."""
        return self._in_flight

    def open(self) -> None:
        """Let requests in from now on."""
        self._closed = None

    def close(self, reason: str) -> None:
        """Let no more requests in; those that are in stay."""
        self._closed = reason

    def enter(self) -> Ticket:
        """Let a request in.

        Raises:
            ProblemError: There is no room, or no request is let in now; with advice when to come back.
        """
        if self._closed is not None:
            raise ProblemError(NOT_READY, self._closed)
        if self._in_flight >= self.capacity:
            wait_s = max(1, math.ceil(self._in_flight * self.seconds_per_frame))
            raise ProblemError(
                OVERLOADED,
                f"{self._in_flight} requests are under way, this server takes {self.capacity} at once",
                headers={"Retry-After": str(wait_s)},
            )
        self._in_flight += 1
        self._idle.clear()
        with self.lock:
            self.on_the_way += 1
        return Ticket(self)

    def leave(self) -> None:
        """Free the place of a request; its ticket does this, when its last holder lets go."""
        self._in_flight -= 1
        if self._in_flight == 0:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no request is in."""
        await self._idle.wait()
