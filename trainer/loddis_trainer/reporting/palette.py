"""Colours by role. Figures are drawn in stand-ins that the page replaces by its own, which follow light and dark.

The colours of runs are Okabe and Ito's, those of domains Tol's muted ones: both can be told apart with any colour
vision. Runs differ in the pattern of their lines as well, domains in their markers.
"""

from __future__ import annotations

import re

__all__ = [
    "GRID",
    "INK",
    "MUTED",
    "PAPER",
    "TRUTH",
    "css_dashes",
    "domain_colour",
    "domain_marker",
    "run_colour",
    "run_dashes",
    "with_css_colours",
]

INK, MUTED, GRID, PAPER, TRUTH = "#010101", "#010102", "#010103", "#010104", "#010105"
RUNS = tuple(f"#0102{number:02x}" for number in range(1, 9))
DOMAINS = tuple(f"#0103{number:02x}" for number in range(1, 9))

VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    TRUTH: "--truth",
    **{colour: f"--run-{number}" for number, colour in enumerate(RUNS, 1)},
    **{colour: f"--domain-{number}" for number, colour in enumerate(DOMAINS, 1)},
}
DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (6, 2),
    (2, 2),
    (6, 2, 2, 2),
    (10, 3),
    (1, 1.5),
    (6, 2, 2, 2, 2, 2),
    (4, 4),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def run_colour(number: int) -> str:
    """Give the stand-in of a run's colour, by its place in the report from 0."""
    return RUNS[number % len(RUNS)]


def run_dashes(number: int) -> tuple[float, ...]:
    """Give lengths of strokes and gaps of a run's line; empty for a whole line."""
    return DASHES[number % len(DASHES)]


def css_dashes(number: int) -> str:
    """Give the same as a `stroke-dasharray`."""
    return " ".join(f"{length:g}" for length in run_dashes(number)) or "none"


def domain_colour(number: int) -> str:
    """Give the stand-in of a domain's colour, by its place among all domains of the report from 0."""
    return DOMAINS[number % len(DOMAINS)]


def domain_marker(number: int) -> str:
    """Give a domain's marker."""
    return MARKERS[number % len(MARKERS)]


def with_css_colours(svg: str) -> str:
    """Replace stand-ins by the page's variables."""
    return re.sub("|".join(VARIABLES), lambda found: f"var({VARIABLES[found.group()]})", svg)
