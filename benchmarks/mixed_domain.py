"""Does an auxiliary domain help, and does Loddis keep it from hurting? The settings of the paper on three real domains.

    LODDIS_DATA=data python benchmarks/mixed_domain.py --out runs/mixed --seeds 0,1,2 --split test \\
        --json runs/mixed/figures.json --table runs/mixed/tables.md

Five tables, every figure with its spread over seeds, and one for those who look for a recipe (`--tables parts`):

- six settings of two domains and three of three, with 30 % and with 5 % of the task domain: task domain only, both
  merged, plain mixture, the recipe without the three losses, and with them: Loddis;
- table 3's eight rows on one setting;
- leave one domain out: trained on two, tested on the third, of which nothing was seen; plain, Loddis, and each alone;
- windows of three frames against single ones, where there are sequences;
- parts of the recipe, each left out of half of 32 cells in four settings.

Where there is no GPU, `--small` asks for a part of it: the six settings of two domains as task domain only, plain and
Loddis, the ablation, and domains never seen: 46 cells of four to five minutes each, two at once on two cores. `--only`
narrows every table.

Every cell takes the same number of steps. A grid that was stopped goes on where it was: each finished cell leaves its
figures in its folder, with what it was asked, and is run anew if that has changed. `--jobs` trains several cells at
once, which is what fills a GPU with a `nano`. While a recipe is being looked for, `--split val`, or `--split unused`:
what a cell leaves of `train`, of more clips than `val` has. Where sequences are single frames, as in `ground`, they are
of flights that were seen, often next to one that was trained on. `test` is for the recipe that was chosen.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

from grid import (
    ARMS,
    DOMAINS,
    TASK_SHARES,
    Arm,
    Cell,
    Row,
    ablation,
    grid,
    leave_one_out,
    mixes,
    parts,
    windows,
)
from grid_tables import Scores, effects, markdown, summarise
from machine import describe_machine
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import loddis_runtime
import loddis_trainer
from loddis_trainer.config import FitConfig
from loddis_trainer.presets import merge, read_preset

FIGURES = "figures.json"
TABLES = ("mixtures", "ablation", "unseen", "windows")
EXTRA_TABLES = ("parts",)
OF_A_CELL = {  # settings that each cell has its own of, or that say where it is trained
    *("task", "auxiliary", "out", "data_root", "cache_dir", "init", "init_part", "resume", "seed", "mixture_seed"),
    *("accelerator", "devices", "threads", "workers"),
}
SMALL_ARMS: tuple[Arm, ...] = ("only", "plain", "loddis")
SMALL_TABLES = ("mixtures", "ablation", "unseen")


def main() -> None:
    """Run what is missing, print tables, write JSON and Markdown if asked."""
    options = parse_options()
    if options.cell:
        run_cell(json.loads(options.cell), options)
        return
    tables = planned(options)
    part_rows = list(parts(options.seeds)) if "parts" in options.tables else []
    cells = {row.cell.name: row.cell for row in (*part_rows, *(row for rows in tables.values() for row in rows))}
    started = time.monotonic()
    with alone_in(options.out) as lock:
        run_missing(list(cells.values()), options, lock=lock)
    every = {name: finished(cell, options) for name, cell in cells.items()}
    scores = {name: found for name, found in every.items() if found is not None}
    result = {
        "machine": describe_machine("torch", "lightning-fabric", "numpy", "loddis"),
        "recipe": settings_of(options),
        "code": code_digest(),
        "split": options.split,
        "evaluated_frames": options.evaluate_frames,
        "seeds": options.seeds,
        "seconds_of_this_run": round(time.monotonic() - started),
        "tables": {title: summarise(rows, scores) for title, rows in tables.items()},
        "parts": effects(part_rows, scores),
        "cells": scores,
    }
    text = markdown(result)
    Console().print(text, soft_wrap=True, markup=False, highlight=False)
    for path, content in ((options.json, json.dumps(result, indent=1) + "\n"), (options.table, text)):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    if len(scores) < len(cells):
        sys.exit(f"{len(cells) - len(scores)} of {len(cells)} cells failed; their logs are in {options.out}")


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[int]:
    """Keep a folder of cells to this run: another would begin those anew that this one is training.

    Gives the lock's file descriptor, for the processes of the cells: they may outlive this one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"--out: another run is at work in {folder}")
        yield lock.fileno()


