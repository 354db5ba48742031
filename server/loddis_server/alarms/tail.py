"""The rate of false alarms at every threshold: counted where clutter is plenty, an exponential tail above.

Legend: E edges of the histogram, rising logits.

References:
    Pickands 1975, Statistical Inference Using Extreme Order Statistics: above a high level, excesses of nearly any
    distribution follow a generalised Pareto law. Its shape is taken as 0 here, an exponential: what a shape adds to the
    error of an estimate from tens of events is more than it takes from the error of the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtri  # type: ignore[import-untyped]

from loddis_server.alarms.clutter import ClutterMemory

__all__ = ["TailRates", "poisson_interval"]

TAIL_EVENTS = 25.0  # that the tail is fitted to, at least; with fewer all that there are
PRIOR_SCALE = 1.0  # mean excess before anything was seen, logits: a wide tail
PRIOR_EVENTS = 2.0  # that this counts for
HALF_EVENT = 0.5  # is added to counts: none in an hour does not prove that there never is one
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, eq=False)
class TailRates:
    """What a memory of clutter says of every threshold.

    Attributes:
        edges: ``(E,)`` thresholds, logits.
        per_hour: ``(E,)`` false alarms an hour if the threshold stood there; estimate.
        log_sigma: ``(E,)`` standard error of its natural logarithm.
        tail_place: Where the exponential begins: number of its edge.
    """

    edges: NDArray[np.float64]
    per_hour: NDArray[np.float64]
    log_sigma: NDArray[np.float64]
    tail_place: int

    @classmethod
    def of(cls, memory: ClutterMemory) -> TailRates:
        """Estimate from a memory of some time.

        With n events above an edge in T hours, the rate there is (n + 1/2) / T, and the logarithm's variance
        1 / (n + 1/2). The tail begins at the highest edge that at least 25 events lie above. Beyond, at x, the rate
        falls by exp(-(x - start) / scale); the scale is the mean excess, whose relative error adds
        ((x - start) / scale)² / n to the variance.
        """
        counts = memory.events_above()
        plenty = np.flatnonzero(counts >= TAIL_EVENTS)
        start = int(plenty[-1]) if len(plenty) else 0
        events = float(counts[start])
        scale = (PRIOR_EVENTS * PRIOR_SCALE + events * memory.mean_excess(start)) / (PRIOR_EVENTS + events)
        beyond = np.maximum(memory.edges - memory.edges[start], 0.0) / scale
        counted = counts[np.minimum(np.arange(len(counts)), start)] + HALF_EVENT
        return cls(
            edges=memory.edges,
            per_hour=counted * np.exp(-beyond) / (memory.effective_s / HOUR_S),
            log_sigma=np.sqrt(1 / counted + beyond**2 / (PRIOR_EVENTS + events)),
            tail_place=start,
        )

    def upper_per_hour(self, confidence: float) -> NDArray[np.float64]:
        """Give the rates ``(E,)`` that the true ones are below with a probability, each."""
        return np.asarray(self.per_hour * np.exp(float(ndtri(confidence)) * self.log_sigma), dtype=np.float64)

    def lowest_threshold(self, wanted_per_hour: float, *, confidence: float) -> float:
        """Give the lowest threshold at and above which the upper bound keeps to a rate, logit; infinite if none."""
        kept = self.upper_per_hour(confidence) <= wanted_per_hour
        broken = np.flatnonzero(~kept)
        place = int(broken[-1]) + 1 if len(broken) else 0
        return float(self.edges[place]) if place < len(kept) else np.inf

    def at(self, threshold: float) -> tuple[float, float]:
        """Give rate per hour and standard error of its logarithm at a threshold, logit."""
        logarithm = float(np.interp(threshold, self.edges, np.log(self.per_hour)))
        return float(np.exp(logarithm)), float(np.interp(threshold, self.edges, self.log_sigma))


def poisson_interval(events: float, *, confidence: float) -> tuple[float, float]:
    """Give the central interval for the mean of a Poisson count (Garwood 1936).

    Args:
        events: Counted, at least 0; need not be whole.
        confidence: Of the interval, in (0, 1).
    """
    tail = (1 - confidence) / 2
    low = float(gammaincinv(events, tail)) if events > 0 else 0.0
    return low, float(gammaincinv(events + 1, 1 - tail))
