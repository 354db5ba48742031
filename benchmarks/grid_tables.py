"""The tables of the mixed-domain benchmark: means and spreads over seeds, and what they come to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from grid import PARTS, Cell, PartRow, Row

__all__ = ["FIGURES", "Scores", "effects", "markdown", "summarise"]

Scores: TypeAlias = dict[str, dict[str, float]]
"""Code of the tested domain -> figure -> value."""

FIGURES = ("map50", "pd_at_fa_0.1", "mean_pd")

Figures: TypeAlias = dict[str, dict[str, float]]  # figure -> mean, std, n


def summarise(rows: Iterable[Row], scores: dict[str, Scores]) -> dict[str, dict[str, Figures]]:
    """Give, by row, column and figure, mean, standard deviation and number of seeds."""
    gathered: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        for figure, value in scores.get(row.cell.name, {}).get(row.tested, {}).items():
            if figure in FIGURES:
                gathered[row.label][row.column][figure].append(value)
    return {
        row: {
            column: {
                figure: {"mean": float(np.mean(v)), "std": float(np.std(v, ddof=1)) if len(v) > 1 else 0.0, "n": len(v)}
                for figure, v in figures.items()
            }
            for column, figures in columns.items()
        }
        for row, columns in gathered.items()
    }


def markdown(result: dict[str, Any]) -> str:
    """Write the tables."""
    recipe = result["recipe"]
    lines = [
        "# Mixed domains, measured",
        "",
        f"`{result['split']}` splits, {recipe['epochs'] * recipe['steps_per_epoch']} steps of {recipe['batch_size']}"
        f" frames, `{recipe['variant']}`, seeds {', '.join(map(str, result['seeds']))};"
        f" {result['machine']['processor']}, torch {result['machine']['torch']}.",
        "mAP50 / Pd at 0.1 false alarms per frame / mean of Pd at 0.05 to 1 of them, evenly by logarithm (centre"
        " distance ≤ 5 px); per cent, ± standard deviation over seeds.",
    ]
    for title, rows in result["tables"].items():
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        lines += ["", f"## {title}", "", f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
        for row, cells in rows.items():
            shown = (shown_cell(cells[column]) if column in cells else "–" for column in columns)
            lines.append(f"| {row} | {' | '.join(shown)} |")
        lines += gains(rows)
    if result.get("parts"):
        lines += effects_table(result["parts"])
    return "\n".join([*lines, ""])


def shown_cell(figures: Figures) -> str:
    """Write a cell's figures."""
    parts = []
    for name in FIGURES:
        figure = figures[name]
        spread = f" ± {100 * figure['std']:.1f}" if figure["n"] > 1 else ""
        parts.append(f"{100 * figure['mean']:.1f}{spread}")
    return " / ".join(parts)


def gains(rows: dict[str, dict[str, Figures]]) -> list[str]:
    """Say what Loddis gains over the other arms, and in how many settings the auxiliary domain hurt."""
    pairs = {row: {c: figures["map50"]["mean"] for c, figures in cells.items()} for row, cells in rows.items()}
    lines = []
    for arm, name in (("merged", "merged sets"), ("plain", "plain mixing"), ("only", "the task domain only")):
        both = [cells for cells in rows.values() if {arm, "loddis"} <= cells.keys()]
        if both:
            gained = {
                figure: [100 * (cells["loddis"][figure]["mean"] - cells[arm][figure]["mean"]) for cells in both]
                for figure in FIGURES
            }
            means = " / ".join(f"{np.mean(gained[figure]):+.1f}" for figure in FIGURES)
            each = ", ".join(f"{gain:+.1f}" for gain in gained["map50"])
            lines.append(f"Loddis over {name}: {means} on average over {len(both)} settings; mAP50 {each}.")
    for arm in ("merged", "plain", "apart", "loddis"):
        beside = [(row, cells) for row, cells in pairs.items() if {"only", arm} <= cells.keys()]
        hurt = [row for row, cells in beside if cells[arm] < cells["only"]]
        if beside:
            lines.append(
                f"Negative shift with `{arm}`: {len(hurt)} of {len(beside)}{': ' if hurt else ''}{', '.join(hurt)}."
            )
    return ["", *lines] if lines else []


def effects(rows: Iterable[PartRow], scores: dict[str, Scores]) -> dict[str, Any]:
    """Give what each part of a recipe is worth, by least squares over the cells that there are.

    A figure is taken for that of its setting plus the effect of each part that the cell has; what is left over is the
    scatter of the cells, from which the standard errors follow.

    Returns:
        ``cells``, their number; ``scatter`` by figure, the standard deviation of what is left over; ``parts`` by part
        and figure, ``effect`` and ``standard_error``. Empty if the cells do not tell the parts from one another and
        from the settings.
    """
    levels: dict[str, dict[str, bool]] = defaultdict(dict)
    cells: dict[str, Cell] = {}
    for row in rows:
        if row.cell.name in scores:
            cells[row.cell.name] = row.cell
            levels[row.cell.name][row.part] = row.has_part
    settings = list(dict.fromkeys(cell.mix.label for cell in cells.values()))
    design = np.array(
        [
            [*(cell.mix.label == setting for setting in settings), *(levels[name][part] for part in PARTS)]
            for name, cell in cells.items()
        ],
        dtype=float,
    ).reshape(len(cells), len(settings) + len(PARTS))
    free = design.shape[0] - design.shape[1]
    if free < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        return {}
    spread = np.sqrt(np.diag(np.linalg.inv(design.T @ design)))[len(settings) :]
    found: dict[str, Any] = {"cells": len(cells), "scatter": {}, "parts": {part: {} for part in PARTS}}
    for figure in FIGURES:
        values = np.array([scores[name][cell.mix.tested[0]][figure] for name, cell in cells.items()])
        fitted = np.linalg.lstsq(design, values, rcond=None)[0]
        scatter = float(np.sqrt(np.sum((values - design @ fitted) ** 2) / free))
        found["scatter"][figure] = scatter
        for part, effect, error in zip(PARTS, fitted[len(settings) :], scatter * spread, strict=True):
            found["parts"][part][figure] = {"effect": float(effect), "standard_error": float(error)}
    return found


def effects_table(worth: dict[str, Any]) -> list[str]:
    """Write what the parts are worth, and how well that is known."""
    scatter = " / ".join(f"{100 * worth['scatter'][figure]:.1f}" for figure in FIGURES)
    lines = [
        "",
        "## Parts of the recipe",
        "",
        f"What is gained with a part over without it, in points ± standard error; {worth['cells']} cells, which scatter"
        f" by {scatter} points about that.",
        "",
        "| | mAP50 | Pd at 0.1 | mean Pd |",
        "|---|---:|---:|---:|",
    ]
    for part, of_part in worth["parts"].items():
        shown = (
            f"{100 * of_part[figure]['effect']:+.1f} ± {100 * of_part[figure]['standard_error']:.1f}"
            for figure in FIGURES
        )
        lines.append(f"| {part} | {' | '.join(shown)} |")
    return lines
