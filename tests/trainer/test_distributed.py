"""Two processes train one model: by torchrun, on CPU cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loddis_trainer.checkpoint import read_info, read_weights
from support.fitting import write_dark_and_bright


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dark_and_bright(tmp_path_factory.mktemp("distributed"), videos=4, frames=6)


def train(domains: Path, out: Path, *, processes: int, batch_size: int, more: tuple[str, ...] = ()) -> str:
    words = [
        *("fit", "--task", "dark", "--auxiliary", "bright", "--data-root", str(domains)),
        *("--cache-dir", str(domains / "cache"), "--out", str(out), "--size-hw", "64,64", "--accelerator", "cpu"),
        *("--devices", str(processes), "--batch-size", str(batch_size), "--share-per-epoch", "1", "--epochs", "2"),
        *("--precision", "32-true", "--threads", "1", "--balance", "domain", *more),
    ]
    command = [str(Path(sys.executable).with_name("loddis-trainer"))]
    if processes > 1:
        torchrun = (sys.executable, "-m", "torch.distributed.run", "--no-python", "--standalone")
        command = [*torchrun, "--nproc-per-node", str(processes), *command]
    done = launch([*command, *words])
    assert done.returncode == 0, done.stderr
    return done.stdout


def launch(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_two_processes_share_the_work_and_one_speaks(domains: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    own = ("--auxiliary-statistics", "own", "--crop-hw", "32,64", "--loss-balance", "domain")
    own = (*own, "--final-task-share", "0.9")
    spoken = train(domains, out, processes=2, batch_size=4, more=own)
    assert spoken.count("2 epochs, 8 steps") == 1  # 32 frames, two batches of four a step
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [epoch["step"] for epoch in history] == [4, 8]
    assert all({"correlation", "confusion", "consistency"} <= epoch["train"].keys() for epoch in history)
    assert read_info(out / "best").step > 0

    spoken = train(domains, out, processes=2, batch_size=4, more=("--epochs", "3", "--resume", *own))
    assert spoken.count("3 epochs, 12 steps") == 1
    assert len((out / "history.jsonl").read_text().splitlines()) == 3


SPOILT = """
import sys
from dataclasses import replace
from loddis_trainer import fit as fit_module
from loddis_trainer.cli import main

take, taken = fit_module.train_step, 0


def spoilt(fabric, model, optimiser, batch, **options):
    global taken
    taken += 1
    if taken == 3 and fabric.global_rank == 1:
        batch = replace(batch, frames=batch.frames * float("nan"))
    return take(fabric, model, optimiser, batch, **options)


fit_module.train_step = spoilt
main()
"""


def test_a_fault_in_one_process_ends_all_and_the_first_saves(domains: Path, tmp_path: Path) -> None:
    """Of processes that go on, each would wait for the other for ever."""
    script, out = tmp_path / "spoilt.py", tmp_path / "run"
    script.write_text(SPOILT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    command += ["fit", "--task", "dark", "--auxiliary", "bright", "--data-root", str(domains), "--devices", "2"]
    command += ["--cache-dir", str(domains / "cache"), "--out", str(out), "--size-hw", "64,64", "--accelerator", "cpu"]
    command += ["--batch-size", "4", "--precision", "32-true", "--threads", "1", "--balance", "domain"]
    done = launch([*command, "--share-per-epoch", "1"])
    assert done.returncode != 0
    (line, *others) = (line for line in done.stderr.splitlines() if "error: the loss is not finite (" in line)
    assert "on the frames " in line
    assert f"; the averaged weights of the 2 steps before are in {out / 'stopped'}; there is no last/" in line
    assert set(others) <= {line}
    assert all(bool(value.isfinite().all()) for value in read_weights(out / "stopped").values())
    assert read_info(out / "stopped").step == 2
    assert not (out / "last").exists()
