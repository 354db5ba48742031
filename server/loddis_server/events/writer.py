"""The thread that stores events, so that no stream ever waits for a disk.

Streams hand over; the thread stores whatever has gathered in one transaction. While the database does not work, events
stay in memory and it tries again. Only when they take more memory than was set are the oldest dropped, and counted.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Literal

import orjson

from loddis_server.events.errors import EventRefusedError, EventStoreError, Fault, StoreUnavailableError
from loddis_server.events.event import Event
from loddis_server.events.settings import EventSettings
from loddis_server.events.store import EventStore
from loddis_server.metrics import Metrics

__all__ = ["EventWriter", "StoreState", "StoreStatus"]

logger = logging.getLogger(__name__)

StoreState = Literal["opening", "ok", "incompatible", Fault]

BATCH_EVENTS = 256
BATCH_BYTES = 4 * 2**20
EVENT_BYTES = 2048  # of memory that an event takes besides its payload and thumbnail; rather too much
RETRY_MIN_S = 0.1
RETRY_MAX_S = 5.0
PRUNE_EVENTS = 200  # a step; a transaction of this size takes some milliseconds
DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How the storing of events goes.

    Attributes:
        state: Of the database.
        cause: Why it does not work; None if it does.
        waiting: Events in memory that are not stored yet.
        waiting_bytes: Memory that they take, about.
        dropped: Events given up since the start.
    """

    state: StoreState
    cause: str | None
    waiting: int
    waiting_bytes: int
    dropped: int


@dataclass(frozen=True, slots=True)
class _Entry:
    event: Event
    thumbnail_png: bytes | None
    size_bytes: int
    settled: Future[None] = field(default_factory=Future)


