"""How a figure is spread over targets or sequences: quantiles, and shares between edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.metrics.groups import interval_label

__all__ = ["Distribution", "distribution"]

QUANTILES = {"min": 0.0, "p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}


@dataclass(frozen=True, slots=True)
class Distribution:
    """A figure of many things.

    Attributes:
        count: How many.
        quantiles: ``min``, ``p5``, ``p25``, ``median``, ``p75``, ``p95``, ``max``; NaN of nothing.
        shares: Of the whole, in [0, 1], by interval, such as ``5–10``; empty where no edges were given.
    """

    count: int
    quantiles: dict[str, float]
    shares: dict[str, float]

    @property
    def median(self) -> float:
        """The middle; NaN of nothing."""
        return self.quantiles["median"]


def distribution(
    values: Sequence[float] | NDArray[np.floating[Any] | np.integer[Any]], *, edges: Sequence[float] = ()
) -> Distribution:
    """Summarise values; each interval reaches from an edge, inclusive, to the next.

    Args:
        values: Any number; those that are not finite are left out.
        edges: Rising.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    count = len(known)
    quantiles = {name: float(np.quantile(known, at)) if count else math.nan for name, at in QUANTILES.items()}
    shares = {
        interval_label(low, high): float(((known >= low) & (known < high)).mean()) if count else math.nan
        for low, high in pairwise(edges)
    }
    return Distribution(count, quantiles, shares)
