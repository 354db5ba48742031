"""Live detection probability: how many of the targets put in were found, by SNR.

References:
    Wilson 1927, Probable inference, the law of succession, and statistical inference.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["CanaryStatus", "LevelStatus", "Tally", "wilson_interval"]


@dataclass(frozen=True, slots=True)
class LevelStatus:
    """What is known of targets of one SNR.

    Attributes:
        snr: Of the targets, as `loddis_runtime.photometry` defines it.
        trials: Targets in the sliding window.
        hits: Of them that were found.
        pd: Detection probability, hits / trials; None before the first.
        pd_low: Lower end of its Wilson interval; 0 before the first.
        pd_high: Upper end; 1 before the first.
    """

    snr: float
    trials: int
    hits: int
    pd: float | None
    pd_low: float
    pd_high: float


@dataclass(frozen=True, slots=True)
class CanaryStatus:
    """Live Pd of a stream.

    Attributes:
        levels: By rising SNR.
        confidence: That the intervals hold, of 1.
        skipped: Turns since the start that passed without a target, as the frame had no place for one.
    """

    levels: tuple[LevelStatus, ...]
    confidence: float
    skipped: int


class Tally:
    """Counts hits and misses of each SNR, the newest only.

    Args:
        snr_levels: Of the targets.
        window: Newest targets of each that count.
        confidence: Of the intervals, of 1.
    """

    def __init__(self, snr_levels: Sequence[float], *, window: int, confidence: float) -> None:
        self._outcomes: dict[float, deque[bool]] = {snr: deque(maxlen=window) for snr in sorted(snr_levels)}
        self._confidence = confidence

    def add(self, snr: float, *, hit: bool) -> None:
        """Count a target."""
        self._outcomes[snr].append(hit)

    def status(self, *, skipped: int) -> CanaryStatus:
        """Sum up."""
        return CanaryStatus(
            tuple(self._level(snr, len(outcomes), sum(outcomes)) for snr, outcomes in self._outcomes.items()),
            self._confidence,
            skipped,
        )

    def _level(self, snr: float, trials: int, hits: int) -> LevelStatus:
        low, high = wilson_interval(hits, trials, confidence=self._confidence)
        return LevelStatus(snr, trials, hits, hits / trials if trials else None, low, high)


def wilson_interval(hits: int, trials: int, *, confidence: float) -> tuple[float, float]:
    """Give the Wilson score interval of a probability; (0, 1) without trials.

    Args:
        hits: From 0 to `trials`.
        trials: From 0.
        confidence: That it holds the probability, between 0 and 1.
    """
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = hits / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    # At the ends the interval reaches 0 or 1 exactly; rounding must not take it past.
    return (0.0 if hits == 0 else middle - half), (1.0 if hits == trials else middle + half)
