"""Numbers for the frames of a source that are never wrong: they count frame periods, not arrivals."""

from __future__ import annotations

import statistics
from collections import deque

__all__ = ["FrameIndexer"]

RECENT_INTERVALS = 15
GAP = 1.5  # frame periods: from here on a frame is missing
MAX_GAP_S = 24 * 3600.0  # times that jump further are no times


class FrameIndexer:
    """Gives each frame of a source an index that grows, also over reconnections.

    A frame that comes two periods after the one before is two further on: the one between was lost. The period is the
    median of the last ones, so a camera that changes its rate is followed. After a reconnection the index moves on by
    the periods that went by on the clock, at least by two: whether the first frame is the very next one nobody can
    know, and taking it for that would be the error.

    Args:
        from_times: Whether lost frames show in the presentation times; without, frames of a connection are counted, as
            those of a file that are all read.
    """

    def __init__(self, *, from_times: bool) -> None:
        self._from_times = from_times
        self._index = -1
        self._intervals_s: deque[float] = deque(maxlen=RECENT_INTERVALS)
        self._announced_s: float | None = None
        self._pts_s: float | None = None
        self._captured_at: float | None = None
        self._is_fresh = False

    @property
    def period_s(self) -> float | None:
        """Time from frame to frame, seconds; None while it is not known."""
        return statistics.median(self._intervals_s) if self._intervals_s else self._announced_s

    def reconnected(self, frame_rate_hz: float | None) -> None:
        """Note that the next frame comes over a new connection.

        Args:
            frame_rate_hz: What that says about its rate, if it does.
        """
        self._is_fresh = self._index >= 0
        self._pts_s = None
        self._announced_s = None if frame_rate_hz is None else 1.0 / frame_rate_hz

    def next(self, *, pts_s: float | None, captured_at: float) -> int:
        """Give the index of a frame.

        Args:
            pts_s: Presentation time, seconds, None if there is none.
            captured_at: Time of arrival, seconds since 1970.
        """
        if self._is_fresh and self._captured_at is not None:
            step = max(2, self._periods(captured_at - self._captured_at))
        else:
            step = self._step(pts_s)
        self._is_fresh = False
        self._pts_s, self._captured_at = pts_s, captured_at
        self._index += step
        return self._index

    def _step(self, pts_s: float | None) -> int:
        if not self._from_times or pts_s is None or self._pts_s is None:
            return 1
        interval_s = pts_s - self._pts_s
        if not 0 < interval_s < MAX_GAP_S:
            return 1
        # Not by the announced rate: it may be that of fields, or a guess.
        is_gap = bool(self._intervals_s) and interval_s > GAP * statistics.median(self._intervals_s)
        step = self._periods(interval_s) if is_gap else 1
        self._intervals_s.append(interval_s)
        return step

    def _periods(self, interval_s: float) -> int:
        return 1 if self.period_s is None else round(interval_s / self.period_s)
