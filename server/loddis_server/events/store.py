"""The store of events: what `append` has returned from survives a killed process and a power cut."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection

from loddis_server.events.database import connect, writing
from loddis_server.events.errors import StoreUnavailableError, translated_errors
from loddis_server.events.event import Event, to_epoch_us
from loddis_server.events.queries import Cursor, EventFilter, Order, event_columns, event_of, select_events
from loddis_server.events.schema import upgrade
from loddis_server.events.settings import ReceiverSettings
from loddis_server.events.tables import WAITING, deliveries, events, thumbnails

__all__ = ["DeliveryState", "EventStore"]

ROW_BYTES = 512  # of an event besides payload and thumbnail: columns and indices
FREE_PAGES_KEPT = 256  # of SQLite, for the next events; giving each page back would only move others about
FREE_PAGES_A_STEP = 512


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """How far the delivery of an event to one receiver is; what was delivered has none.

    Attributes:
        receiver: Its name.
        state: Whether it is yet to be delivered, or was set aside for good.
        refusals: How often the receiver has refused it.
        reason: Of the last refusal.
    """

    receiver: str
    state: Literal["waiting", "set_aside"]
    refusals: int
    reason: str | None


class EventStore:
    """Events in a database, and the outbox of what receivers have yet to get. All methods may be called by any thread.

    Every method but `close` raises `StoreUnavailableError` where the database does not work now.

    Args:
        url: Of the database, as `EventSettings.url`.
        receivers: Get what is appended from now on, if they want its kind.
        lock_timeout_s: How long to wait for a locked database, seconds.

    Raises:
        ConfigError: The database's driver is not installed.
    """

    def __init__(self, url: URL, *, receivers: Sequence[ReceiverSettings] = (), lock_timeout_s: float = 5.0) -> None:
        self.engine = connect(url, lock_timeout_s=lock_timeout_s)
        self._writing = writing(self.engine)
        self._is_sqlite = self.engine.dialect.name == "sqlite"
        self._receivers = tuple(receivers)
        self.is_open = False

    def open(self) -> None:
        """Connect, and bring the schema up to this release.

        Raises:
            SchemaError: The database is of a newer release, or not of Loddis.
        """
        with translated_errors():
            upgrade(self.engine)
        self.is_open = True

    def close(self) -> None:
        """Give back all connections."""
        self.is_open = False
        self.engine.dispose()

    @contextmanager
    def transaction(self, *, is_writing: bool = False) -> Iterator[Connection]:
        """Begin a transaction, and commit it at the end of the `with` block.

        Args:
            is_writing: Whether it may write.
        """
        if not self.is_open:
            raise StoreUnavailableError("unreachable", "it is not open yet")
        with translated_errors(), (self._writing if is_writing else self.engine).begin() as connection:
            yield connection

    def append(self, new: Sequence[Event], thumbnails_png: Mapping[str, bytes] | None = None) -> int:
        """Store events, with what is to be delivered of them, in one transaction; durable on return.

        Events whose id is there already are left as they are, and not delivered again.

        Args:
            new: Events; they are delivered in this order.
            thumbnails_png: Event id → PNG.

        Returns:
            How many were not there yet.

        Raises:
            EventRefusedError: The database does not take one of them; none is stored.
        """
        pictures = thumbnails_png or {}
        if not new:
            return 0
        stored_at_us = time.time_ns() // 1000
        rows = [_row(event, pictures.get(event.id, b""), stored_at_us) for event in new]
        with self.transaction(is_writing=True) as connection:
            insert = sqlite.insert if self._is_sqlite else postgresql.insert
            statement = insert(events).on_conflict_do_nothing(index_elements=["id"]).returning(events.c.id)
            added = set(connection.scalars(statement, rows))
            fresh = [event for event in {event.id: event for event in new}.values() if event.id in added]
            shown = [{"event_id": event.id, "png": pictures[event.id]} for event in fresh if pictures.get(event.id)]
            if shown:
                connection.execute(thumbnails.insert(), shown)
            outgoing = [
                {"event_id": event.id, "receiver": receiver.name, "state": WAITING, "refusals": 0}
                for event in fresh
                for receiver in self._receivers
                if receiver.wants(event.kind)
            ]
            if outgoing:
                connection.execute(deliveries.insert(), outgoing)
        return len(fresh)

    def query(
        self, wanted: EventFilter, *, limit: int, order: Order = "newest", after: Cursor | None = None
    ) -> list[Event]:
        """Give a page of events, by capture time; see `select_events`."""
        statement = select_events(wanted, order=order, limit=limit, after=after)
        with self.transaction() as connection:
            return [event_of(row) for row in connection.execute(statement)]

    def get(self, event_id: str) -> tuple[Event, tuple[DeliveryState, ...]] | None:
        """Give an event and the deliveries that are not done, or None if there is no such event."""
        statement = (
            select(*event_columns)
            .outerjoin_from(events, thumbnails, thumbnails.c.event_id == events.c.id)
            .where(events.c.id == event_id)
        )
        left = (
            select(deliveries.c.receiver, deliveries.c.state, deliveries.c.refusals, deliveries.c.reason)
            .where(deliveries.c.event_id == event_id)
            .order_by(deliveries.c.receiver)
        )
        with self.transaction() as connection:
            row = connection.execute(statement).one_or_none()
            if row is None:
                return None
            return event_of(row), tuple(DeliveryState(*fields) for fields in connection.execute(left))

    def thumbnail(self, event_id: str) -> bytes | None:
        """Give the PNG of an event, or None if it has none."""
        with self.transaction() as connection:
            return connection.scalar(select(thumbnails.c.png).where(thumbnails.c.event_id == event_id))

    def used_bytes(self) -> int:
        """Give the size of what is stored: of SQLite the pages in use, of PostgreSQL the events' own bytes."""
        with self.transaction() as connection:
            if self._is_sqlite:
                return (_pragma(connection, "page_count") - _pragma(connection, "freelist_count")) * _pragma(
                    connection, "page_size"
                )
            count, size = connection.execute(
                select(func.count(), func.coalesce(func.sum(events.c.size_bytes), 0)).select_from(events)
            ).one()
            return int(size) + int(count) * ROW_BYTES

    def prune(self, *, stored_before_us: int, undelivered_before_us: int, limit: int) -> int:
        """Delete some of the oldest events: one small step, so that appending never waits for long.

        Args:
            stored_before_us: Those stored before, microseconds since 1970.
            undelivered_before_us: Those that a receiver still waits for only if stored before this as well.
            limit: Most events to delete.

        Returns:
            How many were deleted.
        """
        is_awaited = (
            select(deliveries.c.seq)
            .where(deliveries.c.event_id == events.c.id, deliveries.c.state == WAITING)
            .correlate(events)
            .exists()
        )
        may_go = ~is_awaited | (events.c.stored_at_us < undelivered_before_us)
        oldest = (
            select(events.c.id)
            .where(events.c.stored_at_us < stored_before_us, may_go)
            .order_by(events.c.stored_at_us, events.c.id)
            .limit(limit)
        )
        # Looked for before the write lock is taken, which this would hold for too long.
        with self.transaction() as connection:
            ids = list(connection.scalars(oldest))
        if not ids:
            return 0
        # Somebody may have put an event back since that a receiver had refused: whoever is about to is waited for, and
        # what is waited for again stays.
        its_deliveries = select(deliveries.c.seq).where(deliveries.c.event_id.in_(ids)).order_by(deliveries.c.seq)
        with self.transaction(is_writing=True) as connection:
            connection.execute(its_deliveries.with_for_update()).all()
            return connection.execute(delete(events).where(events.c.id.in_(ids), may_go)).rowcount

    def shrink(self) -> bool:
        """Give some free pages of SQLite back to the disk; PostgreSQL reuses its own.

        Returns:
            Whether more are left to give back.
        """
        if not self._is_sqlite:
            return False
        with self.transaction() as connection:
            free = _pragma(connection, "freelist_count") - FREE_PAGES_KEPT
        if free > 0:
            with self.transaction(is_writing=True) as connection:
                # SQLite frees a page a step, and Python's driver makes one step of a statement that gives no columns.
                for _ in range(min(free, FREE_PAGES_A_STEP)):
                    connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
        return free > FREE_PAGES_A_STEP


def _row(event: Event, picture: bytes, stored_at_us: int) -> dict[str, Any]:
    payload = orjson.dumps(event.payload).decode()
    return {
        "id": event.id,
        "kind": event.kind,
        "stream_id": event.stream_id,
        "occurred_at_us": to_epoch_us(event.occurred_at),
        "stored_at_us": stored_at_us,
        "frame_index": event.frame_index,
        "score": event.score,
        "payload": payload,
        "size_bytes": len(payload) + len(picture),
    }


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
