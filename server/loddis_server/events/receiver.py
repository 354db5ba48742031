"""What a receiver of events is to whoever delivers to it: something to connect to, that takes one event at a time."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from loddis_server.events.event import Event

__all__ = ["Connection", "DeliveryRefusedError", "Receiver", "ReceiverKind", "RetryLaterError"]

ReceiverKind = Literal["webhook", "mqtt"]


class RetryLaterError(Exception):
    """The receiver cannot be reached, or does not take anything now.

    Args:
        reason: For everybody: without addresses, and without what the receiver says.

    Attributes:
        detail: For the server's log: all that is known; empty if the reason says it.
        wait_s: How long it asks to be left alone, seconds; None if it does not say.
    """

    def __init__(self, reason: str, *, detail: str = "", wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.detail = detail
        self.wait_s = wait_s


class DeliveryRefusedError(Exception):
    """The receiver works, but does not take this event.

    Args:
        reason: For everybody: without addresses, and without what the receiver says.

    Attributes:
        detail: For the server's log: all that is known; empty if the reason says it.
    """

    def __init__(self, reason: str, *, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


class Connection(Protocol):
    """A connection to a receiver."""

    async def send(self, event: Event) -> None:
        """Deliver an event; on return the receiver has it.

        Raises:
            RetryLaterError: It may have it or not; try again.
            DeliveryRefusedError: It does not want it.
        """

    async def lost(self) -> None:
        """Wait until the connection is lost; returns then, and never for receivers that keep none."""


class Receiver(Protocol):
    """A receiver, as the operator has set it up.

    Attributes:
        kind: Of the receiver.
        keeps_connection: Whether a connection that stands shows that the receiver works.
        max_refusals: Refusals after which an event is set aside.
    """

    kind: ReceiverKind
    keeps_connection: bool
    max_refusals: int

    def connect(self) -> AbstractAsyncContextManager[Connection]:
        """Connect.

        Raises:
            RetryLaterError: On entry: it cannot be reached.
        """
