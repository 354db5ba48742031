"""What the scenes of training domains were like: a record for the manifest, against which a stream is held.

Each domain is a mean and a covariance of measures over its frames, and the distribution of what a clip of that domain
that the statistics have not seen comes to: the *null distribution* of the distance. So a threshold on the distance is a
probability of calling a scene unlike that is none, whatever the measures are distributed like.

Legend: N frames, M measures, S sequences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["DomainStatistics", "SceneStatistics"]

QUANTILES: Final = tuple(i / 20 for i in range(19))  # 0 to 0.9: of the null distribution
TAIL: Final = 1 - QUANTILES[-1]  # beyond them: an exponential
FOLDS: Final = 60
LEAST_SEQUENCES: Final = 10
LEAST_DEVIATION: Final = 1e-3  # of a measure: one that never varies must not make every other value infinitely far
DIGITS: Final = 6

Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rows = NDArray[np.float64]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))


class DomainStatistics(_Record):
    """What frames of one domain are like.

    The *distance* of a clip is the Mahalanobis distance of its mean measures from those of the domain. Its null
    distribution is found by leaving out sequences, a sixtieth of them at a time (or one, where there are fewer), and
    measuring those against the others: neighbours, which were often taken at one place, are left out together.
    """

    name: str = Field(min_length=1, description="Of the domain, as the trainer was given it.")
    frames: int = Field(ge=1, description="Frames that were measured.")
    sequences: int = Field(ge=1, description="Sequences that they are from; each has the same weight.")
    mean: tuple[Finite, ...] = Field(min_length=1, description="Of each measure.")
    covariance: tuple[tuple[Finite, ...], ...] = Field(
        description="Of the measures over frames; the lower triangle, row by row."
    )
    null_quantiles: tuple[NotNegative, ...] = Field(
        min_length=len(QUANTILES),
        max_length=len(QUANTILES),
        description="Distances of sequences left out: their quantiles at 0, 0.05 and so on up to 0.9.",
    )
    null_tail: float = Field(
        gt=0, allow_inf_nan=False, description="Mean excess of those beyond the last quantile, of an exponential tail."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        shape = [len(row) for row in self.covariance]
        if shape != list(range(1, len(self.mean) + 1)):
            raise ValueError(f"covariance must be the lower triangle of {len(self.mean)} measures, got rows of {shape}")
        if list(self.null_quantiles) != sorted(self.null_quantiles):
            raise ValueError("null_quantiles must not fall")
        try:
            np.linalg.cholesky(_full(self.covariance))
        except np.linalg.LinAlgError:
            raise ValueError("covariance must be positive definite") from None
        return self

    @classmethod
    def fit(cls, name: str, measures: Rows, sequences: Sequence[int]) -> DomainStatistics:
        """Describe a domain by measured frames.

        Args:
            name: Of the domain.
            measures: ``(N, M)``.
            sequences: Which sequence each frame is from; sequences that were taken together have numbers side by side.

        Raises:
            ValueError: Fewer than ten sequences: what a new one would be like cannot be said.
        """
        numbers, members = np.unique(np.asarray(sequences), return_inverse=True)
        if len(numbers) < LEAST_SEQUENCES:
            raise ValueError(f"domain '{name}' must have at least {LEAST_SEQUENCES} sequences, got {len(numbers)}")
        distances = np.concatenate(
            [
                _distances_left_out(measures, members, run)
                for run in np.array_split(np.arange(len(numbers)), min(FOLDS, len(numbers)))
            ]
        )
        quantiles = np.quantile(distances, QUANTILES)
        mean, covariance = _moments(measures, members)
        return cls(
            name=name,
            frames=len(measures),
            sequences=len(numbers),
            mean=tuple(_rounded(mean)),
            covariance=tuple(tuple(_rounded(row[: i + 1])) for i, row in enumerate(covariance)),
            null_quantiles=tuple(_rounded(quantiles)),
            null_tail=_rounded([np.mean(distances[distances >= quantiles[-1]] - quantiles[-1])])[0],
        )

    def distance(self, measures: Rows) -> float:
        """Give the Mahalanobis distance of mean measures ``(M,)``."""
        return float(np.linalg.norm(self._whitening @ (measures - np.array(self.mean))))

    def deviations(self, measures: Rows) -> Rows:
        """Give how far each of ``(M,)`` lies from the domain's mean, in standard deviations over its frames."""
        deviations: Rows = (measures - np.array(self.mean)) / np.sqrt(np.diag(_full(self.covariance)))
        return deviations

    def probability(self, distance: float) -> float:
        """Give the probability that a clip of the domain lies at least this far off: the null distribution's tail."""
        last = self.null_quantiles[-1]
        if distance >= last:
            return TAIL * math.exp(-(distance - last) / self.null_tail)
        return 1 - float(np.interp(distance, self.null_quantiles, QUANTILES))

    @cached_property
    def _whitening(self) -> Rows:
        """``(M, M)``, of which the distance is a plain length."""
        whitening: Rows = np.linalg.inv(np.linalg.cholesky(_full(self.covariance)))
        return whitening


