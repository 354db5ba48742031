"""What a training leaves when it is cut short, and what the next one makes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from loddis_trainer import fit as fit_module
from loddis_trainer.building import build_optimiser, build_training_model
from loddis_trainer.checkpoint import INFO, CheckpointInfo, read_info, save_checkpoint
from loddis_trainer.config import FitConfig
from loddis_trainer.data import Batch
from loddis_trainer.errors import CheckpointError, TrainingError
from loddis_trainer.fit import fit
from loddis_trainer.step import train_step
from support.domains import write_coco_domain, write_drone_csv_domain
from support.fitting import short_run


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recovery")
    write_drone_csv_domain(root / "dark", splits={"train": 4, "val": 1}, frames=4)
    write_coco_domain(root / "bright")
    return root


def make_config(domains: Path, out: Path, **changes: object) -> FitConfig:
    return short_run(domains, out, **({"epochs": 1, "steps_per_epoch": 2, "batch_size": 4} | changes))


@pytest.fixture(scope="module")
def first(domains: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a run of one epoch."""
    out = tmp_path_factory.mktemp("runs") / "first"
    fit(make_config(domains, out), progress=False)
    return out


def epochs_of(out: Path) -> list[int]:
    return [json.loads(line)["epoch"] for line in (out / "history.jsonl").read_text().splitlines()]


def checkpoints_of(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir() if path.is_dir() and path.name != "evidence")


def test_a_run_of_an_earlier_version_goes_on(domains: Path, first: Path, tmp_path: Path) -> None:
    """Fields that it did not know have their defaults."""
    out = shutil.copytree(first, tmp_path / "run")
    info = json.loads((out / "last" / INFO).read_text())
    del info["config"]["steps_per_epoch"], info["config"]["augment"]["paste"]
    info["config"]["share_per_epoch"] = 0.4
    (out / "last" / INFO).write_text(json.dumps(info))
    again = make_config(domains, out, resume=True, epochs=2, steps_per_epoch=0, share_per_epoch=0.4)
    assert fit(again, progress=False).epochs == 2
    with pytest.raises(TrainingError, match=r"share_per_epoch was 0\.4, is 0\.5"):
        fit(again.model_copy(update={"share_per_epoch": 0.5}), progress=False)


def test_a_kill_between_two_renames_costs_nothing(domains: Path, first: Path, tmp_path: Path) -> None:
    out = shutil.copytree(first, tmp_path / "run")
    (out / "last").rename(out / ".last.old")
    shutil.copytree(out / ".last.old", out / ".last.new")
    with pytest.raises(TrainingError, match="holds a run already"):
        fit(make_config(domains, out), progress=False)
    (out / "last").rename(out / ".last.old")
    assert fit(make_config(domains, out, resume=True, epochs=2), progress=False).epochs == 2
    assert checkpoints_of(out) == ["best", "last"]


