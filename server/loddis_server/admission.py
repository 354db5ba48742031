"""Who may come in: the bound on frames between the head of their request and its answer.

It counts from the head of a request on, so that a full server says so before it has read a body, and never holds more
bodies and frames in memory than it admitted. Used on the event loop; `on_the_way` may be asked from any thread.

Two limits hold. `capacity` bounds the requests that are in, whatever they do there: a burst is let in and worked off.
But a queue that fills anew as fast as it is worked off makes every answer late and none more. So a virtual queue is
kept, of all that asks to come in, refused or not, at the pace that the server has: while that is longer than the real
one may be, the server is overloaded, and a frame is let in only if it can be expected to be done within `max_slowdown`
times what a lone one takes (`Pace.expected_s`). Requests that are still being sent do not count as at work, so that
slow clients keep nobody out; hence who came in under overload is asked again once the body is there.

A request of many frames is no way around that: its frames come in one after the other, in its own place and in such as
others leave (`spare`), and it is let in only if all of them can be expected to be done in its time (`check_time`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from types import TracebackType

from loddis_server.metrics import Metrics
from loddis_server.pace import Pace
from loddis_server.problems import NOT_READY, OVERLOADED, ProblemError

__all__ = ["Admission", "Ticket"]

logger = logging.getLogger(__name__)

TOLD_EVERY_S = 10.0


class Ticket:
    """One admitted request, from `Admission.enter`.

    Leave the `with` block and the place is free again, unless somebody still holds the request's body: then once they
    let go. A client that leaves takes nothing out of the memory of a thread that is reading its frame.
    """

    __slots__ = ("_admission", "_arrived", "_holders", "_under_overload")

    def __init__(self, admission: Admission, *, under_overload: bool) -> None:
        self._admission = admission
        self._under_overload = under_overload
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

    def confirm(self) -> None:
        """Ask again whether there is room, now that the body is here and work on it could begin.

        Raises:
            ProblemError: The request was let in under overload, and others were faster.
        """
        if self._under_overload:
            self._admission.check_room()

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
        self.leave()

    def leave(self, _: object = None) -> None:
        """Do what leaving the `with` block does; may be called by a task that is done."""
        if not self._arrived:
            self._admission.take_back_demand()
        self.arrived()
        self.release()


class Admission:
    """Lets in as many requests as may wait and run at once, fewer under overload, and none while it is closed.

    Args:
        capacity: Requests at once.
        metrics: Told how many there are.
        pace: Of the server; kept by whoever does the work.
        max_slowdown: Longest time that a frame may be expected to be at work under overload, in times of a lone one.

    Attributes:
        on_the_way: Admitted requests whose frames are not in the queue of the network yet.
        at_work: Frames between the end of their body and their result; kept by whoever does the work, on the event
            loop.
        promised: Frames of requests of many that have not had their turn; kept by whoever gives it to them.
    """

    def __init__(self, capacity: int, metrics: Metrics, *, pace: Pace, max_slowdown: float) -> None:
        self.capacity = capacity
        self.lock = threading.Lock()
        self.on_the_way = 0
        self.at_work = 0
        self.promised = 0
        self._pace = pace
        self._max_slowdown = max_slowdown
        self._in_flight = 0
        self._asked = 0.0  # length of the virtual queue when it was last asked to be longer
        self._asked_at = time.monotonic()
        self._refused = 0  # since the log was last told
        self._telling: asyncio.TimerHandle | None = None
        self._closed: str | None = "the server is starting: models are being loaded"
        self._idle = asyncio.Event()
        self._idle.set()
        metrics.in_flight.set_function(lambda: self._in_flight)
        metrics.overloaded.set_function(lambda: self.is_overloaded)

    @property
    def in_flight(self) -> int:
        """Requests that are in."""
        return self._in_flight

    @property
    def is_overloaded(self) -> bool:
        """Whether more was asked for than could be done by now, and more than may wait."""
        return self._virtual_queue() > self.capacity

    def open(self) -> None:
        """Let requests in from now on."""
        self._closed = None

    def close(self, reason: str) -> None:
        """Let no more requests in; those that are in stay."""
        self._closed = reason
        if self._telling is not None:
            self._telling.cancel()
            self._tell_number()

    def enter(self) -> Ticket:
        """Let a request in.

        Raises:
            ProblemError: There is no room, or no request is let in now; with advice when to come back.
        """
        if self._closed is not None:
            raise ProblemError(NOT_READY, self._closed)
        self.ask()
        if self._in_flight >= self.capacity:
            self._asked = 2 * self.capacity  # a real queue that is full leaves nothing to work out
            raise self.refusal(f"{self._in_flight} requests are under way, this server takes {self.capacity} at once")
        under_overload = self.is_overloaded
        if under_overload:
            self.check_room()
        return self._ticket(under_overload=under_overload)

    def spare(self) -> Ticket | None:
        """Give a further place to a request that is in, if others leave one: half of all are for those who come."""
        if self._closed is not None or 2 * self._in_flight >= self.capacity or self.is_overloaded:
            return None
        self.ask()
        return self._ticket(under_overload=False)

    def ask(self) -> None:
        """Count a frame that asks to be done."""
        # Twice the capacity is as much as is remembered, so that an overload that is over is soon forgotten.
        self._asked = min(self._virtual_queue() + 1, 2 * self.capacity)
        self._asked_at = time.monotonic()

    def check_room(self) -> None:
        """Check that a frame could be done in time under overload.

        Raises:
            ProblemError: It could not; with advice when to come back.
        """
        expected_s, alone_s = self._pace.expected_s(self.at_work), self._pace.alone_s
        if expected_s > self._max_slowdown * alone_s:
            raise self.refusal(
                f"more is asked for than this server can do, and this would take {expected_s * 1e3:.0f} ms where a "
                f"lone frame takes {alone_s * 1e3:.0f}"
            )

    def check_time(self, frames: int, *, within_s: float) -> None:
        """Check that the frames of one request could all be done in time, behind those that others have brought.

        Raises:
            ProblemError: They could not; with advice when to come back.
        """
        before = self.at_work + self.promised
        expected_s = (before + frames) * self._pace.frame_s
        if before and expected_s > within_s:
            raise self.refusal(
                f"{before} frames are under way: {frames} more would take {expected_s:.1f} s, and have {within_s:.1f} s"
            )

    def refusal(self, detail: str) -> ProblemError:
        """Give the answer to a frame that there is no room for, with advice when to come back, and count it."""
        self._tell()
        wait_s = max(1, math.ceil((self._in_flight + self.promised) * self._pace.frame_s))
        return ProblemError(OVERLOADED, detail, headers={"Retry-After": str(wait_s)})

    def take_back_demand(self) -> None:
        """Forget that a request asked: it was no frame in the end, and cost the network nothing."""
        self._asked = max(0.0, self._asked - 1)

    def leave(self) -> None:
        """Free the place of a request; its ticket does this, when its last holder lets go."""
        self._in_flight -= 1
        if self._in_flight == 0:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no request is in."""
        await self._idle.wait()

    def _tell(self) -> None:
        """Count a refusal, and log how many there were now and then: a line for each would cost more than they do."""
        if self._telling is None:
            logger.warning("overloaded: frames are refused", extra={"in_flight": self._in_flight})
            self._telling = asyncio.get_running_loop().call_later(TOLD_EVERY_S, self._tell_number)
        self._refused += 1

    def _tell_number(self) -> None:
        """Log how many were refused since the log was last told, and go on while there are more."""
        self._telling = None
        if not self._refused:
            return
        logger.warning("frames were refused for overload", extra={"refused": self._refused})
        self._refused = 0
        if self._closed is None:
            self._telling = asyncio.get_running_loop().call_later(TOLD_EVERY_S, self._tell_number)

    def _ticket(self, *, under_overload: bool) -> Ticket:
        self._in_flight += 1
        self._idle.clear()
        with self.lock:
            self.on_the_way += 1
        return Ticket(self, under_overload=under_overload)

    def _virtual_queue(self) -> float:
        """Give how many requests would be waiting now if none had been refused."""
        frame_s = self._pace.frame_s
        if not frame_s:
            return 0.0
        return max(0.0, self._asked - (time.monotonic() - self._asked_at) / frame_s)