class SceneStatistics(_Record):
    """What frames of all training domains are like, measured as `loddis_runtime.scene_measures` does."""

    measures: tuple[str, ...] = Field(min_length=1, description="Names of the measures, in order.")
    domains: tuple[DomainStatistics, ...] = Field(min_length=1, description="Each with its own statistics.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for domain in self.domains:
            if len(domain.mean) != len(self.measures):
                raise ValueError(f"domain '{domain.name}' has {len(domain.mean)} measures, named are {self.measures}")
        return self

    def nearest(self, measures: Rows) -> tuple[DomainStatistics, float]:
        """Find the domain that mean measures ``(M,)`` are most likely of, and how likely that is.

        Returns:
            The domain, and the probability that a clip of it lies at least as far off.
        """
        return max(
            ((domain, domain.probability(domain.distance(measures))) for domain in self.domains),
            key=lambda one: one[1],
        )


def _moments(measures: Rows, members: NDArray[np.intp]) -> tuple[Rows, Rows]:
    """Give mean ``(M,)`` and covariance ``(M, M)`` over frames, every sequence with the same weight.

    The covariance is drawn towards its diagonal by M / S, at most a half: with few sequences, correlations are chance.
    """
    counts = np.bincount(members)
    present = counts[members]
    weights = 1 / (present * np.count_nonzero(counts))  # (N,)
    mean = weights @ measures
    centred = measures - mean
    covariance = (centred * weights[:, None]).T @ centred
    drawn = min(0.5, measures.shape[1] / np.count_nonzero(counts))
    variances = np.diag(np.diag(covariance) + LEAST_DEVIATION**2)
    return mean, (1 - drawn) * covariance + drawn * variances


def _distances_left_out(measures: Rows, members: NDArray[np.intp], left_out: NDArray[np.intp]) -> Rows:
    """Give the distance of each sequence of `left_out` from all others."""
    outside = np.isin(members, left_out)
    mean, covariance = _moments(measures[~outside], members[~outside])
    means = np.stack([measures[members == number].mean(axis=0) for number in left_out]) - mean  # (S, M)
    distances: Rows = np.sqrt(np.einsum("sm,ms->s", means, np.linalg.solve(covariance, means.T)))
    return distances


def _full(triangle: Sequence[Sequence[float]]) -> Rows:
    """Give the symmetric matrix of a lower triangle."""
    full = np.zeros((len(triangle), len(triangle)))
    for i, row in enumerate(triangle):
        full[i, : i + 1] = full[: i + 1, i] = row
    return full


def _rounded(values: ArrayLike) -> list[float]:
    """Give as many digits as mean something: the manifest is read by people, too."""
    return [float(f"{value:.{DIGITS}g}") for value in np.asarray(values)]
