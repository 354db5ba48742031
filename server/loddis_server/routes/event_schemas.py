"""What `/v1/events` takes and answers."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from loddis_server.events import Cursor, DeliveryState, Event, EventFilter, EventKind, Order

__all__ = ["EventDelivery", "EventDetail", "EventPage", "EventQuery"]

PAGE_EVENTS = 100
LARGEST_PAGE_EVENTS = 1000
NUMBER = re.compile(r"\s*[-+]?[0-9._]+(?:[eE][-+]?[0-9]+)?\s*")


def _is_cursor(text: str | None) -> str | None:
    if text is not None:
        Cursor.decode(text)
    return text


def _is_written_out(value: Any) -> Any:
    if isinstance(value, str) and NUMBER.fullmatch(value):
        raise ValueError("a time must be written as 2025-11-02T04:00:00Z")
    return value


# A number would be taken for seconds, or for milliseconds, since 1970, as its size suggests.
Time = Annotated[AwareDatetime, BeforeValidator(_is_written_out)]


class EventQuery(BaseModel):
    """Which events. Parameters that are not listed are refused, so that a typing error does not go unseen."""

    model_config = ConfigDict(extra="forbid")

    stream_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Events of this stream.",
        examples=["north-mast"],
    )
    kind: list[EventKind] = Field(
        default=[], max_length=16, description="Events of this kind; may be there several times. All kinds if none."
    )
    since: Time | None = Field(
        default=None,
        description="Captured then or later; with an offset from UTC, such as `Z`.",
        examples=["2025-11-02T04:00:00Z"],
    )
    until: Time | None = Field(
        default=None, description="Captured before; as `since`.", examples=["2025-11-02T05:00:00Z"]
    )
    min_score: float | None = Field(
        default=None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Score from here on; events without a score are left out.",
    )
    order: Order = Field(default="newest", description="By capture time: the newest or the oldest first.")
    limit: int = Field(default=PAGE_EVENTS, ge=1, le=LARGEST_PAGE_EVENTS, description="Most events of one answer.")
    cursor: Annotated[str | None, AfterValidator(_is_cursor)] = Field(
        default=None,
        max_length=200,
        description="`next_cursor` of the answer before, with all other parameters as they were.",
    )

    @property
    def wanted(self) -> EventFilter:
        """What to look for."""
        return EventFilter(
            stream_id=self.stream_id,
            kinds=frozenset(self.kind),
            since=self.since,
            until=self.until,
            min_score=self.min_score,
        )


class EventPage(BaseModel):
    """Some events, in the order that was asked for."""

    events: list[Event] = Field(description="By capture time.")
    next_cursor: str | None = Field(
        description="Send it as `cursor` for the events after these. With the newest first it is null at the end; with "
        "the oldest first it is null only before the first event, and asking again gives what has come since.",
        examples=["WyJuZXdlc3QiLDE3NjIwNTcwMjkyNTAwMDAsIjAxOWEyZjVlLTdjMWItNzAwMy04YTU3LTBmM2MxYzliMmQ0MSJd"],
    )


class EventDelivery(BaseModel):
    """A delivery that is not done."""

    receiver: str = Field(description="Name of the receiver in the server's settings.", examples=["control-room"])
    state: Literal["waiting", "set_aside"] = Field(
        description="`waiting`: tried until the receiver takes it; `set_aside`: refused too often, not tried again."
    )
    refusals: int = Field(ge=0, description="How often the receiver has refused this event.", examples=[0])
    reason: str | None = Field(description="Of the last refusal.", examples=["answered 422 Unprocessable Entity"])

    @classmethod
    def of(cls, state: DeliveryState) -> EventDelivery:
        """Describe a delivery."""
        return cls(receiver=state.receiver, state=state.state, refusals=state.refusals, reason=state.reason)


class EventDetail(BaseModel):
    """An event, and whom it has yet to reach."""

    event: Event = Field(description="The event.")
    deliveries: list[EventDelivery] = Field(
        description="One entry for each receiver that has yet to get the event, or has refused it for good."
    )
