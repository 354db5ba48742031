"""From the thread that reads to the event loop: one frame at a time."""

from __future__ import annotations

import asyncio
import threading

from loddis_server.sources.status import SourceFrame

__all__ = ["Handover"]


class Handover:
    """Holds the frame that comes next.

    Args:
        loop: On which frames are taken.
        newest_wins: Whether a new frame takes the place of one that was not taken yet; else it waits.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, newest_wins: bool) -> None:
        self._loop = loop
        self._newest_wins = newest_wins
        self._changed = threading.Condition()
        self._frame: SourceFrame | None = None
        self._is_closed = False
        self._arrived = asyncio.Event()

    def put(self, frame: SourceFrame) -> int:
        """Give a frame, from another thread.

        Returns:
            How many frames were given up for it, or it itself because nobody takes any more.
        """
        with self._changed:
            if not self._newest_wins:
                self._changed.wait_for(lambda: self._frame is None or self._is_closed)
            if self._is_closed:
                return 1
            given_up = int(self._frame is not None)
            self._frame = frame
        self._wake()
        return given_up

    async def take(self) -> SourceFrame | None:
        """Wait for the next frame; None once all is over and the last frame was taken."""
        while True:
            self._arrived.clear()
            with self._changed:
                frame, self._frame = self._frame, None
                self._changed.notify()
                if frame is not None or self._is_closed:
                    return frame
            await self._arrived.wait()

    def close(self) -> None:
        """Say that no frame will come; from any thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the loop has ended, and nobody waits on it any more
            with self._changed:
                self._is_closed = True