class EventWriter:
    """Stores events on a thread of its own, and deletes old ones.

    Args:
        store: Opened by the thread if it is not open yet.
        settings: How much memory to take, and how long to keep events.
        metrics: To count in.
        on_stored: Called on the writer's thread with events that are durable now, for instance to publish them.
    """

    def __init__(
        self,
        store: EventStore,
        settings: EventSettings,
        metrics: Metrics,
        *,
        on_stored: Callable[[Sequence[Event]], None],
    ) -> None:
        self._store = store
        self._max_bytes = settings.memory_max_bytes
        self._retention = settings.retention
        self._metrics = metrics
        self._on_stored = on_stored
        self._condition = threading.Condition()
        self._queue: deque[_Entry] = deque()
        self._under_way: list[_Entry] = []
        self._bytes = 0
        self._dropped = 0
        self._state: StoreState = "opening"
        self._cause: str | None = None
        self._deadline: float | None = None  # once stopping
        self._prune_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="loddis-events", daemon=True)
        metrics.events_waiting.set_function(lambda: self.status.waiting)
        metrics.events_store_ok.set_function(lambda: self._state == "ok")

    def start(self) -> None:
        """Start the thread."""
        self._state = "ok" if self._store.is_open else "opening"
        self._thread.start()

    def record(self, event: Event, thumbnail_png: bytes | None = None) -> Future[None]:
        """Hand over an event. Never waits for the database, and never fails because of it.

        Args:
            event: It is stored a moment later; `on_stored` is told.
            thumbnail_png: PNG of the neighbourhood.

        Returns:
            Done once the event is durable, or given up.
        """
        size_bytes = EVENT_BYTES + len(orjson.dumps(event.payload)) + len(thumbnail_png or b"")
        with self._condition:
            entry = _Entry(event, thumbnail_png, size_bytes)
            if self._deadline is not None:
                self._drop([entry], "stopped")
                return entry.settled
            self._queue.append(entry)
            self._bytes += size_bytes
            self._trim()
            self._condition.notify_all()
        return entry.settled

    def stop(self, *, timeout_s: float) -> bool:
        """Store what was handed over, then end the thread.

        Args:
            timeout_s: For that, seconds. What is not stored by then is dropped, and counted.

        Returns:
            Whether all was stored.
        """
        with self._condition:
            self._deadline = time.monotonic() + timeout_s
            self._condition.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        with self._condition:
            left = [*self._under_way, *self._queue]
            self._queue.clear()
            self._drop(left, "stopped")
        return not left

    @property
    def is_finished(self) -> bool:
        """Whether the thread is at work no more."""
        return not self._thread.is_alive()

    @property
    def status(self) -> StoreStatus:
        """How it goes."""
        with self._condition:
            waiting = len(self._queue) + len(self._under_way)
            return StoreStatus(self._state, self._cause, waiting, self._bytes, self._dropped)

    def _run(self) -> None:
        delay_s = RETRY_MIN_S
        while self._wait_for_work():
            try:
                self._work()
            except EventStoreError as error:
                self._fail(error)
                if self._is_over():
                    break
                with self._condition:
                    self._condition.wait_for(lambda: self._deadline is not None, delay_s)
                delay_s = min(delay_s * 2, RETRY_MAX_S)
            else:
                delay_s = RETRY_MIN_S

    def _wait_for_work(self) -> bool:
        """Wait until there is something to do; False once there is nothing more."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._queue or self._deadline is not None or not self._store.is_open,
                max(0.0, self._prune_at - time.monotonic()),
            )
            return bool(self._queue) or self._deadline is None

    def _work(self) -> None:
        """Do a bit of everything: open the database, store a batch, prune a step."""
        if not self._store.is_open:
            self._store.open()
        batch = self._take()
        try:
            if batch:
                self._write(batch)
        finally:
            self._put_back()
            # Also where nothing could be stored: what is deleted makes room in a database that is full.
            if time.monotonic() >= self._prune_at and not self._prune():
                self._prune_at = time.monotonic() + self._retention.interval_s
        if self._state != "ok":
            logger.info("event database works")
            self._state, self._cause = "ok", None

    def _take(self) -> list[_Entry]:
        with self._condition:
            size = 0
            while self._queue and len(self._under_way) < BATCH_EVENTS and size < BATCH_BYTES:
                entry = self._queue.popleft()
                size += entry.size_bytes
                self._under_way.append(entry)
            return list(self._under_way)

    def _put_back(self) -> None:
        """Put what was not stored in front of the queue again."""
        with self._condition:
            if self._deadline is None or time.monotonic() < self._deadline:
                self._queue.extendleft(reversed(self._under_way))
                self._under_way.clear()
                self._trim()

    def _write(self, batch: Sequence[_Entry]) -> None:
        """Store events; those that the database does not take, for whatever is in them, are dropped alone."""
        pictures = {entry.event.id: entry.thumbnail_png for entry in batch if entry.thumbnail_png}
        try:
            self._store.append([entry.event for entry in batch], pictures)
        except EventRefusedError as error:
            if len(batch) > 1:
                for entry in batch:
                    self._write([entry])
                return
            logger.error("event refused by its database", extra={"event_id": batch[0].event.id, "cause": str(error)})
            with self._condition:
                self._drop(batch, "refused")
                self._settle(batch)
            return
        with self._condition:
            self._settle(batch)
        for entry in batch:
            self._metrics.events_stored.labels(entry.event.kind).inc()
        self._on_stored([entry.event for entry in batch])

    def _settle(self, batch: Sequence[_Entry]) -> None:
        """Forget events that are under way no more."""
        done = {id(entry) for entry in batch}
        self._under_way = [entry for entry in self._under_way if id(entry) not in done]
        self._bytes -= sum(entry.size_bytes for entry in batch)
        _release(batch)

    def _trim(self) -> None:
        """Drop the oldest while they take too much memory."""
        while self._bytes > self._max_bytes and self._queue:
            entry = self._queue.popleft()
            self._bytes -= entry.size_bytes
            self._drop([entry], "memory_full")

    def _drop(self, entries: Sequence[_Entry], reason: str) -> None:
        if entries:
            self._dropped += len(entries)
            self._metrics.events_dropped.labels(reason).inc(len(entries))
            _release(entries)

    def _prune(self) -> bool:
        """Delete a step of old events; whether there is more to do."""
        retention = self._retention
        now_us = time.time_ns() // 1000
        is_over_size = self._store.used_bytes() > retention.max_bytes
        deleted = self._store.prune(
            stored_before_us=now_us if is_over_size else _before(now_us, retention.max_age_days),
            undelivered_before_us=_before(now_us, retention.undelivered_max_age_days),
            limit=PRUNE_EVENTS,
        )
        return self._store.shrink() or deleted == PRUNE_EVENTS or (is_over_size and deleted > 0)

    def _fail(self, error: EventStoreError) -> None:
        """Show what is wrong; once a fault is logged."""
        state: StoreState = error.fault if isinstance(error, StoreUnavailableError) else "incompatible"
        if state != self._state:
            logger.error("events are kept in memory", extra={"cause": str(error), "waiting": self.status.waiting})
        self._state, self._cause = state, str(error)

    def _is_over(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline


def _release(entries: Sequence[_Entry]) -> None:
    """Let go of whoever waits for events to be durable: they are, or never will be."""
    for entry in entries:
        with contextlib.suppress(InvalidStateError):  # they gave up waiting
            entry.settled.set_result(None)


def _before(now_us: int, days: float) -> int:
    return now_us - round(days * DAY_US)