def parse_options() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/mixed-domain"), help="folder of the cells")
    parser.add_argument("--preset", default="edge", help="recipe of every cell: a preset or a YAML file")
    parser.add_argument("--steps", type=int, default=1000, help="steps of every training")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=[0])
    parser.add_argument("--arms", type=lambda text: text.split(","), help=f"of {','.join(ARMS)}")
    parser.add_argument("--shares", type=lambda text: [float(s) for s in text.split(",")], default=list(TASK_SHARES))
    parser.add_argument("--only", action="append", help="only rows whose label has this in it: 3SK+7GR→SK, →CI")
    parser.add_argument(
        "--tables",
        type=lambda text: text.split(","),
        help=f"of {','.join((*TABLES, *EXTRA_TABLES))}; by default all but the last",
    )
    parser.add_argument("--ablate", help="setting of the ablation; the first wanted one by default")
    parser.add_argument("--small", action="store_true", help="what a CPU finishes overnight, see above")
    parser.add_argument("--split", choices=("val", "unused", "test"), default="val", help="what figures are of")
    parser.add_argument("--evaluate-frames", type=int, default=0, help="most frames of a split, evenly spaced; 0: all")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="cells at once")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of a cell; 0: cores / jobs")
    parser.add_argument("--workers", type=int, default=0, help="loader processes of a cell")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--table", type=Path, help="file for the Markdown tables")
    parser.add_argument("--cell", help=argparse.SUPPRESS)  # a process of its own: the cell, as JSON
    options = parser.parse_args()
    options.arms = options.arms or (SMALL_ARMS if options.small else ARMS)
    options.tables = options.tables or (SMALL_TABLES if options.small else TABLES)
    unknown = set(options.arms) - set(get_args(Arm))
    if unknown:
        parser.error(f"--arms: no such arm: {', '.join(sorted(unknown))}")
    if unknown := set(options.tables) - {*TABLES, *EXTRA_TABLES}:
        parser.error(f"--tables: no such table: {', '.join(sorted(unknown))}")
    if options.split == "unused":
        whole = sorted(set(options.tables) & {"unseen", "windows"})
        if whole or max(options.shares) >= 1:
            taker = f"the tables {' and '.join(whole)} train" if whole else "--shares 1 trains"
            parser.error(f"--split unused: {taker} on all of a domain; choose others, as --tables mixtures")
    if "parts" in options.tables and options.only:
        parser.error("--only: the table parts has settings of its own")
    options.threads = options.threads or max(1, len(os.sched_getaffinity(0)) // options.jobs)
    return options


def planned(options: argparse.Namespace) -> dict[str, list[Row]]:
    """Give the rows of every table."""
    settings = {mix.label: mix for share in options.shares for mix in mixes(share)}
    candidates = [label for label in settings if wanted(label, options)]
    ablated = options.ablate or next(iter(candidates), None)
    if options.ablate and options.ablate not in candidates:
        sys.exit(f"--ablate: no setting {options.ablate}; there are {', '.join(candidates) or 'none'}")
    tables: dict[str, list[Row]] = {}
    if "mixtures" in options.tables:
        for share in options.shares:
            rows = (row for row in grid(share, options.arms, options.seeds) if wanted(row.label, options))
            if options.small:
                rows = (row for row in rows if len(settings[row.label].auxiliary) == 1)
            tables[f"{100 * share:g} % of the task domain"] = list(rows)
    if "ablation" in options.tables and ablated is not None:
        tables[f"Ablation, {ablated}"] = list(ablation(settings[ablated], options.seeds))
    if "unseen" in options.tables:
        tables["Never seen"] = [row for row in leave_one_out(options.seeds) if wanted(row.label, options)]
    if "windows" in options.tables:
        tables["Windows"] = [row for row in windows(options.seeds) if wanted(row.label, options)]
    return {title: rows for title, rows in tables.items() if rows}


def wanted(label: str, options: argparse.Namespace) -> bool:
    """Tell whether a setting or an unseen domain is among those asked for."""
    return not options.only or any(part in label for part in options.only)


def recipe_of(options: argparse.Namespace) -> dict[str, Any]:
    """Give what all cells share."""
    common = {
        "batch_size": options.batch_size,
        "steps_per_epoch": options.steps,
        "epochs": 1,
        "warmup_steps": min(200, options.steps // 5),
        "validate_frames": 50,  # chooses nothing: figures are of the last weights, measured at the end
        "evidence_frames": 0,
    }
    return merge(read_preset(options.preset), common)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Give what all cells share, with the defaults that it was trained with."""
    config = FitConfig.model_validate({"task": ["any"], **recipe_of(options)})
    return config.model_dump(mode="json", exclude=OF_A_CELL)


def run_missing(cells: Sequence[Cell], options: argparse.Namespace, *, lock: int) -> None:
    """Train and test the cells that have no figures yet, each in a process of its own."""
    missing = [cell for cell in cells if finished(cell, options) is None]
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )
    with bar, ThreadPoolExecutor(options.jobs) as pool:
        task = bar.add_task("cells", total=len(cells), completed=len(cells) - len(missing))
        for cell, fault in zip(missing, pool.map(lambda one: in_own_process(one, options, lock), missing), strict=True):
            bar.advance(task)
            if fault:
                bar.console.print(f"{cell.name} failed: {fault}", markup=False)


def asked_of(cell: Cell, options: argparse.Namespace) -> dict[str, Any]:
    """Say all that a cell's figures depend on but the machine, as JSON has it."""
    document = {
        "name": cell.name,
        "seed": cell.seed,
        "recipe": merge(recipe_of(options), dict(cell.settings)),
        "task": [f"{DOMAINS[code]}:{share}" for code, share in cell.mix.task],
        "auxiliary": [f"{DOMAINS[code]}:{share}" for code, share in cell.mix.auxiliary],
        "tested": list(cell.mix.tested),
        "split": options.split,
        "evaluate_frames": options.evaluate_frames,
        "code": code_digest(),
    }
    return dict(json.loads(json.dumps(document)))


@functools.cache
def code_digest() -> str:
    """Give a digest of what trains and tests, defaults included."""
    digest = hashlib.sha256()
    for package in (loddis_runtime, loddis_trainer):
        folder = Path(package.__file__ or "").parent
        for file in sorted(file for suffix in ("*.py", "*.yaml") for file in folder.rglob(suffix)):
            digest.update(file.relative_to(folder.parent).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def finished(cell: Cell, options: argparse.Namespace) -> Scores | None:
    """Give the figures of a cell, if it left any and was asked what is asked now."""
    file = options.out / cell.name / FIGURES
    if not file.is_file():
        return None
    document = json.loads(file.read_text())
    scores: Scores = document["scores"]
    return scores if document["asked"] == asked_of(cell, options) else None


def in_own_process(cell: Cell, options: argparse.Namespace, lock: int) -> str | None:
    """Run a cell; give the last line of its log if it failed."""
    folder = options.out / cell.name
    shutil.rmtree(folder, ignore_errors=True)  # a cell that was stopped begins anew
    folder.mkdir(parents=True)
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(
            [sys.executable, *sys.argv, "--cell", json.dumps(asked_of(cell, options))],
            stdout=log,
            stderr=log,
            check=False,
            pass_fds=(lock,),
        )
    if done.returncode == 0:
        return None
    lines = (folder / "log.txt").read_text().strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"


def run_cell(cell: dict[str, Any], options: argparse.Namespace) -> None:
    """Train and test a cell and write its figures."""
    from grid_cell import train_and_test

    if cell["code"] != code_digest():
        sys.exit("the code has changed since this run began: start it anew")
    folder = options.out / cell["name"]
    here = {"accelerator": options.accelerator, "threads": options.threads, "workers": options.workers}
    scores = train_and_test(cell, folder / "run", here)
    building = folder / f".{FIGURES}"
    building.write_text(json.dumps({"asked": cell, "scores": scores}, indent=1))
    building.rename(folder / FIGURES)
    shutil.rmtree(folder / "run")  # weights of a few hundred cells are of no use


if __name__ == "__main__":
    main()
