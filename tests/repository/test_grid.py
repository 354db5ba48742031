"""The mixed-domain benchmark has every cell that its tables need, once."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections import Counter, defaultdict
from itertools import combinations, product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from loddis_trainer.config import FitConfig
from loddis_trainer.presets import read_preset
from support.benchmark_modules import benchmark_module

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def grid() -> ModuleType:
    return load("grid")


@pytest.fixture(scope="module")
def tables(grid: ModuleType) -> ModuleType:
    return load("grid_tables")


def load(name: str) -> ModuleType:
    """Import a module of a folder that is no package, under the name that its neighbours import it by."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_settings_of_the_paper_and_those_of_three_domains(grid: ModuleType) -> None:
    rows = list(grid.grid(0.3, grid.ARMS, [0, 1]))
    labels = {row.label for row in rows}
    assert {"3SK+7GR→SK", "3SK+7CI→SK", "3GR+7SK→GR", "3GR+7CI→GR", "3CI+7SK→CI", "3CI+7GR→CI"} < labels
    assert {"3SK+7GR+7CI→SK", "3GR+7SK+7CI→GR", "3CI+7SK+7GR→CI"} < labels
    assert len(labels) == 9
    assert Counter(row.column for row in rows) == dict.fromkeys(grid.ARMS, 18)
    # Three settings share each training on a task domain alone.
    assert len({row.cell.name for row in rows if row.column == "only"}) == 3 * 2
    assert len({row.cell.name for row in rows}) == 3 * 2 + 9 * 4 * 2
    assert {row.label for row in grid.grid(0.05, ["plain"], [0])} >= {"0.5SK+7GR→SK"}


def test_arms_differ_in_what_they_say_they_do(grid: ModuleType) -> None:
    rows = {row.column: dict(row.cell.settings) for row in grid.grid(0.3, grid.ARMS, [0]) if row.label == "3SK+7GR→SK"}
    recipe = FitConfig.model_validate({"task": ["a"], **read_preset("edge")})
    assert rows["loddis"] == {}
    assert rows["apart"] == {"alpha": 0.0, "beta": 0.0, "eta": 0.0}
    assert rows["plain"] == rows["only"]
    assert rows["merged"] == {**rows["plain"], "balance": "natural"}
    plain = recipe.model_copy(update=rows["plain"])
    undone = {name for name, value in recipe if getattr(plain, name) != value}
    shares = {"task_share", "final_task_share"}
    assert undone == {*rows["apart"], "auxiliary_box_trust", "auxiliary_statistics", "loss_balance"} | shares


def test_table_three_has_eight_rows(grid: ModuleType) -> None:
    mix = next(mix for mix in grid.mixes(0.3) if mix.label == "3SK+7GR→SK")
    rows = {row.label: dict(row.cell.settings) for row in grid.ablation(mix, [0])}
    assert len(rows) == 8
    assert rows["CW + MI + CL"] == {}
    assert rows["none"] == {"alpha": 0.0, "beta": 0.0, "eta": 0.0}
    assert rows["MI"] == {"alpha": 0.0, "eta": 0.0}
    assert len({row.cell.name for row in grid.ablation(mix, [0])}) == 8


def test_any_two_parts_of_the_recipe_are_told_apart_in_each_setting(grid: ModuleType) -> None:
    rows = list(grid.parts([0]))
    cells = {row.cell.name: row.cell for row in rows}
    assert len(rows) == 5 * len(cells) == 5 * 32
    there = {name: {row.part for row in rows if row.cell.name == name and row.has_part} for name in cells}
    assert len({frozenset(parts) for parts in there.values()}) == 32  # every combination, once
    for mix in {cell.mix for cell in cells.values()}:
        of_mix = [there[name] for name, cell in cells.items() if cell.mix == mix]
        for one, other in combinations(grid.PARTS, 2):
            seen = Counter((one in parts, other in parts) for parts in of_mix)
            assert seen == dict.fromkeys(product((False, True), repeat=2), 2)
    for three in combinations(grid.PARTS, 3):  # over all settings no part is mixed with a pair of others
        signs = [math.prod(1 if part in parts else -1 for part in three) for parts in there.values()]
        assert sum(signs) == 0
    for mix in {cell.mix for cell in cells.values()}:  # with two seeds, not in a setting either
        rows_of_mix = [row for row in grid.parts([0, 1]) if row.cell.mix == mix]
        both = defaultdict(set)
        for row in rows_of_mix:
            both[row.cell.name] |= {row.part} if row.has_part else set()
        assert len(both) == 16
        for three in combinations(grid.PARTS, 3):
            assert sum(math.prod(1 if part in parts else -1 for part in three) for parts in both.values()) == 0


