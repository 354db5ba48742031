"""What is usual in a stream: a quantile of its newest measurements."""

from __future__ import annotations

from collections import deque

import numpy as np

__all__ = ["Usual"]


class Usual:
    """A sliding quantile, worked out anew every few values.

    Args:
        count: Values that it is of.
        enough: Values from which on there is one.
        quantile: 0.5 is the median.
        every: Values from one working out to the next.
    """

    def __init__(self, count: int, *, enough: int, quantile: float = 0.5, every: int = 1) -> None:
        self._values: deque[float] = deque(maxlen=count)
        self._enough = enough
        self._quantile = quantile
        self._every = every
        self._fresh = 0
        self.value: float | None = None
        """None while there are too few values."""

    def learn(self, value: float) -> None:
        """Take a value."""
        self._values.append(value)
        self._fresh += 1
        if len(self._values) >= self._enough and (self.value is None or self._fresh >= self._every):
            ordered = np.sort(self._values)
            self.value = float(ordered[round(self._quantile * (len(ordered) - 1))])
            self._fresh = 0

    def forget(self) -> None:
        """Start afresh."""
        self._values.clear()
        self._fresh = 0
        self.value = None
