"""The tables, as this release knows them. `migrations/` brings older databases here; a test holds the two together.

Moments are microseconds since 1970 in 64-bit integers: exact, and the same in SQLite and PostgreSQL.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text

__all__ = ["SET_ASIDE", "WAITING", "deliveries", "events", "metadata", "thumbnails"]

WAITING = "waiting"
SET_ASIDE = "set_aside"

# SQLite counts up only where the type is INTEGER; its integers have 64 bits all the same.
BIG_KEY = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

events = Table(
    "events",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("stream_id", String(128), nullable=False),
    Column("occurred_at_us", BigInteger, nullable=False),
    Column("stored_at_us", BigInteger, nullable=False),
    Column("frame_index", BigInteger),
    Column("score", Float),
    Column("payload", Text, nullable=False),
    Column("size_bytes", Integer, nullable=False),  # of payload and thumbnail
    # Each way of asking has an index in the order of the answer, so that a page costs the same at any depth.
    Index("ix_events_occurred", "occurred_at_us", "id"),
    Index("ix_events_stream", "stream_id", "occurred_at_us", "id"),
    Index("ix_events_kind", "kind", "occurred_at_us", "id"),
    # Retention looks at nothing else.
    Index("ix_events_stored", "stored_at_us", "id", "size_bytes"),
)

thumbnails = Table(
    "event_thumbnails",
    metadata,
    Column("event_id", ForeignKey("events.id", ondelete="CASCADE"), primary_key=True),
    Column("png", LargeBinary, nullable=False),
)

# The outbox: a row for each receiver that has yet to get an event, in the order in which they were stored.
deliveries = Table(
    "event_deliveries",
    metadata,
    Column("seq", BIG_KEY, primary_key=True, autoincrement=True),
    Column("event_id", ForeignKey("events.id", ondelete="CASCADE"), nullable=False),
    Column("receiver", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("refusals", Integer, nullable=False),
    Column("reason", Text),
    Index("ix_event_deliveries_queue", "receiver", "state", "seq"),
    Index("ix_event_deliveries_event", "event_id", "state"),
    sqlite_autoincrement=True,
)
