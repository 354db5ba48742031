"""The tables of `docs/mixed-domain.md`, and what the README shows of them, from what `mixed_domain.py` found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from grid import ABLATION, DOMAINS
from grid_tables import FIGURES
from machine import read_result

__all__ = [
    "ablation_table",
    "few_labels_table",
    "labels_table",
    "more_labels_table",
    "three_domains_table",
    "unseen_table",
    "windows_table",
]

Figures: TypeAlias = tuple[float, float, float]
"""mAP50, Pd at 0.1 false alarms per frame, mean of Pd; per cent."""

ARMS = {"only": "task domain only", "merged": "merged", "plain": "plain", "loddis": "Loddis"}
OTHERS = {"only": "the task domain only", "merged": "merged sets", "plain": "plain mixing"}
FEW, MORE = "mixed_domain_few_labels", "mixed_domain_30_percent"
FEW_OF_THREE, MORE_OF_THREE = "mixed_domain_three_few_labels", "mixed_domain_three_30_percent"
LOSSES = ("correlation weakening", "domain confusing", "target consistency")


def few_labels_table() -> str:
    """Give the six settings with 5 % of the task domain."""
    return _comparison(_table(FEW), ("only", "plain", "loddis"))


def more_labels_table() -> str:
    """Give the six settings with 30 %."""
    return _comparison(_table(MORE), ("only", "merged", "plain", "loddis"))


def three_domains_table() -> str:
    """Give the three settings with two auxiliary domains, with 5 and with 30 % of the task domain."""
    parts = []
    for share, name in (("5", FEW_OF_THREE), ("30", MORE_OF_THREE)):
        table = _table(name)
        arms = [arm for arm in ARMS if all(arm in cells for cells in table.values())]
        parts.append(_comparison(table, arms, title=f"{share} % of the task domain"))
    return "\n\n".join(parts)


def labels_table() -> str:
    """Give the mAP50 of few and of more labels, for the README."""
    arms = ("only", "plain", "loddis")
    few, more = _table(FEW), _table(MORE)
    rows = [
        [*_in_percent([few[label][arm][0] for arm in arms]), *_in_percent([more[other][arm][0] for arm in arms])]
        for label, other in zip(few, more, strict=True)
    ]
    means = [_in_percent([_mean(table, arm)[0] for arm in arms]) for table in (few, more)]
    names = [_setting(label) for label in few]
    heads = ("5 %: alone", "plain", "Loddis", "30 %: alone", "plain", "Loddis")
    return _written(("", *heads), zip([*names, "mean"], [*rows, [*means[0], *means[1]]], strict=True))


def ablation_table() -> str:
    """Give table 3's eight rows, and what each loss is worth."""
    (table,) = read_result("mixed_domain_ablation")["tables"].values()
    found = [_figures(next(iter(row.values()))) for row in table.values()]
    shown = _best_of(found)
    lines = [f"| {' | '.join(LOSSES)} | |", "|" + ":---:|" * len(LOSSES) + "---:|"]
    for on, cell in zip(ABLATION, shown, strict=True):
        lines.append(f"| {' | '.join('✓' if one else ' ' for one in on)} | {cell} |")
    worth = [_minus(found[-1], found[0])]
    for place in range(len(LOSSES)):
        sides = [
            np.mean([f for on, f in zip(ABLATION, found, strict=True) if on[place] == wanted], axis=0)
            for wanted in (True, False)
        ]
        worth.append(_minus(*sides))
    named = ["All three against none", *(f"{loss}, four rows with it against four without" for loss in LOSSES)]
    lines.append("")
    lines += [f"- {name[0].upper()}{name[1:]}: {_signed(gain)}" for name, gain in zip(named, worth, strict=True)]
    return "\n".join(lines)


def windows_table() -> str:
    """Give single frames against windows of three."""
    return _plain_table(_table("mixed_domain_windows"))


