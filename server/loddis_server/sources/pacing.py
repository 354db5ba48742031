"""Playing a file at its own pace."""

from __future__ import annotations

import time

__all__ = ["MIN_RATE_HZ", "Pacer", "longest_wait_s"]

MIN_RATE_HZ = 0.001
MIN_LONGEST_WAIT_S = 2.0
LONGEST_WAIT_PERIODS = 2.0


def longest_wait_s(frame_rate_hz: float | None) -> float:
    """Give how long a file may wait for its next frame, seconds; a longer hole in its times is skipped.

    Args:
        frame_rate_hz: Of the file, frames per second; None if it does not tell.
    """
    if frame_rate_hz is None:
        return MIN_LONGEST_WAIT_S
    return max(MIN_LONGEST_WAIT_S, LONGEST_WAIT_PERIODS / max(frame_rate_hz, MIN_RATE_HZ))


class Pacer:
    """Holds frames back until it is their time.

    Args:
        frame_rate_hz: Of the file, frames per second; None if it does not tell.
    """

    def __init__(self, frame_rate_hz: float | None) -> None:
        self._longest_wait_s = longest_wait_s(frame_rate_hz)
        self._offset_s: float | None = None

    def wait(self, pts_s: float | None) -> None:
        """Sleep until a frame is due.

        Args:
            pts_s: Its presentation time, seconds; without one it is due at once.
        """
        if pts_s is None:
            return
        now = time.monotonic()
        if self._offset_s is None or abs(self._offset_s + pts_s - now) > self._longest_wait_s:
            self._offset_s = now - pts_s  # the first frame, a jump, or so late that it is not made up for
            return
        time.sleep(max(0.0, self._offset_s + pts_s - now))