def test_without_all_its_parts_a_recipe_is_plain_mixing(grid: ModuleType) -> None:
    recipe = {"task": ["a"], **read_preset("edge")}
    assert sorted(name for names in grid.PARTS.values() for name in names) == sorted(grid.PLAIN)
    for row in grid.parts([0]):
        config = FitConfig.model_validate(recipe | dict(row.cell.settings))
        for name in grid.PARTS[row.part]:
            assert getattr(config, name) == (recipe[name] if row.has_part else grid.PLAIN[name])
    arms = Counter(row.cell.name.split("~")[1] for row in grid.parts([0]))
    assert {arm: arms[arm] for arm in ("loddis", "apart", "plain")} == dict.fromkeys(("loddis", "apart", "plain"), 5)
    assert not arms.keys() & {"parts+++++", "parts++++-", "parts-----"}  # equal cells have one name


def test_the_domain_left_out_is_seen_by_nobody(grid: ModuleType) -> None:
    rows = list(grid.leave_one_out([0]))
    assert {row.column for row in rows} == {"plain", "loddis", "SK alone", "GR alone", "CI alone"}
    for row in rows:
        trained = {code for code, _ in (*row.cell.mix.task, *row.cell.mix.auxiliary)}
        assert row.tested not in trained
        assert row.tested in row.cell.mix.tested
    assert len({row.cell.name for row in rows}) == 3 * 2 + 3


def test_windows_differ_in_nothing_else(grid: ModuleType) -> None:
    rows = list(grid.windows([0]))
    assert {(row.label, row.column) for row in rows} == {
        (f"→{code}", column) for code in ("SK", "CI") for column in ("T = 1", "T = 3, registered")
    }
    one, three = ({row.cell for row in rows if row.column.startswith(f"T = {t}")} for t in (1, 3))
    (short,), (long,) = one, three
    assert short.mix == long.mix
    assert dict(long.settings) == {**dict(short.settings), "window": 3, "register_window": True}
    assert short in {row.cell for row in grid.leave_one_out([0])}  # trained once