def unseen_table() -> str:
    """Give domains that nothing was trained on: plain, Loddis, the better single domain, the other."""
    table = _table("mixed_domain_unseen")
    rows, gains = [], []
    for label, cells in table.items():
        alone = sorted((name for name in cells if name.endswith(" alone")), key=lambda name: -cells[name][1])
        shown = _best_of([cells["plain"], cells["loddis"], *(cells[name] for name in alone)])
        named = [f"`{DOMAINS[name.split()[0]]}` {cell}" for name, cell in zip(alone, shown[2:], strict=True)]
        rows.append((_setting(label), [*shown[:2], *named]))
        over_plain, over_best = (_signed(_minus(cells["loddis"], cells[other])) for other in ("plain", alone[0]))
        gains.append(f"- {_setting(label)}: Loddis over plain {over_plain}, over the best single domain {over_best}")
    heads = ("", "plain", "Loddis", "best single domain", "the other alone")
    return "\n".join([_written(heads, rows), "", *gains])


def _comparison(table: Mapping[str, Mapping[str, Figures]], arms: Sequence[str], *, title: str = "") -> str:
    """Give a table of arms and their means, and what Loddis gains over each of the others."""
    rows = [(_setting(label), _best_of([cells[arm] for arm in arms])) for label, cells in table.items()]
    rows.append(("mean", _best_of([_mean(table, arm) for arm in arms])))
    lines = [_written((title, *(ARMS[arm] for arm in arms)), rows), ""]
    for arm in reversed(arms[:-1]):
        each = ", ".join(_one_signed(cells["loddis"][0] - cells[arm][0]) for cells in table.values())
        gain = _signed(_minus(_mean(table, "loddis"), _mean(table, arm)))
        lines.append(f"- Loddis over {OTHERS[arm]}: {gain} on average; mAP50 {each}")
    if "plain" in arms and "only" in arms:
        gain = _signed(_minus(_mean(table, "plain"), _mean(table, "only")))
        lines.append(f"- plain mixing over {OTHERS['only']}: {gain} on average")
    return "\n".join(lines)


def _plain_table(table: Mapping[str, Mapping[str, Figures]]) -> str:
    columns = list(next(iter(table.values())))
    rows = [(_setting(label), _best_of([cells[column] for column in columns])) for label, cells in table.items()]
    return _written(("", *columns), rows)


def _table(name: str) -> dict[str, dict[str, Figures]]:
    """Read the one table of a result: row, column, figures."""
    (table,) = read_result(name)["tables"].values()
    return {row: {column: _figures(cell) for column, cell in cells.items()} for row, cells in table.items()}


def _figures(cell: dict[str, Any]) -> Figures:
    first, second, third = (100 * cell[name]["mean"] for name in FIGURES)
    return first, second, third


def _mean(table: Mapping[str, Mapping[str, Figures]], arm: str) -> Figures:
    first, second, third = np.mean([cells[arm] for cells in table.values()], axis=0)
    return first, second, third


def _minus(one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    return tuple(a - b for a, b in zip(one, other, strict=True))


def _setting(label: str) -> str:
    """Write ``3SK+7GR→SK`` as a reader says it."""
    mix, tested = label.split("→")
    others = [DOMAINS[part[-2:]] for part in mix.split("+") if part and part[-2:] != tested]
    name = f"`{DOMAINS[tested]}`"
    return f"{name} with {' and '.join(f'`{other}`' for other in others)}" if others else name


def _best_of(cells: Sequence[Figures]) -> list[str]:
    """Write cells that stand beside or below one another, the best of each figure in bold."""
    columns = [_bold([cell[place] for cell in cells]) for place in range(len(FIGURES))]
    return [" / ".join(parts) for parts in zip(*columns, strict=True)]


def _bold(values: Sequence[float], unit: str = "") -> list[str]:
    written = [f"{value:.1f}" for value in values]
    best = max(written, key=float)
    return [f"**{text}{unit}**" if text == best else f"{text}{unit}" for text in written]


def _in_percent(values: Sequence[float]) -> list[str]:
    return _bold(values, " %")


def _signed(values: Sequence[float]) -> str:
    return " / ".join(_one_signed(value) for value in values)


def _one_signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")  # no −0.0


def _written(heads: Sequence[str], rows: Any) -> str:
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]
    return "\n".join(lines)
