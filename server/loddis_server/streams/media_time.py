"""The times that a medium gives its frames, as far as a stream can use them."""

from __future__ import annotations

__all__ = ["MediaTime"]


class MediaTime:
    """Presentation times of one medium in the order of its frames. Damaged files have some that do not go forward."""

    def __init__(self) -> None:
        self._last_s: float | None = None

    def take(self, pts_s: float | None) -> float | None:
        """Give the time of the next frame, seconds; None where it has none, or none after those before it."""
        if pts_s is None or (self._last_s is not None and pts_s <= self._last_s):
            return None
        self._last_s = pts_s
        return pts_s
