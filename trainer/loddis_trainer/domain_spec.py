"""How a domain and the share of it to use are written: ``sky`` or ``sky:0.3``."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DomainSpec"]


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
