"""The whole of training on small domains, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from loddis_runtime.command import run
from loddis_trainer.averaging import average_checkpoints
from loddis_trainer.checkpoint import read_info, read_weights
from loddis_trainer.cli import Trainer
from loddis_trainer.config import FitConfig
from loddis_trainer.data import DataError
from loddis_trainer.errors import CheckpointError, TrainingError
from loddis_trainer.fit import fit
from loddis_trainer.losses.branches import BranchLosses, LoddisBranches
from loddis_trainer.training_model import TrainingModel
from support.domains import write_coco_domain, write_drone_csv_domain
from support.fitting import short_run


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("domains")
    write_drone_csv_domain(root / "dark", frames=6)
    write_coco_domain(root / "bright")
    write_coco_domain(root / "clips", clips=True, splits={"train": 3, "val": 1, "test": 1})
    return root


def make_config(domains: Path, out: Path, **changes: object) -> FitConfig:
    return short_run(domains, out, **({"auxiliary": ["bright", "clips"]} | changes))


def history(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_detector_learns_to_find_the_spots(domains: Path, tmp_path: Path) -> None:
    config = make_config(
        domains, tmp_path / "run", epochs=30, share_per_epoch=1.0, learning_rate=3e-3, ema_decay=0.9, validate_every=10
    )
    result = fit(config, progress=False)
    assert result.best_map50 > 0.5
    best = read_info(tmp_path / "run" / "best")
    assert best.best_map50 == pytest.approx(result.best_map50)
    assert best.score_threshold is not None
    assert [domain.role for domain in best.domains] == ["task", "auxiliary", "auxiliary"]
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))
    train = history(tmp_path / "run")[-1]["train"]
    assert isinstance(train, dict)


APART = {"auxiliary_statistics": "own", "loss_balance": "domain", "crop_hw": (32, 64)}


@pytest.mark.parametrize("more", [{}, APART], ids=["together", "apart"])
def test_going_on_equals_never_having_stopped(domains: Path, tmp_path: Path, more: dict[str, object]) -> None:
    same = {"schedule": "constant", **more}
    fit(make_config(domains, tmp_path / "straight", **same), progress=False)
    fit(make_config(domains, tmp_path / "parts", **same, epochs=1), progress=False)
    fit(make_config(domains, tmp_path / "parts", **same, resume=True), progress=False)
    weights = [(tmp_path / run / "last" / "weights.safetensors").read_bytes() for run in ("straight", "parts")]
    assert weights[0] == weights[1]
    assert read_info(tmp_path / "parts" / "last").epoch == 2


def test_a_share_that_moves_is_seen_in_what_is_drawn(
    domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def watch(model: TrainingModel, *batch: Any) -> Any:
        drawn.append(float((batch[-1] == 0).float().mean()))
        return whole(model, *batch)

    whole = TrainingModel.forward
    monkeypatch.setattr(TrainingModel, "forward", watch)
    moving = {"batch_size": 10, "steps_per_epoch": 4, "task_share": 0.5, "final_task_share": 0.8, "epochs": 2}
    fit(make_config(domains, tmp_path / "run", balance="domain", **moving, **APART), progress=False)
    assert drawn == pytest.approx([0.5, 0.6, 0.6, 0.7, 0.8, 0.8, 0.8, 0.8], abs=0.051)
    assert drawn == sorted(drawn)


def test_a_run_is_not_written_over_and_not_resumed_as_something_else(domains: Path, tmp_path: Path) -> None:
    fit(make_config(domains, tmp_path / "run", epochs=1), progress=False)
    with pytest.raises(TrainingError, match="holds a run already"):
        fit(make_config(domains, tmp_path / "run"), progress=False)
    with pytest.raises(TrainingError, match=r"batch_size was 6, is 4"):
        fit(make_config(domains, tmp_path / "run", resume=True, batch_size=4), progress=False)
    with pytest.raises(CheckpointError, match="does not exist"):
        fit(make_config(domains, tmp_path / "other", resume=True), progress=False)


def test_a_second_stage_starts_from_the_weights_of_the_first(domains: Path, tmp_path: Path) -> None:
    fit(make_config(domains, tmp_path / "one", epochs=1), progress=False)
    second = make_config(
        domains, tmp_path / "two", init=tmp_path / "one" / "last", auxiliary=["clips"], learning_rate=1e-12, epochs=1
    )
    fit(second, progress=False)
    first_weights, second_weights = (read_weights(tmp_path / run / "last") for run in ("one", "two"))
    kernels = [name for name in first_weights if name.startswith("detector.") and name.endswith("conv.weight")]
    assert kernels
    for name in kernels:
        assert torch.allclose(first_weights[name], second_weights[name], atol=1e-6)
    assert [stage["epochs"] for stage in read_info(tmp_path / "two" / "last").earlier] == [1]
    with pytest.raises(CheckpointError, match="does not fit: its weight"):
        fit(make_config(domains, tmp_path / "three", init=tmp_path / "one" / "last", variant="tiny"), progress=False)


def test_epochs_are_kept_for_averages(domains: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(make_config(domains, run, epochs=4, keep_every=2), progress=False)
    kept = sorted(run.glob("epoch-*"))
    assert [folder.name for folder in kept] == ["epoch-002", "epoch-004"]
    assert [read_info(folder).epoch for folder in kept] == [2, 4]
    first, second, last = (read_weights(folder) for folder in (*kept, run / "last"))
    assert all(torch.equal(second[name], last[name]) for name in last)
    assert any(not torch.equal(first[name], last[name]) for name in last)
    mean = average_checkpoints(kept, tmp_path / "mean")
    assert mean.averaged == tuple(map(str, kept))


def test_a_training_that_learns_nothing_more_stops_early_and_stays_stopped(domains: Path, tmp_path: Path) -> None:
    stuck = {"learning_rate": 1e-12, "epochs": 9, "patience": 2, "share_per_epoch": 0.3}
    result = fit(make_config(domains, tmp_path / "run", **stuck), progress=False)
    assert result.epochs == 3  # the first is the best there is, the next two are no better
    again = fit(make_config(domains, tmp_path / "run", **stuck, resume=True), progress=False)
    assert again.epochs == 3
    further = fit(make_config(domains, tmp_path / "run", **stuck | {"patience": 3}, resume=True), progress=False)
    assert further.epochs == 4


def test_the_reversal_follows_its_schedule(domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    original = LoddisBranches.forward

    def forward(self: LoddisBranches, *args: Any, **options: Any) -> BranchLosses:
        seen.append(self.reversal_strength)
        return original(self, *args, **options)

    monkeypatch.setattr(LoddisBranches, "forward", forward)
    fit(make_config(domains, tmp_path / "run", reversal_strength=0.5, reversal_schedule="ramp"), progress=False)
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert 0.4 < seen[-1] < 0.5


def test_every_epoch_has_its_losses(domains: Path, tmp_path: Path) -> None:
    """However few steps it has."""
    fit(make_config(domains, tmp_path / "run", share_per_epoch=0.2), progress=False)
    for epoch in history(tmp_path / "run"):
        train = epoch["train"]
        assert isinstance(train, dict)
        assert {"total", "box", "objectness", "classes", "correlation", "confusion", "consistency"} <= set(train)
        assert all(np.isfinite(value) for value in train.values())


def test_nothing_to_validate_on_is_refused_at_the_start(domains: Path, tmp_path: Path) -> None:
    write_coco_domain(tmp_path / "unlabelled")
    file = tmp_path / "unlabelled" / "instances_val.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"annotations": []}))
    with pytest.raises(TrainingError, match="'val' of unlabelled has no target"):
        fit(make_config(tmp_path, tmp_path / "run", task=["unlabelled"], auxiliary=[]), progress=False)
    assert not (tmp_path / "run").exists()


def test_a_class_that_no_domain_has_is_told_of(domains: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    changes = {"epochs": 1, "steps_per_epoch": 1, "evidence_frames": 0}
    fit(make_config(domains, tmp_path / "known", **changes), progress=False)
    assert "nothing is learnt" not in caplog.text
    labels = ("drone", "person", "bird", "balloon")
    fit(make_config(domains, tmp_path / "unknown", classes=labels, **changes), progress=False)
    assert "none of the frames to train on has a target of bird, balloon: nothing is learnt of it" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is asked for")
def test_a_device_that_is_not_there_is_said_in_one_line(
    domains: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--task", "dark", "--data-root", str(domains), "--out", str(tmp_path / "run")]
    assert run(Trainer, [*words, "--accelerator", "cuda"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("loddis-trainer: error: cannot train on 1 of cuda")
    assert error.count("\n") == 1


def test_a_loss_that_is_not_finite_stops_and_names_the_frames(domains: Path, tmp_path: Path) -> None:
    config = make_config(domains, tmp_path / "run", learning_rate=1e6, warmup_steps=0, clip_grad_norm=0.0, epochs=4)
    with pytest.raises(TrainingError, match=r"not finite .* on the frames .*dark/.* are in \S*stopped\b"):
        fit(config, progress=False)
    kept = read_weights(tmp_path / "run" / "stopped")
    assert all(bool(value.isfinite().all()) for value in kept.values())
    assert read_info(tmp_path / "run" / "stopped").step > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": ["nowhere"]}, "no domain 'nowhere' under .*; there are: .*bright"),
        ({"auxiliary": ["dark:0.5"]}, "domain 'dark' is auxiliary and task domain at once"),
        ({"batch_size": 4096}, "does not fill a batch"),
    ],
)
def test_a_mixture_that_cannot_be_says_why(
    domains: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fit(make_config(domains, tmp_path / "run", **changes), progress=False)


def test_the_command_trains_and_evaluates(domains: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = f"--data-root {domains} --cache-dir {domains / 'cache'}".split()
    fit_words = "fit --task dark:0.5 --auxiliary bright --epochs 1 --batch-size 4 --share-per-epoch 1 --size-hw 64,96"
    place = tmp_path / "a [/] run"  # to rich, that would be markup
    words = [*fit_words.split(), "--accelerator", "cpu", "--out", str(place), *flags]
    assert run(Trainer, [*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["epochs"] == 1
    assert run(Trainer, [*words, "--resume"]) == 0
    assert f": {place / 'best'}" in capsys.readouterr().out

    out = tmp_path / "metrics.json"
    assert run(Trainer, ["evaluate", str(place), "--on", "dark:val", *flags]) == 1
    assert f"is a run, not a checkpoint: give {place / 'best'} or" in capsys.readouterr().err
    words = ["evaluate", str(place / "best"), "--on", "dark:val", "--on", "bright:test", "--out", str(out)]
    assert run(Trainer, [*words, *flags]) == 0
    assert "mAP50" in capsys.readouterr().out
    metrics = json.loads(out.read_text())
    assert set(metrics) == {"dark:val", "bright:test"}
    assert metrics["dark:val"]["frames"] == 12
    assert run(Trainer, [*words[:4], "--json", *flags]) == 0
    assert json.loads(capsys.readouterr().out)["dark:val"]["targets"] == 12


def test_the_command_fails_in_one_line(domains: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Trainer, ["fit", "--task", "nowhere", "--data-root", str(domains), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("loddis-trainer: error: no domain 'nowhere'")
    for flags, message in (
        (["--size-hw", "100,100"], "multiples of 32"),
        (["--auxiliary", "sky:1.5"], "--auxiliary: a domain is written NAME or NAME:FRACTION"),
        (["--classes", ""], "class names must differ"),
        (["--classes", "bird", "--classes", "Bird"], "class names must differ"),
        (["--seed", "-1"], "--seed"),
        (["--learning-rate", "inf"], "--learning-rate: input should be a finite number"),
        (["--alpha", "nan"], "--alpha"),
        (["--augment.noise", "nan"], "--augment.noise"),
        (["--embed-channels", "10000000000"], "--embed-channels"),
        (["--threads", "100000"], "--threads"),
    ):
        assert run(Trainer, ["fit", "--task", "dark", *flags]) == 2, flags
        assert message in capsys.readouterr().err
    assert run(Trainer, ["evaluate", str(tmp_path), "--on", "dark"]) == 2
    assert "DOMAIN:SPLIT" in capsys.readouterr().err
    for out in (tmp_path, tmp_path / "none" / "metrics.json"):
        assert run(Trainer, ["evaluate", str(tmp_path), "--on", "dark:val", "--out", str(out)]) == 1
        assert "--out must be a file in a folder that exists" in capsys.readouterr().err
    assert run(Trainer, ["evaluate", str(tmp_path / "none"), "--on", "dark:val"]) == 1
