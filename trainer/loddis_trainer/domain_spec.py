"""How a domain is written: with the share of it to use, ``sky:0.3``, or with one of its splits, ``sky:test``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from pydantic import AfterValidator

__all__ = ["DomainSpec", "SplitName"]


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
