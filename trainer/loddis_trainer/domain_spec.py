"""How a domain is written: with the share of it to use, ``sky:0.3``, or with one of its splits, ``sky:test``.

Whole sequences are taken, so that the share that is used may be another than the one asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from pydantic import AfterValidator

__all__ = ["DomainSpec", "SplitName", "describe_share", "is_far_from_asked"]

ROUNDING, FAR = 0.02, 0.25  # differences of a share from the one asked for, as parts of the latter


def _check_split(text: str) -> str:
    domain, colon, split = text.rpartition(":")
    if not (domain and colon and split):
        raise ValueError(f"a split is written DOMAIN:SPLIT, got '{text}'")
    return text


SplitName: TypeAlias = Annotated[str, AfterValidator(_check_split)]
"""``DOMAIN:SPLIT`` in settings and commands."""


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """A domain and the share of its train split to use.

    Attributes:
        name: Or path.
        fraction: In (0, 1], by whole sequences.
    """

    name: str
    fraction: float

    @classmethod
    def parse(cls, text: str) -> DomainSpec:
        """Read ``NAME`` or ``NAME:FRACTION``.

        Raises:
            ValueError: No name, or a fraction that is no number in (0, 1].
        """
        name, colon, share = text.rpartition(":")
        if not colon:
            name, share = text, "1"
        try:
            fraction = float(share)
        except ValueError:
            fraction = float("nan")
        if not name or not 0 < fraction <= 1:
            raise ValueError(f"a domain is written NAME or NAME:FRACTION with a fraction in (0, 1], got '{text}'")
        return cls(name, fraction)


def describe_share(taken: float, asked: float) -> str:
    """Write a share, and the one asked for where they differ by more than a rounding: ``33.3 % (1 % asked)``.

    Args:
        taken: In (0, 1].
        asked: Likewise.
    """
    written = f"{100 * taken:.3g} %"
    return f"{written} ({100 * asked:.3g} % asked)" if abs(taken - asked) > ROUNDING * asked else written


def is_far_from_asked(taken: float, asked: float) -> bool:
    """Tell whether a share differs by more than a quarter from the one asked for, both in (0, 1]."""
    return abs(taken - asked) > FAR * asked
