"""Events, their thumbnails, and the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "events",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("stream_id", sa.String(128), nullable=False),
        sa.Column("occurred_at_us", sa.BigInteger, nullable=False),
        sa.Column("stored_at_us", sa.BigInteger, nullable=False),
        sa.Column("frame_index", sa.BigInteger),
        sa.Column("score", sa.Float),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_occurred", "events", ["occurred_at_us", "id"])
    op.create_index("ix_events_stream", "events", ["stream_id", "occurred_at_us", "id"])
    op.create_index("ix_events_kind", "events", ["kind", "occurred_at_us", "id"])
    op.create_index("ix_events_stored", "events", ["stored_at_us", "id", "size_bytes"])
    op.create_table(
        "event_thumbnails",
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.Column("png", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_event_thumbnails"),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], ondelete="CASCADE", name="fk_event_thumbnails_event_id"),
    )
    op.create_table(
        "event_deliveries",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=True, nullable=False),
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.Column("receiver", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("seq", name="pk_event_deliveries"),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], ondelete="CASCADE", name="fk_event_deliveries_event_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_event_deliveries_queue", "event_deliveries", ["receiver", "state", "seq"])
    op.create_index("ix_event_deliveries_event", "event_deliveries", ["event_id", "state"])
