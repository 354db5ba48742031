"""The outbox: what each receiver has yet to get. A row goes when the receiver has confirmed, and not before."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from loddis_server.events.event import Event
from loddis_server.events.queries import event_columns, event_of
from loddis_server.events.store import EventStore
from loddis_server.events.tables import SET_ASIDE, WAITING, deliveries, events, thumbnails

__all__ = ["Outbox", "OutboxStatus", "Outgoing"]


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
        oldest_us: When the oldest that waits was stored, microseconds since 1970; None if none waits.
    """

    waiting: int
    set_aside: int
    oldest_us: int | None


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

    def status(self, receiver: str) -> OutboxStatus:
        """Count what a receiver has yet to get."""
        mine = deliveries.c.receiver == receiver
        counts = select(deliveries.c.state, func.count().label("number")).where(mine).group_by(deliveries.c.state)
        oldest = (
            select(events.c.stored_at_us)
            .join_from(deliveries, events, deliveries.c.event_id == events.c.id)
            .where(mine, deliveries.c.state == WAITING)
            .order_by(deliveries.c.seq)
            .limit(1)
        )
        with self._store.transaction() as connection:
            by_state = {row.state: row.number for row in connection.execute(counts)}
            return OutboxStatus(by_state.get(WAITING, 0), by_state.get(SET_ASIDE, 0), connection.scalar(oldest))
