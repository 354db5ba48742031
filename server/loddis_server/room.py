"""Room for decoded frames: a small file may hold a large one, and places count frames, whatever their size."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Room"]

T = TypeVar("T")


class Room(Generic[T]):
    """Bounds the values of all frames that are being decoded, or decoded and not yet answered.

    Who finds no room waits in line, without a thread. A frame that fits does not wait for a larger one before it. One
    alone fits, however large it is. Used on the event loop, but for `take`.

    Args:
        capacity: Values at once.
        begin: Called with who has waited, once the room is theirs.
    """

    def __init__(self, capacity: int, *, begin: Callable[[T, int], None]) -> None:
        self._capacity = capacity
        self._begin = begin
        self._taken = 0
        self._lock = threading.Lock()
        self._line: dict[T, int] = {}  # values of those who wait, oldest first

    def take(self, values: int) -> bool:
        """Take room, from any thread, if there is some."""
        with self._lock:
            fits = not self._taken or self._taken + values <= self._capacity
            self._taken += values if fits else 0
            return fits

    def give_back(self, values: int) -> None:
        """Give room back; whom it is enough for begins."""
        with self._lock:
            self._taken -= values
        self._serve()

    def wait(self, who: T, values: int) -> None:
        """Wait in line; begins at once if there is room by now."""
        self._line[who] = values
        self._serve()

    def leave(self, who: T) -> bool:
        """Leave the line; tell whether they stood there."""
        return self._line.pop(who, None) is not None

    def _serve(self) -> None:
        for who, values in list(self._line.items()):
            if self.take(values):
                del self._line[who]
                self._begin(who, values)
