"""Playing a file at its own pace."""

from __future__ import annotations

import time

__all__ = ["Pacer"]

MAX_WAIT_S = 2.0  # between two frames; a longer hole in the times of a file is skipped


class Pacer:
    """Holds frames back until it is their time."""

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def wait(self, pts_s: float | None) -> None:
        """Sleep until a frame is due.

        Args:
            pts_s: Its presentation time, seconds; without one it is due at once.
        """
        if pts_s is None:
            return
        now = time.monotonic()
        if self._offset_s is None or not 0 <= self._offset_s + pts_s - now + MAX_WAIT_S <= 2 * MAX_WAIT_S:
            self._offset_s = now - pts_s  # the first frame, a jump, or so late that it is not made up for
            return
        time.sleep(max(0.0, self._offset_s + pts_s - now))
