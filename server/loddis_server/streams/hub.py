"""Fan-out: what a stream says goes to everybody who listens, and a slow listener loses messages, not the camera time.

Used on the event loop alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import cached_property
from typing import Any, Literal

import orjson

__all__ = ["Hub", "Message", "MessageKind", "Subscription"]

MessageKind = Literal["frame", "source", "end"]


class Message:
    """One thing that a stream says.

    Args:
        kind: `frame`: a frame was detected on; `source`: the state of its source changed; `end`: nothing follows.
        document: What is said, ready for JSON. It is encoded once, however many listen.
    """

    def __init__(self, kind: MessageKind, document: dict[str, Any]) -> None:
        self.kind: MessageKind = kind
        self.document = document

    @cached_property
    def json(self) -> bytes:
        """The document, encoded."""
        return orjson.dumps(self.document)


class Subscription:
    """The messages of a hub from now on, for one listener; ends after the message `end`.

    Attributes:
        lost: Messages that were dropped, oldest first, since this listener was not there to take them.
        ended: Whether `end` was given: nothing follows.
    """

    def __init__(self, hub: Hub, capacity: int) -> None:
        self.lost = 0
        self.ended = False
        self._hub = hub
        self._capacity = capacity
        self._waiting: deque[Message] = deque()
        self._changed = asyncio.Event()

    def offer(self, message: Message) -> None:
        """Put a message in line; if there is no room, the oldest goes."""
        if len(self._waiting) >= self._capacity:
            self._waiting.popleft()
            self.lost += 1
            self._hub.lost += 1
        self._waiting.append(message)
        self._changed.set()

    async def next(self, *, timeout_s: float | None = None) -> Message | None:
        """Wait for the next message and give it; None if none came in time."""
        while not self._waiting:
            self._changed.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait()
            except TimeoutError:
                return None
        message = self._waiting.popleft()
        self.ended = message.kind == "end"
        return message

    def close(self) -> None:
        """Stop listening."""
        self._hub.forget(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Hub:
    """Where the listeners of one stream are.

    Args:
        capacity: Messages that wait for a listener at most.

    Attributes:
        lost: Messages that any listener lost.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._listeners: set[Subscription] = set()
        self._last_words: Message | None = None
        self.lost = 0

    def __len__(self) -> int:
        return len(self._listeners)

    def subscribe(self) -> Subscription:
        """Listen from now on. Close what is returned."""
        listener = Subscription(self, self._capacity)
        if self._last_words is not None:
            listener.offer(self._last_words)
        else:
            self._listeners.add(listener)
        return listener

    def publish(self, message: Message) -> None:
        """Tell all listeners; after `end`, who comes later is told that alone."""
        for listener in self._listeners:
            listener.offer(message)
        if message.kind == "end":
            self._last_words = message
            self._listeners.clear()

    def forget(self, listener: Subscription) -> None:
        """Let a listener go."""
        self._listeners.discard(listener)