def test_figures_that_other_code_left_are_not_taken(
    grid: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = benchmark_module("mixed_domain")
    monkeypatch.setattr(sys, "argv", ["mixed_domain.py", "--out", str(tmp_path)])
    options = benchmark.parse_options()
    cell = next(grid.grid(0.3, ("only",), [0])).cell
    scores = {"SK": {"map50": 0.5}}
    asked = benchmark.asked_of(cell, options)
    (tmp_path / cell.name).mkdir()
    for found, expected in ((asked, scores), ({**asked, "code": "another"}, None)):
        (tmp_path / cell.name / "figures.json").write_text(json.dumps({"asked": found, "scores": scores}))
        assert benchmark.finished(cell, options) == expected


def planned(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, set[str]]:
    """Give the labels of each table that a command asks for."""
    benchmark = benchmark_module("mixed_domain")
    monkeypatch.setattr(sys, "argv", ["mixed_domain.py", *words])
    return {title: {row.label for row in rows} for title, rows in benchmark.planned(benchmark.parse_options()).items()}


def test_a_small_grid_and_a_narrowed_one_have_no_more_than_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    every, small = planned(monkeypatch), planned(monkeypatch, "--small")
    assert set(every) - set(small) == {"Windows"}
    assert {len(small[f"{share} % of the task domain"]) for share in (30, 5)} == {6}
    assert len(every["30 % of the task domain"]) == 9
    only = planned(monkeypatch, "--only", "→CI")
    settings = {label for title, labels in only.items() if not title.startswith("Ablation") for label in labels}
    assert {label.split("→")[1] for label in settings} == {"CI"}
    assert set(only) == {*every, "Ablation, 3CI+7SK→CI"} - {"Ablation, 3SK+7GR→SK"}
    assert planned(monkeypatch, "--only", "3SK+7GR→SK").keys() == {"30 % of the task domain", "Ablation, 3SK+7GR→SK"}
    assert "Ablation, 0.5SK+7GR→SK" in planned(monkeypatch, "--shares", "0.05")
    with pytest.raises(SystemExit, match="--ablate: no setting 9SK→SK; there are 3SK"):
        planned(monkeypatch, "--ablate", "9SK→SK")
    with pytest.raises(SystemExit, match="--ablate: no setting 3SK"):
        planned(monkeypatch, "--ablate", "3SK+7GR→SK", "--only", "→CI")


def test_tables_say_means_spreads_gains_and_who_was_hurt(grid: ModuleType, tables: ModuleType) -> None:
    wanted = [r for r in grid.grid(0.3, ("only", "plain", "loddis"), [0, 1]) if r.label in ("3SK+7GR→SK", "3CI+7GR→CI")]
    values = {"3SK~plain": 0.5, "3SK+7GR~plain": 0.4, "3SK+7GR~loddis": 0.6}
    values |= {"3CI~plain": 0.7, "3CI+7GR~plain": 0.8, "3CI+7GR~loddis": 0.61}
    scores = {
        row.cell.name: {
            row.tested: {
                "map50": values[row.cell.name.rpartition("~")[0]] + 0.02 * row.cell.seed,
                "pd_at_fa_0.1": 0.9,
                "mean_pd": 0.8,
            }
        }
        for row in wanted
    }
    summary = tables.summarise(wanted, scores)
    assert summary["3SK+7GR→SK"]["plain"]["map50"]["mean"] == pytest.approx(0.41)
    assert summary["3SK+7GR→SK"]["plain"]["map50"]["std"] == pytest.approx(0.02 / 2**0.5)
    text = tables.markdown(
        {
            "split": "val",
            "recipe": {"epochs": 1, "steps_per_epoch": 5, "batch_size": 4, "variant": "nano"},
            "seeds": [0, 1],
            "machine": {"processor": "p", "torch": "t"},
            "tables": {"Some": summary},
        }
    )
    pd = "90.0 ± 0.0 / 80.0 ± 0.0"
    assert f"| 3SK+7GR→SK | 51.0 ± 1.4 / {pd} | 41.0 ± 1.4 / {pd} | 61.0 ± 1.4 / {pd} |" in text
    assert f"| 3CI+7GR→CI | 71.0 ± 1.4 / {pd} | 81.0 ± 1.4 / {pd} | 62.0 ± 1.4 / {pd} |" in text
    assert "Loddis over plain mixing: +0.5 / +0.0 / +0.0 on average over 2 settings; mAP50 +20.0, -19.0." in text
    assert "Loddis over the task domain only: +0.5 / +0.0 / +0.0 on average over 2 settings; mAP50 +10.0, -9.0." in text
    assert "Negative shift with `plain`: 1 of 2: 3SK+7GR→SK." in text
    assert "Negative shift with `loddis`: 1 of 2: 3CI+7GR→CI." in text


def test_tables_say_what_a_part_is_worth(grid: ModuleType, tables: ModuleType) -> None:
    rows = list(grid.parts([0]))
    level = {"0.5GR+7SK→GR": 0.3, "0.5CI+7GR→CI": 0.1, "0.5SK+7CI→SK": 0.6, "3GR+7CI→GR": 0.5}
    scores = {}
    for row in rows:
        (code,) = row.cell.mix.tested
        found = scores.setdefault(row.cell.name, {code: dict.fromkeys(tables.FIGURES, level[row.cell.mix.label])})
        found[code]["map50"] += 0.03 * (row.part == "statistics apart" and row.has_part)
        found[code]["mean_pd"] -= 0.02 * (row.part == "the three losses" and row.has_part)
    # A third of the cells may lack: settings and parts are told apart all the same.
    for names in (list(scores), list(scores)[::3] + list(scores)[1::3]):
        worth = tables.effects(rows, {name: scores[name] for name in names})
        assert worth["cells"] == len(names)
        assert worth["scatter"]["map50"] == pytest.approx(0, abs=1e-9)
        assert set(worth["parts"]) == set(grid.PARTS)
        assert worth["parts"]["statistics apart"]["map50"]["effect"] == pytest.approx(0.03)
        assert worth["parts"]["losses by domain"]["map50"]["effect"] == pytest.approx(0, abs=1e-9)
        assert worth["parts"]["the three losses"]["mean_pd"]["effect"] == pytest.approx(-0.02)
    text = "\n".join(tables.effects_table(tables.effects(rows, scores))).replace("-0.0", "+0.0")
    assert "| statistics apart | +3.0 ± 0.0 | +0.0 ± 0.0 | +0.0 ± 0.0 |" in text


def test_the_worth_of_a_part_comes_with_how_well_it_is_known(grid: ModuleType, tables: ModuleType) -> None:
    rows = list(grid.parts([0]))
    tested = {row.cell.name: row.cell.mix.tested[0] for row in rows}
    random = np.random.default_rng(0)
    scatters = []
    for _ in range(20):
        noise = random.normal(0.5, 0.05, len(tested))
        scores = {
            name: {code: dict.fromkeys(tables.FIGURES, value)}
            for (name, code), value in zip(tested.items(), noise, strict=True)
        }
        worth = tables.effects(rows, scores)
        scatters.append(worth["scatter"]["map50"])
        for of_part in worth["parts"].values():  # 16 cells against 16, all parts there as often as not
            assert of_part["map50"]["standard_error"] == pytest.approx(scatters[-1] * (2 / 16) ** 0.5)
    assert np.mean(scatters) == pytest.approx(0.05, rel=0.1)
    assert tables.effects(rows, {name: scores[name] for name in list(tested)[:4]}) == {}, "too few to tell parts by"
    assert tables.effects(rows, {}) == {}
