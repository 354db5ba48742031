"""The cells of the mixed-domain benchmark: what each trains on, how, and what it is tested on.

A *cell* is one training and its test. Its name, `3SK+7GR~loddis~seed0`, says all of it and names its folder: a grid
that was stopped goes on where it was. Cells that several tables need are run once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any, Literal, NamedTuple, TypeAlias

__all__ = [
    "ABLATION",
    "ARMS",
    "DOMAINS",
    "PARTS",
    "TASK_SHARES",
    "Arm",
    "Cell",
    "Mix",
    "PartRow",
    "Row",
    "ablation",
    "grid",
    "leave_one_out",
    "mixes",
    "parts",
    "windows",
]

DOMAINS = {"SK": "sky", "GR": "ground", "CI": "city"}
AUXILIARY_SHARE = 0.7
TASK_SHARES = (0.3, 0.05)  # the paper's, and that of users with few labels

Arm: TypeAlias = Literal["only", "merged", "plain", "apart", "loddis"]
ARMS: tuple[Arm, ...] = ("only", "merged", "plain", "apart", "loddis")
"""`only` the task domain; `merged`: both sets as one, as they come; `plain`: batches hold a fixed share of the task,
and nothing else is done; `loddis`: the recipe; `apart`: as `loddis`, but none of the three losses."""

LOSSES_OFF: dict[str, Any] = {"alpha": 0.0, "beta": 0.0, "eta": 0.0}
PLAIN: dict[str, Any] = {
    **LOSSES_OFF,
    "auxiliary_box_trust": 1.0,
    "auxiliary_statistics": "shared",
    "loss_balance": "batch",
    "task_share": 0.8,
    "final_task_share": None,
}
MERGED: dict[str, Any] = {**PLAIN, "balance": "natural"}

PARTS: dict[str, tuple[str, ...]] = {
    "a share of the task that moves": ("task_share", "final_task_share"),
    "statistics apart": ("auxiliary_statistics",),
    "little trust in boxes": ("auxiliary_box_trust",),
    "losses by domain": ("loss_balance",),
    "the three losses": ("alpha", "beta", "eta"),
}
"""The parts of the recipe, and the settings that plain mixing has in place of each."""

# Table 3: correlation weakening, domain confusing, target consistency.
ABLATION = tuple(product((False, True), repeat=3))


@dataclass(frozen=True, slots=True)
class Mix:
    """Domains to train on and the one to test on, by code.

    Attributes:
        task: Domain codes and shares.
        auxiliary: Likewise.
        tested: Codes of the domains that the cell is tested on.
    """

    task: tuple[tuple[str, float], ...]
    auxiliary: tuple[tuple[str, float], ...]
    tested: tuple[str, ...]

    @property
    def label(self) -> str:
        """In the paper's notation: ``3SK+7GR→SK``."""
        parts = "+".join(f"{10 * share:g}{code}" for code, share in (*self.task, *self.auxiliary))
        return f"{parts}→{','.join(self.tested)}"

    def alone(self) -> Mix:
        """Give the same without auxiliary domains."""
        return Mix(self.task, (), self.tested)


@dataclass(frozen=True, slots=True)
class Cell:
    """One training and its test.

    Attributes:
        mix: What it trains on.
        settings: What it changes of the recipe.
        name: Folder; equal names are equal cells.
        seed: Of everything.
    """

    mix: Mix
    settings: tuple[tuple[str, Any], ...]
    name: str
    seed: int

    @classmethod
    def of(cls, mix: Mix, arm: str, settings: dict[str, Any], seed: int) -> Cell:
        """Name a cell."""
        label = mix.label.split("→")[0]
        return cls(mix, tuple(sorted(settings.items())), f"{label}~{arm}~seed{seed}", seed)


def arm_settings(arm: Arm) -> dict[str, Any]:
    """Give what an arm changes of the recipe; `loddis` is the recipe itself."""
    return {"only": PLAIN, "merged": MERGED, "plain": PLAIN, "apart": LOSSES_OFF, "loddis": {}}[arm]


def mixes(task_share: float) -> Iterator[Mix]:
    """Give the six settings of two domains and the three of three, at a share of the task domain."""
    for task, auxiliary in permutations(DOMAINS, 2):
        yield Mix(((task, task_share),), ((auxiliary, AUXILIARY_SHARE),), (task,))
    for task in DOMAINS:
        others = tuple((code, AUXILIARY_SHARE) for code in DOMAINS if code != task)
        yield Mix(((task, task_share),), others, (task,))


class Row(NamedTuple):
    """A figure's place in a table, and the cell that gives it.

    Attributes:
        label: In front of the row.
        column: Above it.
        tested: Code of the domain that the figure is of.
        cell: Behind it.
    """

    label: str
    column: str
    tested: str
    cell: Cell


