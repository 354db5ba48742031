"""Clutter that would have been confirmed, and at which thresholds, with exponential forgetting.

Legend: E edges of the histogram, rising.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["BIN_LOGITS", "ClutterMemory", "logit", "score_of"]

BIN_LOGITS: Final = 0.05
HIGHEST_LOGIT: Final = 12.0  # of a score of 1 - 6e-6; what lies above counts as that
HIGHEST_SCORE: Final = 1 / (1 + math.exp(-HIGHEST_LOGIT))


class ClutterMemory:
    """A histogram of the scores, as logits, at which clutter was confirmed or would have been.

    An event counts exp(-age / memory); so does each second that was looked at. A weighted count says as much as a plain
    one would of an *effective* time: for a weight w over time it is (∫w)² / ∫w², up to twice the memory.

    Args:
        score_floor: Lowest score that is remembered.
        memory_s: Age at which events count 1/e, seconds.
    """

    def __init__(self, *, score_floor: float, memory_s: float) -> None:
        self.edges: NDArray[np.float64] = np.arange(logit(score_floor), HIGHEST_LOGIT + BIN_LOGITS, BIN_LOGITS)
        """``(E,)`` logits; a bin reaches from its edge to the next one."""
        self.memory_s = memory_s
        self._weights = np.zeros_like(self.edges)
        self._sums = np.zeros_like(self.edges)  # of the events' logits: means are not rounded to the bins
        self._seconds = 0.0
        self._squared_seconds = 0.0

    @property
    def effective_s(self) -> float:
        """The time that what is remembered is worth, seconds."""
        return self._seconds**2 / self._squared_seconds if self._squared_seconds else 0.0

    def pass_time(self, elapsed_s: float) -> None:
        """Let time pass in which was looked, seconds."""
        kept = math.exp(-elapsed_s / self.memory_s)
        self._weights *= kept
        self._sums *= kept
        self._seconds = self._seconds * kept + self.memory_s * (1 - kept)
        self._squared_seconds = self._squared_seconds * kept**2 + self.memory_s / 2 * (1 - kept**2)

    def add(self, score: float) -> None:
        """Remember clutter that thresholds up to a score would have confirmed; below the floor it is left out."""
        value = logit(score)
        place = int(np.searchsorted(self.edges, value, side="right")) - 1
        if place >= 0:
            self._weights[place] += 1
            self._sums[place] += value

    def events_above(self) -> NDArray[np.float64]:
        """Give how many events of the effective time lie above each edge, ``(E,)``."""
        scale = self.effective_s / self._seconds if self._seconds else 0.0
        return np.asarray(scale * self._weights[::-1].cumsum()[::-1], dtype=np.float64)

    def mean_excess(self, place: int) -> float:
        """Give by how much events above an edge exceed it on average, logits; 0 where there are none."""
        weight = float(self._weights[place:].sum())
        return float(self._sums[place:].sum()) / weight - float(self.edges[place]) if weight > 0 else 0.0

    def restart_from(self, other: ClutterMemory) -> None:
        """Forget everything but what another memory with the same edges holds; go on forgetting at the own pace."""
        self._weights[:] = other._weights
        self._sums[:] = other._sums
        self._seconds, self._squared_seconds = other._seconds, other._squared_seconds


def logit(score: float) -> float:
    """Give ln(s / (1 - s)), limited to what the histogram covers."""
    bounded = min(max(score, 1 - HIGHEST_SCORE), HIGHEST_SCORE)
    return math.log(bounded / (1 - bounded))


def score_of(value: float) -> float:
    """Give the score of a logit."""
    return 1 / (1 + math.exp(-value))
