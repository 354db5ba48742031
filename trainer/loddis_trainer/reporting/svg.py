"""Figures as SVG that lives in a page: its fonts, its colours, no identifier twice, nothing fetched.

Matplotlib is used through its objects alone; the settings that it reads globally are set for the time of a figure.
"""

from __future__ import annotations

import io
import itertools
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from loddis_trainer.reporting.palette import GRID, INK, MUTED, with_css_colours

__all__ = ["FULL_WIDTH", "HALF_WIDTH", "Canvas", "canvas", "panel"]

FULL_WIDTH, HALF_WIDTH = 9.6, 4.7  # inches; the page shows an inch as about 110 px

SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "loddis",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelsize": 8.5,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "text.color": INK,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}

_numbers = itertools.count(1)


@dataclass(slots=True)
class Canvas:
    """A figure in the making; `svg` is there once its context has been left.

    Attributes:
        figure: To draw on.
        axes: ``(rows, columns)`` of `Axes`.
        svg: The result.
    """

    figure: Figure
    axes: NDArray[Any]
    svg: str = ""

    def all_axes(self) -> list[Axes]:
        """Give the axes row by row."""
        return list(self.axes.flat)


@contextmanager
def canvas(*, width: float, height: float, rows: int = 1, columns: int = 1, share_y: bool = False) -> Iterator[Canvas]:
    """Open a figure; what is drawn inside the context becomes its SVG.

    Args:
        width: Inches.
        height: Inches.
        rows: Of panels.
        columns: Of panels.
        share_y: Whether panels share the vertical axis.
    """
    with mpl.rc_context(cast(Any, SETTINGS)):  # its keys are typed one by one
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        made = Canvas(figure, figure.subplots(rows, columns, squeeze=False, sharey=share_y))
        yield made
        made.svg = _markup(figure)


def panel(axes: Axes, *, title: str = "", x: str = "", y: str = "") -> None:
    """Write the words on a panel."""
    if title:
        axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _markup(figure: Figure) -> str:
    """Give a figure as an `svg` element that can stand in a page beside others."""
    buffer = io.StringIO()
    with warnings.catch_warnings():  # letters that its own font lacks: the page's fonts have them
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    prefix = f"f{next(_numbers)}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r"url\(#", f"url(#{prefix}", text)
    text = re.sub(r'href="#', f'href="#{prefix}', text)
    width = re.search(r'<svg[^>]*?\bwidth="([\d.]+)pt"', text)
    text = re.sub(r'(<svg[^>]*?) width="[\d.]+pt"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[\d.]+pt"', r"\1", text, count=1)
    largest = f"{float(width.group(1)) / 72 * 7.3:.1f}rem" if width else "100%"
    text = text.replace("<svg", f'<svg class="plot" role="img" style="max-width:{largest}"', 1)
    text = re.sub(r"font: [^;\"]*?(\d[\d.]*)px[^;\"]*", r"font-size: \1px", text)
    return with_css_colours(text)
