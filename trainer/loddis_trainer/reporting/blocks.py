"""The parts that a page is made of: figures, pictures, feature maps, tables, and notes on what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from loddis_trainer.reporting.feature_maps import MapRow
from loddis_trainer.reporting.tables import Table

__all__ = ["Block", "Gallery", "Maps", "Note", "PictureRow", "Plot", "Section"]

Legend = Literal["runs", "domains", "none"]


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure, or several side by side, with a caption."""

    svgs: tuple[str, ...]
    caption: str
    title: str = ""
    legend: Legend = "runs"
    kind: str = "plot"


@dataclass(frozen=True, slots=True)
class PictureRow:
    """Pictures of one kind with a line each; `words` says what to look for, or that there are none."""

    title: str
    words: str
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Gallery:
    """Rows of pictures of a run."""

    title: str
    rows: tuple[PictureRow, ...]
    kind: str = "gallery"


@dataclass(frozen=True, slots=True)
class Maps:
    """Feature maps, a row a frame."""

    title: str
    rows: tuple[MapRow, ...]
    heads: tuple[str, ...]
    caption: str
    kind: str = "maps"


@dataclass(frozen=True, slots=True)
class Note:
    """Why something is not there, in a line."""

    text: str
    kind: str = "note"


Block: TypeAlias = Plot | Gallery | Maps | Note | Table


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page."""

    id: str
    title: str
    lead: str = ""
    blocks: list[Block] = field(default_factory=list)
