"""What an inspection has to say: one sentence each, ranked by how much it matters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["SEVERITIES", "Finding", "Severity", "named", "percent", "ranked"]

Severity = Literal["fault", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("fault", "warning", "note")
MOST_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know.

    Attributes:
        severity: ``fault``: figures measured on the domain are wrong until it is mended; ``warning``: look at it before
            training; ``note``: good to know.
        subject: Part of the inspection that found it, such as ``leaks``.
        splits: Where.
        message: What, where and what to do, in one sentence.
        examples: The worst of it by name, at most 10.
    """

    severity: Severity
    subject: str
    splits: tuple[str, ...]
    message: str
    examples: tuple[str, ...] = ()


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Order by severity, and leave them as they came within it."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def named(names: Sequence[str], most: int = 3) -> str:
    """List the first few of many names, and say how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def percent(share: float) -> str:
    """Write a share in [0, 1]: ``0.4 %``, ``17 %``."""
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
