"""How long to wait before the next try: longer each time, and not all at once."""

from __future__ import annotations

import random

__all__ = ["Backoff"]

JITTER = (0.5, 1.0)  # of the wait: cameras behind one switch do not come back in step


class Backoff:
    """Waits that double up to a limit.

    Args:
        first_s: First wait, seconds.
        max_s: Longest.
        rng: Where the jitter comes from.
    """

    def __init__(self, first_s: float, max_s: float, *, rng: random.Random | None = None) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._rng = rng or random.Random()
        self._tries = 0

    def next(self) -> float:
        """Give the next wait, seconds."""
        wait_s = min(self._max_s, self._first_s * 2.0 ** min(self._tries, 30))
        self._tries += 1
        return wait_s * self._rng.uniform(*JITTER)

    def reset(self) -> None:
        """Begin with the first wait again: all was well for a while."""
        self._tries = 0