def test_an_interrupted_save_leaves_the_old_checkpoint_and_nothing_else(
    domains: Path, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(first, tmp_path / "run")
    before = (out / "last" / INFO).read_bytes()
    write_text = Path.write_text

    def interrupted(self: Path, *args: str) -> int:
        if self.name == INFO:
            raise KeyboardInterrupt
        return write_text(self, *args)

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(make_config(domains, out, resume=True, epochs=2), progress=False)
    assert checkpoints_of(out) == ["best", "last"]
    assert (out / "last" / INFO).read_bytes() == before


def test_the_best_is_never_better_than_what_is_there(domains: Path, first: Path, tmp_path: Path) -> None:
    """However high the lost one scored, the next validation has something to leave."""
    out = shutil.copytree(first, tmp_path / "run")
    shutil.rmtree(out / "best")
    info = json.loads((out / "last" / INFO).read_text())
    (out / "last" / INFO).write_text(json.dumps(info | {"best_map50": 0.99}))
    result = fit(make_config(domains, out, resume=True, epochs=2), progress=False)
    assert result.best_map50 < 0.99
    assert read_info(out / "best").epoch == 2


def test_the_best_is_saved_before_the_last(domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up between the two must not leave a `last` that tells of a `best` that is not there."""

    def full(folder: Path, info: CheckpointInfo, weights: torch.nn.Module, **options: dict[str, torch.Tensor]) -> None:
        if folder.name == "last":
            raise CheckpointError("no space left")
        save_checkpoint(folder, info, weights, **options)

    monkeypatch.setattr(fit_module, "save_checkpoint", full)
    with pytest.raises(CheckpointError, match="no space left"):
        fit(make_config(domains, tmp_path / "run"), progress=False)
    assert read_info(tmp_path / "run" / "best").epoch == 1


def test_epochs_that_were_never_saved_are_struck_from_the_history(domains: Path, first: Path, tmp_path: Path) -> None:
    out = shutil.copytree(first, tmp_path / "run")
    with (out / "history.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": 2, "step": 4}) + '\n{"epoch": 3, "st')
    fit(make_config(domains, out, resume=True, epochs=3), progress=False)
    assert epochs_of(out) == [1, 2, 3]
    shutil.rmtree(out / "last")
    fit(make_config(domains, out), progress=False)
    assert epochs_of(out) == [1]


def test_a_gradient_that_is_not_finite_changes_no_weight() -> None:
    config = FitConfig(task=["a"], learning_rate=1e-3)
    model = build_training_model(config, roles=["task"])
    fabric = Fabric(accelerator="cpu", devices=1)
    wrapped, optimiser = fabric.setup(model, build_optimiser(config, model))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.detector.head.box_offsets.weight.register_hook(lambda gradient: gradient * float("inf"))
    batch = Batch(
        torch.rand(2, 1, 64, 64),
        [torch.tensor([[10.0, 10, 20, 20]]), torch.zeros(0, 4)],
        [torch.zeros(1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)],
        torch.zeros(2, dtype=torch.int64),
        ["a/1/0", "a/1/1"],
    )
    for clip in (0.0, 10.0):
        with pytest.raises(TrainingError, match="the gradient is not finite on the frames a/1/0, a/1/1"):
            train_step(fabric, wrapped, optimiser, batch, clip_grad_norm=clip)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name, _ in model.named_parameters())


def test_weights_that_are_not_finite_are_not_saved(first: Path, tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    with torch.no_grad():
        model.bias[0] = float("nan")
    with pytest.raises(CheckpointError, match="weights 'bias' are not finite"):
        save_checkpoint(tmp_path / "best", read_info(first / "best"), model)
    assert list(tmp_path.iterdir()) == []


def test_a_start_needs_all_of_the_detector(domains: Path, first: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(first / "best", tmp_path / "broken")
    weights = load_file(broken / "weights.safetensors")
    del weights["detector.head.box_offsets.weight"]
    save_file(weights, broken / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"has no weight 'detector\.head\.box_offsets\.weight'"):
        fit(make_config(domains, tmp_path / "run", init=broken), progress=False)


@pytest.mark.parametrize(
    "change",
    [{"window": 0}, {"keep": -1}, {"keep": 10**9}, {"classes": []}, {"size_hw": [0, 0]}, {"size_hw": [63, 65]}],
)
def test_a_description_that_cannot_be_is_no_checkpoint(first: Path, tmp_path: Path, change: dict[str, object]) -> None:
    folder = shutil.copytree(first / "best", tmp_path / "best")
    (folder / INFO).write_text(json.dumps(json.loads((folder / INFO).read_text()) | change))
    with pytest.raises(CheckpointError, match=f"no checkpoint description: {next(iter(change))}"):
        read_info(folder)


def test_a_task_without_targets_is_refused_at_the_start(tmp_path: Path) -> None:
    write_coco_domain(tmp_path / "empty")
    file = tmp_path / "empty" / "instances_train.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"annotations": []}))
    with pytest.raises(TrainingError, match="'train' of empty has no target: there is nothing to learn from"):
        fit(make_config(tmp_path, tmp_path / "run", task=["empty"], auxiliary=[]), progress=False)
    assert not (tmp_path / "run").exists()
