"""Asking for events: what to look for, in which order, and where to go on."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
from sqlalchemy import Row, Select, and_, select, tuple_

from loddis_server.events.event import ID_PATTERN, Event, EventKind, from_epoch_us, to_epoch_us
from loddis_server.events.tables import events, thumbnails

__all__ = ["Cursor", "EventFilter", "Order", "event_columns", "event_of", "select_events"]

Order = Literal["newest", "oldest"]
INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What to look for; None and empty ask for nothing.

    Attributes:
        stream_id: Stream that it happened on.
        kinds: Of events.
        since: Captured then or later.
        until: Captured before.
        min_score: Score from here on; events without a score are left out.
    """

    stream_id: str | None = None
    kinds: frozenset[EventKind] = frozenset()
    since: datetime | None = None
    until: datetime | None = None
    min_score: float | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place of the last event of a page, by what pages are sorted by: events that are stored later do not shift it.

    Attributes:
        order: Of the pages.
        occurred_at_us: Of that event, microseconds since 1970.
        event_id: Of that event.
    """

    order: Order
    occurred_at_us: int
    event_id: str

    @classmethod
    def after(cls, event: Event, order: Order) -> Cursor:
        """Give the place behind an event."""
        return cls(order, to_epoch_us(event.occurred_at), event.id)

    def encode(self) -> str:
        """Give it as text for a URL."""
        place = orjson.dumps([self.order, self.occurred_at_us, self.event_id])
        return base64.urlsafe_b64encode(place).rstrip(b"=").decode()

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Read what `encode` gave.

        Raises:
            ValueError: It is not that.
        """
        try:
            padded = text.encode("ascii") + b"=" * (-len(text) % 4)
            place = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError):
            place = None
        match place:
            case ["newest" | "oldest" as order, int(occurred_at_us), str(event_id)]:
                cursor = cls(order, occurred_at_us, event_id)
                is_possible = type(occurred_at_us) is int and occurred_at_us in INT64
                # Only what this server writes comes back the same.
                if is_possible and re.fullmatch(ID_PATTERN, event_id) and cursor.encode() == text:
                    return cursor
        raise ValueError("expected a `next_cursor` of this server, as it came")


event_columns = (
    events.c.id,
    events.c.kind,
    events.c.stream_id,
    events.c.occurred_at_us,
    events.c.frame_index,
    events.c.score,
    events.c.payload,
    thumbnails.c.event_id.is_not(None).label("has_thumbnail"),
)


def select_events(wanted: EventFilter, *, order: Order, limit: int, after: Cursor | None) -> Select[Any]:
    """Give the statement for a page.

    Args:
        wanted: What to look for.
        order: By capture time, then by id.
        limit: Most events of the page.
        after: Where the page before ended, in the same order.
    """
    place = tuple_(events.c.occurred_at_us, events.c.id)
    conditions = []
    if wanted.stream_id is not None:
        conditions.append(events.c.stream_id == wanted.stream_id)
    if wanted.kinds:
        conditions.append(events.c.kind.in_(sorted(wanted.kinds)))
    if wanted.since is not None:
        conditions.append(events.c.occurred_at_us >= to_epoch_us(wanted.since))
    if wanted.until is not None:
        conditions.append(events.c.occurred_at_us < to_epoch_us(wanted.until))
    if wanted.min_score is not None:
        conditions.append(events.c.score >= wanted.min_score)
    if after is not None:
        last = (after.occurred_at_us, after.event_id)
        conditions.append(place < last if order == "newest" else place > last)
    columns = (events.c.occurred_at_us, events.c.id)
    return (
        select(*event_columns)
        .outerjoin_from(events, thumbnails, thumbnails.c.event_id == events.c.id)
        .where(and_(True, *conditions))
        .order_by(*(column.desc() if order == "newest" else column.asc() for column in columns))
        .limit(limit)
    )


def event_of(row: Row[Any]) -> Event:
    """Give the event in a row of `event_columns`; what is in the database was checked when it came in."""
    return Event.model_construct(
        id=row.id,
        kind=row.kind,
        stream_id=row.stream_id,
        occurred_at=from_epoch_us(row.occurred_at_us),
        frame_index=row.frame_index,
        score=row.score,
        payload=orjson.loads(row.payload),
        has_thumbnail=bool(row.has_thumbnail),
    )
