"""Bars for long work, on stderr, where somebody looks at it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track

__all__ = ["tracked"]

Item = TypeVar("Item")


def tracked(items: Sequence[Item], title: str, *, progress: bool) -> Iterable[Item]:
    """Go through items with a bar, unless it is not wanted or stderr is no terminal."""
    console = Console(stderr=True)
    shown = progress and console.is_terminal
    return track(items, escape(title), disable=not shown, transient=True, console=console)
