"""The outbox: what each receiver has yet to get. A row goes when the receiver has confirmed, and not before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from loddis_server.events.event import Event
from loddis_server.events.queries import event_columns, event_of
from loddis_server.events.store import EventStore
from loddis_server.events.tables import SET_ASIDE, WAITING, deliveries, events, thumbnails

__all__ = ["Outbox", "OutboxStatus", "Outgoing"]

PUT_BACK_EVENTS = 500  # a step; a transaction of this size takes some milliseconds


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event on its way to a receiver.

    Attributes:
        seq: Place in the outbox.
        event: The event.
        refusals: How often the receiver has refused it.
    """

    seq: int
    event: Event
    refusals: int


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """What a receiver has yet to get.

    Attributes:
        waiting: Events yet to be delivered.
        set_aside: Events given up, each with its reason.
        first_seq: Place of the first that waits; None if none does.
        oldest_us: When that one was stored, microseconds since 1970; None if none waits.
    """

    waiting: int
    set_aside: int
    first_seq: int | None
    oldest_us: int | None

    @property
    def lag_s(self) -> float:
        """Age of the oldest that waits, seconds; 0 if none does."""
        return 0.0 if self.oldest_us is None else max(0.0, time.time() - self.oldest_us / 1e6)


class Outbox:
    """The outbox of a store; every method raises `StoreUnavailableError` where the database does not work now.

    Args:
        store: It is in.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def next(self, receiver: str, *, limit: int) -> list[Outgoing]:
        """Give the first events that a receiver has yet to get, in the order in which they were stored."""
        statement = (
            select(deliveries.c.seq, deliveries.c.refusals, *event_columns)
            .join_from(deliveries, events, deliveries.c.event_id == events.c.id)
            .outerjoin(thumbnails, thumbnails.c.event_id == events.c.id)
            .where(deliveries.c.receiver == receiver, deliveries.c.state == WAITING)
            .order_by(deliveries.c.seq)
            .limit(limit)
        )
        with self._store.transaction() as connection:
            return [Outgoing(row.seq, event_of(row), row.refusals) for row in connection.execute(statement)]

    def confirm(self, seq: int) -> None:
        """Take out what was delivered."""
        with self._store.transaction(is_writing=True) as connection:
            connection.execute(deliveries.delete().where(deliveries.c.seq == seq))

    def refuse(self, seq: int, reason: str, *, is_final: bool) -> None:
        """Note that the receiver refused an event; if that is final, set it aside: it is not tried again."""
        with self._store.transaction(is_writing=True) as connection:
            connection.execute(
                deliveries.update()
                .where(deliveries.c.seq == seq)
                .values(refusals=deliveries.c.refusals + 1, reason=reason, state=SET_ASIDE if is_final else WAITING)
            )

    def put_back(self, receiver: str) -> int:
        """Let what was set aside wait again, in its old place and as if it had never been refused.

        In steps, so that appending never waits for long. One that is set aside again meanwhile is left there.

        Returns:
            How many wait again.
        """
        number, last = 0, -1
        while True:
            step = (
                select(deliveries.c.seq)
                .where(deliveries.c.receiver == receiver, deliveries.c.state == SET_ASIDE, deliveries.c.seq > last)
                .order_by(deliveries.c.seq)
                .limit(PUT_BACK_EVENTS)
                .with_for_update()  # of PostgreSQL, in the order in which pruning locks them; SQLite locks all
            )
            with self._store.transaction(is_writing=True) as connection:
                found = list(connection.scalars(step))
                if found:
                    connection.execute(
                        deliveries.update()
                        .where(deliveries.c.seq.in_(found))
                        .values(state=WAITING, refusals=0, reason=None)
                    )
            if not found:
                return number
            number, last = number + len(found), found[-1]

    def count(self, receivers: Sequence[str]) -> tuple[int, dict[str, OutboxStatus]]:
        """Count the events that are kept, and for each of these receivers what it has yet to get."""
        with self._store.transaction() as connection:
            kept = connection.scalar(select(func.count()).select_from(events)) or 0
        return kept, {receiver: self.status(receiver) for receiver in receivers}

    def status(self, receiver: str) -> OutboxStatus:
        """Count what a receiver has yet to get."""
        mine = deliveries.c.receiver == receiver
        counts = select(deliveries.c.state, func.count().label("number")).where(mine).group_by(deliveries.c.state)
        first = (
            select(deliveries.c.seq, events.c.stored_at_us)
            .join_from(deliveries, events, deliveries.c.event_id == events.c.id)
            .where(mine, deliveries.c.state == WAITING)
            .order_by(deliveries.c.seq)
            .limit(1)
        )
        with self._store.transaction() as connection:
            by_state = {row.state: row.number for row in connection.execute(counts)}
            first_seq, oldest_us = connection.execute(first).one_or_none() or (None, None)
            return OutboxStatus(by_state.get(WAITING, 0), by_state.get(SET_ASIDE, 0), first_seq, oldest_us)