def grid(task_share: float, arms: Sequence[Arm], seeds: Sequence[int]) -> Iterator[Row]:
    """Give every setting, arm and seed at a share of the task domain."""
    for seed, mix, arm in product(seeds, mixes(task_share), arms):
        # On the task domain alone there is nothing to weaken or confuse: a plain training.
        trained, name = (mix.alone(), "plain") if arm == "only" else (mix, arm)
        yield Row(mix.label, arm, mix.tested[0], Cell.of(trained, name, arm_settings(arm), seed))


def ablation(mix: Mix, seeds: Sequence[int]) -> Iterator[Row]:
    """Give the eight rows of table 3 on one setting; all else is the recipe's."""
    for seed, switches in product(seeds, ABLATION):
        off = {name: 0.0 for name, on in zip(("alpha", "beta", "eta"), switches, strict=True) if not on}
        arm = {0: "loddis", 3: "apart"}.get(len(off)) or "without-" + "-".join(sorted(off))
        label = " + ".join(name for name, on in zip(("CW", "MI", "CL"), switches, strict=True) if on)
        yield Row(label or "none", "loddis", mix.tested[0], Cell.of(mix, arm, off, seed))


class PartRow(NamedTuple):
    """What a cell says about a part of the recipe.

    Attributes:
        part: Of `PARTS`.
        has_part: Whether the cell is with it.
        cell: Tested on the one domain of its mix.
    """

    part: str
    has_part: bool
    cell: Cell


def parts(seeds: Sequence[int]) -> Iterator[PartRow]:
    """Give all 32 ways to leave parts of the recipe out, a quarter of them on each of four settings, for each seed.

    A fractional factorial design of resolution III in each setting: any two parts are there together as often as
    either is without the other, so that all eight cells say something about each part. But the effect of a part is
    mixed with those of pairs of others (the last two are the products of the first with the second and third).
    Their signs differ between the settings, so that these cancel in the mean over all four if they are alike there;
    every second seed turns the signs round, so that they cancel in each setting.
    """
    few = {mix.label: mix for mix in mixes(0.05)}
    many = {mix.label: mix for mix in mixes(0.3)}
    settings = (few["0.5GR+7SK→GR"], few["0.5CI+7GR→CI"], few["0.5SK+7CI→SK"], many["3GR+7CI→GR"])
    for number, seed in enumerate(seeds):
        turn = -1 if number % 2 else 1
        for mix, (fourth, fifth) in zip(settings, product((turn, -turn), repeat=2), strict=True):
            for a, b, c in product((False, True), repeat=3):
                levels = (a, b, c, (a == b) == (fourth > 0), (a == c) == (fifth > 0))
                cell = _without(mix, [part for part, there in zip(PARTS, levels, strict=True) if not there], seed)
                for part, there in zip(PARTS, levels, strict=True):
                    yield PartRow(part, there, cell)


def _without(mix: Mix, left_out: Sequence[str], seed: int) -> Cell:
    """Give the recipe without some of its parts; under the name of an arm where it is one."""
    settings = {name: PLAIN[name] for part in left_out for name in PARTS[part]}
    same = next((arm for arm in ("loddis", "apart", "plain") if arm_settings(arm) == settings), None)
    signs = "".join("-" if part in left_out else "+" for part in PARTS)
    return Cell.of(mix, same or f"parts{signs}", settings, seed)


def leave_one_out(seeds: Sequence[int]) -> Iterator[Row]:
    """Give, for each domain never trained on, the other two together (plain, loddis) and each of them alone."""
    for seed, unseen in product(seeds, DOMAINS):
        others = [code for code in DOMAINS if code != unseen]
        both = Mix(tuple((code, 1.0) for code in others), (), tuple(DOMAINS))
        for arm in ("plain", "loddis"):
            yield Row(f"→{unseen}", arm, unseen, Cell.of(both, arm, arm_settings(arm), seed))
        for code in others:
            alone = Mix(((code, 1.0),), (), tuple(other for other in DOMAINS if other != code))
            yield Row(f"→{unseen}", f"{code} alone", unseen, Cell.of(alone, "plain", arm_settings("plain"), seed))


def windows(seeds: Sequence[int]) -> Iterator[Row]:
    """Give single frames and windows of three on the two domains that are sequences."""
    both = Mix((("SK", 1.0), ("CI", 1.0)), (), tuple(DOMAINS))
    three = {"window": 3, "register_window": True}
    for seed, code in product(seeds, ("SK", "CI")):
        yield Row(f"→{code}", "T = 1", code, Cell.of(both, "loddis", {}, seed))
        yield Row(f"→{code}", "T = 3, registered", code, Cell.of(both, "window3", three, seed))
