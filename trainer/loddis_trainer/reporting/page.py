"""The page: one HTML file that holds everything and fetches nothing."""

from __future__ import annotations

import datetime as dt
import math
import statistics
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from loddis_trainer.reporting.blocks import Section
from loddis_trainer.reporting.collect import Findings
from loddis_trainer.reporting.palette import css_dashes
from loddis_trainer.reporting.runs import TrainedRun
from loddis_trainer.software import software_versions

__all__ = ["render_page"]

# Of a domain's marker, in a box of 12 x 12; in the order of `palette.domain_marker`.
MARKER_SHAPES = (
    '<circle cx="6" cy="6" r="4.5"/>',
    '<rect x="2" y="2" width="8" height="8"/>',
    '<path d="M6 1.5 11 10.5H1z"/>',
    '<path d="M6 .8 11.2 6 6 11.2.8 6z"/>',
    '<path d="M6 10.5 1 1.5h10z"/>',
    '<path d="M4 1h4v3h3v4H8v3H4V8H1V4h3z"/>',
    '<path d="M3 1 6 4l3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3-3-3z"/>',
    '<path d="m6 .5 1.5 4h4L8.3 7l1.3 4.3L6 8.8l-3.600 2.500L3.700 7 .5 4.500h4z"/>',
)


@dataclass(frozen=True, slots=True)
class RunKey:
    """A run in legends and at the head of the page."""

    number: int
    label: str
    kind: str
    dashes: str
    map50: str
    measured_on: str
    change: str
    better: bool


@dataclass(frozen=True, slots=True)
class DomainKey:
    """A domain in legends."""

    number: int
    name: str
    shape: Markup


def render_page(findings: Findings, sections: list[Section], *, title: str) -> str:
    """Give the page's text, well-formed XML as well as HTML.

    Args:
        findings: What it is about.
        sections: What stands in it.
        title: Its heading.
    """
    environment = Environment(
        loader=PackageLoader("loddis_trainer.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markup"] = Markup  # figures and pictures, which escape their own words
    domains = [
        DomainKey(place % len(MARKER_SHAPES) + 1, name, Markup(MARKER_SHAPES[place % len(MARKER_SHAPES)]))  # noqa: S704
        for name, place in findings.domain_places.items()
    ]
    return environment.get_template("page.html").render(
        title=title,
        style=Markup((files(__package__) / "page.css").read_text()),  # noqa: S704
        runs=_run_keys(findings),
        domains=domains,
        sections=sections,
        created=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        software=", ".join(f"{name} {version}" for name, version in software_versions("torch", "numpy").items()),
    )


def _run_keys(findings: Findings) -> list[RunKey]:
    """Give every run with its mAP50 and, where it can be told, what auxiliary data did to it."""
    figures = [_headline(findings, run) for run in findings.runs]
    pairs = list(zip(findings.runs, figures, strict=True))
    alone: dict[frozenset[tuple[str, float, str | None]], list[float]] = {}  # P, by what they were trained on
    for run, (value, _) in pairs:
        if not run.has_auxiliary and findings.task_splits(run) and math.isfinite(value):
            alone.setdefault(run.task_data, []).append(value)
    keys = []
    for number, (run, (value, splits)) in enumerate(pairs):
        base = alone.get(run.task_data, []) if run.has_auxiliary else []
        gain = value - statistics.fmean(base) if base else math.nan
        known = math.isfinite(gain)
        against = "P" if len(base) == 1 else f"the mean of {len(base)} P"
        keys.append(
            RunKey(
                number + 1,
                run.label,
                run.kind,
                css_dashes(number),
                f"{100 * value:.1f}" if math.isfinite(value) else "–",
                ("mean of " if len(splits) > 1 else "") + ", ".join(splits),
                f"{100 * gain:+.1f} points against {against}".replace("-", "−") if known else "",
                known and gain >= 0,
            )
        )
    return keys


def _headline(findings: Findings, run: TrainedRun) -> tuple[float, list[str]]:
    """Give a run's mAP50, mean of its task domains' splits that have targets, and these; NaN where there are none."""
    splits = findings.task_splits(run) or findings.splits[:1]
    values = {split: findings.of(run, split).metrics.map50 for split in splits}
    finite = {split: value for split, value in values.items() if math.isfinite(value)}
    return (statistics.fmean(finite.values()), list(finite)) if finite else (math.nan, list(splits))
