"""What `/v1/deliveries` answers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from loddis_server.events import EventLogStatus, ReceiverKind, ReceiverStatus, StoreState

__all__ = ["DeliveryOverview", "EventStoreState", "ReceiverState", "RetryAnswer"]


class EventStoreState(BaseModel):
    """How the storing of events goes."""

    state: StoreState = Field(
        description="`ok`; `opening`: not connected yet; `locked`, `full`, `unreachable`, `corrupt`: it does not work, "
        "and is tried again; `incompatible`: it is of another release. The server's log says more."
    )
    kept: int | None = Field(
        ge=0, description="Events in the database; null where it does not answer.", examples=[18234]
    )
    waiting: int = Field(ge=0, description="Events in memory that are not stored yet.", examples=[0])
    dropped: int = Field(
        ge=0, description="Events lost since the server's start: given up before they were stored.", examples=[0]
    )


class ReceiverState(BaseModel):
    """How the delivery to a receiver goes."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "control-room",
                    "kind": "webhook",
                    "state": "failing",
                    "cause": "answered 502 Bad Gateway",
                    "failing_since": "2025-11-02T04:17:09.250000Z",
                    "waiting": 12,
                    "set_aside": 3,
                    "lag_s": 94.2,
                    "last_delivered_at": "2025-11-02T04:17:02.113000Z",
                }
            ]
        }
    )

    name: str = Field(description="In the server's settings.", examples=["control-room"])
    kind: ReceiverKind = Field(description="How it is told.")
    state: Literal["idle", "delivering", "failing", "standby"] = Field(
        description="`idle`: it has all events but those set aside; `delivering`: events are on their way; `failing`: "
        "the last try failed; `standby`: another server with the same database delivers."
    )
    cause: str | None = Field(
        description="Why the last try failed; null if it did not.", examples=["answered 502 Bad Gateway"]
    )
    failing_since: datetime | None = Field(
        description="First of the tries that have failed since it last worked, UTC; null if none has."
    )
    waiting: int = Field(ge=0, description="Events that it has yet to get.", examples=[12])
    set_aside: int = Field(
        ge=0,
        description="Events that it refused too often; `POST /v1/deliveries/{receiver}/retry` delivers them again.",
        examples=[3],
    )
    lag_s: float = Field(ge=0, description="Age of the oldest event that waits, seconds; 0 if none does.")
    last_delivered_at: datetime | None = Field(
        description="When it last confirmed an event to this server, UTC; null if it has not since the server's start."
    )

    @classmethod
    def of(cls, status: ReceiverStatus) -> ReceiverState:
        """Describe a receiver."""
        state: Literal["idle", "delivering", "failing", "standby"]
        state = ("delivering" if status.waiting else "idle") if status.state == "ok" else status.state
        return cls(
            name=status.name,
            kind=status.kind,
            state=state,
            cause=status.reason,
            failing_since=status.failing_since,
            waiting=status.waiting,
            set_aside=status.set_aside,
            lag_s=round(status.lag_s, 3),
            last_delivered_at=status.last_delivered_at,
        )


class DeliveryOverview(BaseModel):
    """How it goes with the event database and with each receiver."""

    store: EventStoreState = Field(description="With the database. Where it does not answer, counts are old ones.")
    receivers: list[ReceiverState] = Field(description="With each receiver of the server's settings.")

    @classmethod
    def of(cls, status: EventLogStatus) -> DeliveryOverview:
        """Describe an event log."""
        store = status.store
        return cls(
            store=EventStoreState(state=store.state, kept=status.kept, waiting=store.waiting, dropped=store.dropped),
            receivers=[ReceiverState.of(receiver) for receiver in status.receivers],
        )


class RetryAnswer(BaseModel):
    """What a retry brought about."""

    put_back: int = Field(ge=0, description="Events that had been set aside and are delivered again.", examples=[3])
