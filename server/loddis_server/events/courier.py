"""Delivery to one receiver: in order, one event at a time, until each is confirmed or set aside."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, ParamSpec, TypeVar

from loddis_server.events.errors import EventStoreError
from loddis_server.events.exclusive import ReceiverLock
from loddis_server.events.outbox import Outbox, OutboxStatus, Outgoing
from loddis_server.events.receiver import (
    Connection,
    DeliveryRefusedError,
    Receiver,
    ReceiverKind,
    RetryLaterError,
)
from loddis_server.events.settings import ReceiverSettings
from loddis_server.metrics import Metrics

__all__ = ["Courier", "ReceiverStatus"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

BATCH_EVENTS = 32
STATUS_INTERVAL_S = 5.0
IDLE_S = 30.0  # after which the outbox is looked into unasked: another server may have filled it, or put events back
STORE_RETRY_S = 1.0
STANDBY_S = 2.0
LOGGED_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class ReceiverStatus:
    """How the delivery to a receiver goes.

    Attributes:
        name: Of the receiver.
        kind: Of the receiver.
        state: `failing` from a failed try to the next delivery, or until a connection stands and nothing waits;
            `standby` while another server delivers from the same database.
        reason: Why the last try failed; None if it did not.
        failing_since: When the first of the tries failed that have failed since it last worked; None if none has.
        last_delivered_at: When this server last delivered an event there; None if it has not since its start.
        waiting: Events yet to be delivered, when last counted.
        set_aside: Events given up, when last counted.
        lag_s: Age of the oldest event yet to be delivered, seconds; 0 if none is.
    """

    name: str
    kind: ReceiverKind
    state: Literal["ok", "failing", "standby"]
    reason: str | None
    failing_since: datetime | None
    last_delivered_at: datetime | None
    waiting: int
    set_aside: int
    lag_s: float


class Courier:
    """Delivers what one receiver has yet to get.

    Args:
        receiver: To deliver to.
        settings: Of the receiver.
        outbox: To take from.
        lock: Held while delivering.
        database: Threads that the outbox is asked on.
        metrics: To count in.
    """

    def __init__(
        self,
        receiver: Receiver,
        settings: ReceiverSettings,
        outbox: Outbox,
        *,
        lock: ReceiverLock,
        database: Executor,
        metrics: Metrics,
    ) -> None:
        self.name = settings.name
        self._receiver = receiver
        self._settings = settings
        self._outbox = outbox
        self._lock = lock
        self._is_standby = False
        self._database = database
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failures = 0
        self._reason: str | None = None
        self._failing_since: datetime | None = None
        self._delivered_at: datetime | None = None
        self._status = OutboxStatus(0, 0, None, None)
        self._tried_seq: int | None = None  # all events before it were done with: one that waits was put back
        self._counted_at = float("-inf")
        self._delivered = metrics.events_delivered.labels(self.name)
        self._failed = metrics.events_delivery_failures.labels(self.name)
        self._set_aside = metrics.events_set_aside.labels(self.name)
        metrics.events_outbox.labels(self.name).set_function(lambda: self.status.waiting)
        metrics.events_delivery_lag.labels(self.name).set_function(lambda: self.status.lag_s)

    @property
    def status(self) -> ReceiverStatus:
        """How it goes; may be asked by any thread."""
        status, reason = self._status, self._reason
        state: Literal["ok", "failing", "standby"] = "ok" if reason is None else "failing"
        if self._is_standby:
            state = "standby"
        return ReceiverStatus(
            name=self.name,
            kind=self._receiver.kind,
            state=state,
            reason=reason,
            failing_since=self._failing_since,
            last_delivered_at=self._delivered_at,
            waiting=status.waiting,
            set_aside=status.set_aside,
            lag_s=status.lag_s,
        )

    def wake(self) -> None:
        """Say that there is something new."""
        self._wake.set()

    def hurry(self) -> None:
        """Say that the next try need not wait for the end of its delay: somebody has mended the receiver."""
        self._failures = 0
        self._counted_at = float("-inf")
        self._hurry.set()
        self._wake.set()

    def stop(self) -> None:
        """Say that the delivery under way is the last one."""
        self._stopping.set()
        self._hurry.set()
        self._wake.set()

    def close(self) -> None:
        """Leave the delivery to other servers; after the end of `run`."""
        self._lock.release()

    async def run(self) -> None:
        """Deliver until told to stop."""
        while not self._stopping.is_set():
            try:
                if await self._is_ours():
                    async with self._receiver.connect() as connection:
                        await self._serve(connection)
                else:
                    await self._pause(STANDBY_S)
            except RetryLaterError as error:
                await self._fail(error)
            except Exception:  # a defect of ours costs time, not the delivery
                logger.exception("delivery broke off", extra={"receiver": self.name})
                await self._fail(RetryLaterError("internal error"))

    async def _serve(self, connection: Connection) -> None:
        """Deliver over one connection."""
        while not self._stopping.is_set():
            self._wake.clear()  # before anything is awaited: what comes meanwhile, the end included, wakes again
            self._hurry.clear()
            if not await self._is_ours():
                return
            batch = await self._persist(self._outbox.next, self.name, limit=BATCH_EVENTS)
            if not batch or time.monotonic() - self._counted_at > STATUS_INTERVAL_S:
                await self._count()
            if not batch:
                if self._receiver.keeps_connection:
                    self._works()
                await self._idle(connection)
            for outgoing in batch or ():
                if self._stopping.is_set():
                    return
                await self._deliver(connection, outgoing)

    async def _is_ours(self) -> bool:
        """Tell whether to deliver is for this server, not for another one."""
        is_held = bool(await self._persist(self._lock.acquire))
        if is_held == self._is_standby:
            logger.info("delivery begins" if is_held else "another server delivers", extra={"receiver": self.name})
        self._is_standby = not is_held
        if not is_held:
            await self._count()
        return is_held

    async def _deliver(self, connection: Connection, outgoing: Outgoing) -> None:
        self._tried_seq = outgoing.seq
        try:
            await connection.send(outgoing.event)
        except DeliveryRefusedError as refusal:
            reason = str(refusal)
            is_final = outgoing.refusals + 1 >= self._receiver.max_refusals
            await self._persist(self._outbox.refuse, outgoing.seq, reason, is_final=is_final)
            if not is_final:
                raise RetryLaterError(reason, detail=refusal.detail) from None
            self._set_aside.inc()
            fields = {"receiver": self.name, "event_id": outgoing.event.id, "reason": _logged(refusal)}
            logger.error("event set aside", extra=fields)
            return
        # Not in the outbox any more before the next one is sent; until then a killed process would send it again.
        await self._persist(self._outbox.confirm, outgoing.seq)
        self._delivered.inc()
        self._delivered_at = datetime.now(UTC)
        self._failures = 0
        self._works()

    def _works(self) -> None:
        """Note that the receiver works."""
        if self._reason is not None:
            logger.info("receiver works", extra={"receiver": self.name})
        self._reason = self._failing_since = None

    async def _idle(self, connection: Connection) -> None:
        """Wait for something to deliver."""
        waits = [asyncio.create_task(self._wake.wait()), asyncio.create_task(connection.lost())]
        try:
            await asyncio.wait(waits, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED)
            if waits[1].done():
                raise RetryLaterError("the connection was lost")
        finally:
            for wait in waits:
                wait.cancel()

    async def _fail(self, error: RetryLaterError) -> None:
        """Wait before the next try: longer each time, and not in step with others."""
        reason = str(error)
        self._failed.inc()
        if self._reason != reason:
            logger.warning("delivery failed", extra={"receiver": self.name, "reason": _logged(error)})
        if self._reason is None:
            self._failing_since = datetime.now(UTC)
        self._reason = reason
        await self._count()
        longest_s = min(self._settings.retry_min_s * 2 ** min(self._failures, 32), self._settings.retry_max_s)
        self._failures += 1
        wait_s = random.uniform(longest_s / 2, longest_s)
        if error.wait_s is not None:
            wait_s = max(wait_s, min(error.wait_s, self._settings.retry_max_s))
        await self._delay(wait_s)

    async def _delay(self, wait_s: float) -> None:
        """Wait, but no longer once a try is asked for: here, or of another server, which has put events back then."""
        end = time.monotonic() + wait_s
        while not self._is_put_back():
            left_s = end - time.monotonic()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), min(left_s, IDLE_S))
                break
            if left_s <= IDLE_S:
                break
            await self._count()
        self._hurry.clear()

    def _is_put_back(self) -> bool:
        """Tell whether events that had been set aside wait again, as last counted; once for each time."""
        first, tried = self._status.first_seq, self._tried_seq
        if first is None or tried is None or first >= tried:
            return False
        self._tried_seq = first
        self._failures = 0
        return True

    async def _count(self) -> None:
        status = await self._persist(self._outbox.status, self.name)
        if status is not None:
            self._status = status
            self._counted_at = time.monotonic()

    async def _persist(self, action: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T | None:
        """Do something in the database, as often as it takes; None if the end came first."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await loop.run_in_executor(self._database, lambda: action(*arguments, **options))
            except EventStoreError:  # the writer has the same database, and says what is wrong with it
                if self._stopping.is_set():
                    return None
                await self._pause(STORE_RETRY_S)

    async def _pause(self, wait_s: float) -> None:
        """Wait, but not past the end."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), wait_s)


def _logged(error: RetryLaterError | DeliveryRefusedError) -> str:
    """Give the reason of an error for the server's log, which may know more than others."""
    return f"{error}: {error.detail}"[:LOGGED_CHARACTERS] if error.detail else str(error)
