"""All about events in one object with a beginning and an end: what a server owns."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import ParamSpec, TypeVar

from loddis_server.events.courier import ReceiverStatus
from loddis_server.events.delivery import Delivery
from loddis_server.events.errors import StoreUnavailableError
from loddis_server.events.event import Event
from loddis_server.events.outbox import Outbox
from loddis_server.events.settings import EventSettings
from loddis_server.events.store import EventStore
from loddis_server.events.writer import EventWriter, StoreStatus
from loddis_server.metrics import Metrics

__all__ = ["EventLog", "EventLogStatus"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

READERS = 4  # threads that ask the database; no more than it keeps connections for


@dataclass(frozen=True, slots=True)
class EventLogStatus:
    """How it goes.

    Attributes:
        store: With the database.
        receivers: With each receiver.
        kept: Events in the database; None where it was not asked, or did not answer.
    """

    store: StoreStatus
    receivers: tuple[ReceiverStatus, ...]
    kept: int | None = None


class EventLog:
    """Stores events and delivers them.

    Args:
        settings: Of events.
        metrics: To count in.

    Attributes:
        store: To query; on an event loop by `ask`.
        on_stored: Called with events that are durable now, on the thread that stored them; it must be quick.

    Raises:
        ConfigError: The database's driver is not installed, or certificates of a receiver cannot be used.
    """

    def __init__(self, settings: EventSettings, metrics: Metrics) -> None:
        self.store = EventStore(settings.url, receivers=settings.receivers, lock_timeout_s=settings.lock_timeout_s)
        self.on_stored: Callable[[Sequence[Event]], None] = lambda _: None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="loddis-event-reader")
        self._outbox = Outbox(self.store)
        self._delivery = Delivery(self.store, settings, metrics)
        self._writer = EventWriter(self.store, settings, metrics, on_stored=self._stored)

    def start(self) -> None:
        """Open the database and start the threads; waits for the database, so not on an event loop.

        A database that is locked, full or out of reach is no reason not to start: cameras are watched meanwhile, events
        are kept in memory, and it is tried again.

        Raises:
            SchemaError: The database is of a newer release, or not of Loddis.
            StoreUnavailableError: It is corrupt.
        """
        try:
            self.store.open()
        except StoreUnavailableError as error:
            if not error.is_passing:
                raise
            logger.error("started without the event database", extra={"cause": str(error)})
        self._writer.start()
        self._delivery.start()

    def record(self, event: Event, thumbnail_png: bytes | None = None) -> Future[None]:
        """Hand over an event, from any thread; see `EventWriter.record`."""
        return self._writer.record(event, thumbnail_png)

    async def ask(self, question: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
        """Call a method of the store on a thread of the log's own: while the database is locked, nothing else waits."""
        call = partial(question, *arguments, **options)
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    async def retry(self, receiver: str | None = None) -> int:
        """Deliver again what was set aside; see `Delivery.retry`."""
        return await self.ask(self._delivery.retry, receiver)

    async def count(self) -> EventLogStatus:
        """Tell how it goes as `status` does, but with counts of now.

        A database that does not answer is told of in `store`; counts are then those of before.
        """
        names = [receiver.name for receiver in self._delivery.status]
        try:
            kept, counts = await self.ask(self._outbox.count, names)
        except StoreUnavailableError as error:
            status = self.status
            if status.store.state != "ok":  # the writer knows better, say that it is of another release
                return status
            return replace(status, store=replace(status.store, state=error.fault, cause=str(error)))
        status = self.status
        receivers = [
            replace(receiver, waiting=count.waiting, set_aside=count.set_aside, lag_s=count.lag_s)
            for receiver, count in ((receiver, counts[receiver.name]) for receiver in status.receivers)
        ]
        return EventLogStatus(status.store, tuple(receivers), kept)

    def stop(self, *, timeout_s: float) -> bool:
        """Store what was handed over, end the deliveries under way, end the threads.

        Args:
            timeout_s: For all of it, seconds.

        Returns:
            Whether everything was stored. What was not delivered is, after the next start.
        """
        deadline = time.monotonic() + timeout_s
        is_stored = self._writer.stop(timeout_s=timeout_s)
        self._delivery.stop(timeout_s=max(0.0, deadline - time.monotonic()))
        self._readers.shutdown(wait=False, cancel_futures=True)
        self.store.close()
        return is_stored

    @property
    def is_finished(self) -> bool:
        """Whether no thread is at work any more."""
        return self._writer.is_finished and self._delivery.is_finished

    @property
    def status(self) -> EventLogStatus:
        """How it goes; may be asked by any thread."""
        return EventLogStatus(self._writer.status, self._delivery.status)

    def _stored(self, events: Sequence[Event]) -> None:
        self._delivery.wake()
        try:
            self.on_stored(events)
        except Exception:  # the listener's defect must not end the storing
            logger.exception("a listener of events failed")
