"""What a training leaves when it is cut short, and what the next one makes of it."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from loddis_trainer import fit as fit_module
from loddis_trainer.building import build_optimiser, build_training_model
from loddis_trainer.checkpoint import INFO, WEIGHTS, CheckpointInfo, is_whole, read_info, save_checkpoint
from loddis_trainer.config import FitConfig
from loddis_trainer.data import AugmentConfig, Batch
from loddis_trainer.errors import CheckpointError, TrainingError
from loddis_trainer.evidence import recorder
from loddis_trainer.evidence.features import FrameFeatures
from loddis_trainer.exhaustion import says_what_is_short
from loddis_trainer.fit import fit
from loddis_trainer.journal import HISTORY
from loddis_trainer.step import train_step
from support.domains import write_coco_domain, write_drone_csv_domain
from support.fitting import two_step_run, write_dark_and_bright


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dark_and_bright(tmp_path_factory.mktemp("recovery"), videos=4, frames=4)


@pytest.fixture(scope="module")
def first(domains: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a run of one epoch."""
    out = tmp_path_factory.mktemp("runs") / "first"
    fit(two_step_run(domains, out), progress=False)
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
    again = two_step_run(domains, out, resume=True, epochs=2, steps_per_epoch=0, share_per_epoch=0.4)
    assert fit(again, progress=False).epochs == 2
    with pytest.raises(TrainingError, match=r"share_per_epoch was 0\.4, is 0\.5"):
        fit(again.model_copy(update={"share_per_epoch": 0.5}), progress=False)


def test_a_run_from_before_noise_grew_does_not_go_on_as_if_it_had(domains: Path, first: Path, tmp_path: Path) -> None:
    out = shutil.copytree(first, tmp_path / "run")
    info = json.loads((out / "last" / INFO).read_text())
    del info["config"]["augment"]["noise_ramp"]
    info["config"]["augment"]["noise"] = 0.1
    (out / "last" / INFO).write_text(json.dumps(info))
    again = two_step_run(domains, out, resume=True, epochs=2, augment=AugmentConfig(noise=0.1))
    with pytest.raises(TrainingError, match=r"augment was .*'noise_ramp': 0\.0.*, is .*'noise_ramp': 0\.5"):
        fit(again, progress=False)
    as_then = again.model_copy(update={"augment": AugmentConfig(noise=0.1, noise_ramp=0.0)})
    assert fit(as_then, progress=False).epochs == 2


def test_a_kill_between_two_renames_costs_nothing(domains: Path, first: Path, tmp_path: Path) -> None:
    out = shutil.copytree(first, tmp_path / "run")
    (out / "last").rename(out / ".last.old")
    shutil.copytree(out / ".last.old", out / ".last.new")
    with pytest.raises(TrainingError, match="holds a run already"):
        fit(two_step_run(domains, out), progress=False)
    (out / "last").rename(out / ".last.old")
    assert fit(two_step_run(domains, out, resume=True, epochs=2), progress=False).epochs == 2
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
        fit(two_step_run(domains, out, resume=True, epochs=2), progress=False)
    assert checkpoints_of(out) == ["best", "last"]
    assert (out / "last" / INFO).read_bytes() == before


def test_a_kill_just_after_going_on_keeps_the_history(
    domains: Path, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(first, tmp_path / "run")
    with (out / HISTORY).open("a") as file:
        file.write('{"epoch": 2, "st')  # what has to go
    seen: list[list[int]] = []

    def killed(*_: object, **__: object) -> None:
        seen.append(epochs_of(out))  # what is on the disk, not what a buffer holds
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_module, "train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(two_step_run(domains, out, resume=True, epochs=2), progress=False)
    assert seen == [[1]]


def test_a_run_is_not_written_over_whatever_is_left_of_it(domains: Path, first: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(first / "best", out / "epoch-003")
    with pytest.raises(TrainingError, match=r"run holds a run already, in epoch-003/; choose another --out$"):
        fit(two_step_run(domains, out), progress=False)


def test_a_run_goes_on_with_the_frames_it_had_only(domains: Path, first: Path, tmp_path: Path) -> None:
    out = shutil.copytree(first, tmp_path / "run")
    shutil.copytree(domains / "bright", tmp_path / "data" / "bright")
    write_drone_csv_domain(tmp_path / "data" / "dark", splits={"train": 5, "val": 1}, frames=4)
    changed = two_step_run(tmp_path / "data", out, resume=True, epochs=2)
    with pytest.raises(TrainingError, match="dark had 16 frames of 4 sequences, now 20 of 5"):
        fit(changed, progress=False)
    shutil.rmtree(tmp_path / "data" / "dark")
    shutil.copytree(domains / "dark", tmp_path / "data" / "dark")  # as many, but of another name
    listed = tmp_path / "data" / "dark" / "splits.json"
    splits = json.loads(listed.read_text())
    name, splits["train"][0] = splits["train"][0], "RENAMED"
    listed.write_text(json.dumps(splits))
    for file in list(listed.parent.rglob(f"{name}.*")):
        file.rename(file.with_stem("RENAMED"))
    with pytest.raises(TrainingError, match="dark had 16 frames of 4 sequences, now 16 of 4, or others of them"):
        fit(changed, progress=False)


def test_what_a_kill_left_hidden_keeps_no_run_from_starting(domains: Path, first: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(first / "last", out / ".last.new")
    assert fit(two_step_run(domains, out), progress=False).epochs == 1


def test_a_best_that_cannot_be_read_is_replaced(
    domains: Path, first: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = shutil.copytree(first, tmp_path / "run")
    weights = out / "best" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:1000])
    info = json.loads((out / "last" / INFO).read_text())
    (out / "last" / INFO).write_text(json.dumps(info | {"best_map50": 0.99}))
    fit(two_step_run(domains, out, resume=True, epochs=2), progress=False)
    assert read_info(out / "best").epoch == 2
    assert is_whole(out / "best")
    assert "best cannot be read any more" in caplog.text


def test_validations_that_look_at_no_target_are_refused(domains: Path, tmp_path: Path) -> None:
    """There would be no best weights at the end."""
    write_coco_domain(tmp_path / "sparse", splits={"train": 4, "val": 6})
    file = next((tmp_path / "sparse").glob("*val*.json"))
    document = json.loads(file.read_text())
    kept = sorted(image["id"] for image in document["images"])[1]
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] == kept]
    file.write_text(json.dumps(document))
    config = two_step_run(tmp_path, tmp_path / "run", task=["sparse"], auxiliary=[], validate_frames=2)
    with pytest.raises(TrainingError, match="the 2 frames of sparse that validations look at have no target: raise"):
        fit(config, progress=False)
    assert fit(config.model_copy(update={"validate_frames": 0}), progress=False).best_map50 >= 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "a loader process ended"),
        (MemoryError(), "out of memory: lower batch_size"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files: raise the limit .*, or lower workers"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory: lower batch_size"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory: lower batch_size"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate"), "out of memory: lower"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
            "a loader process ended.*lower workers",
        ),
    ],
)
def test_a_lack_of_memory_says_what_helps(
    domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(fit_module, "train_step", fails)
    with pytest.raises(TrainingError, match=message):
        fit(two_step_run(domains, tmp_path / "run"), progress=False)


def test_a_fault_in_a_loader_process_is_no_lack_of_memory() -> None:
    fault = RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback: a plain fault")
    with pytest.raises(RuntimeError, match="a plain fault"), says_what_is_short():
        raise fault


def test_evidence_that_a_kill_cut_off_is_made_up_for(domains: Path, first: Path, tmp_path: Path) -> None:
    out = shutil.copytree(first, tmp_path / "run")
    lines = (out / "evidence.jsonl").read_text().splitlines()
    assert len(lines) == 2  # before the first epoch, and after it
    (out / "evidence.jsonl").write_text(lines[0] + "\n")
    fit(two_step_run(domains, out, resume=True, epochs=2), progress=False)
    assert [json.loads(line)["epoch"] for line in (out / "evidence.jsonl").read_text().splitlines()] == [0, 1, 2]


def test_features_that_are_not_finite_leave_no_evidence_and_no_traceback(
    domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    extract = recorder.extract_features

    def diverged(*arguments: Any, **options: Any) -> FrameFeatures:
        features = extract(*arguments, **options)
        return replace(features, z=np.full_like(features.z, np.nan))

    monkeypatch.setattr(recorder, "extract_features", diverged)
    assert fit(two_step_run(domains, tmp_path / "run"), progress=False).epochs == 1
    assert "epoch 1 leaves no evidence: features are not finite" in caplog.text


def test_the_best_is_never_better_than_what_is_there(domains: Path, first: Path, tmp_path: Path) -> None:
    """However high the lost one scored, the next validation has something to leave."""
    out = shutil.copytree(first, tmp_path / "run")
    shutil.rmtree(out / "best")
    info = json.loads((out / "last" / INFO).read_text())
    (out / "last" / INFO).write_text(json.dumps(info | {"best_map50": 0.99}))
    result = fit(two_step_run(domains, out, resume=True, epochs=2), progress=False)
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
        fit(two_step_run(domains, tmp_path / "run"), progress=False)
    assert read_info(tmp_path / "run" / "best").epoch == 1


def test_epochs_that_were_never_saved_are_struck_from_the_history(domains: Path, first: Path, tmp_path: Path) -> None:
    out = shutil.copytree(first, tmp_path / "run")
    with (out / "history.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": 2, "step": 4}) + '\n{"epoch": 3, "st')
    fit(two_step_run(domains, out, resume=True, epochs=3), progress=False)
    assert epochs_of(out) == [1, 2, 3]
    for name in ("last", "best"):
        with pytest.raises(TrainingError, match="holds a run already"):
            fit(two_step_run(domains, out), progress=False)
        shutil.rmtree(out / name)
    fit(two_step_run(domains, out), progress=False)
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


def test_a_training_of_earlier_windows_is_gone_on_with_by_its_weights(domains: Path, tmp_path: Path) -> None:
    """Moments of its optimiser are of weights that there are no more."""
    from safetensors.torch import load_file, save_file

    out = tmp_path / "run"
    fit(two_step_run(domains, out, window=3, epochs=1), progress=False)
    weights = load_file(out / "last" / "weights.safetensors")
    save_file(weights, out / "last" / "weights.safetensors")  # as that version did: without a word on them
    with pytest.raises(TrainingError, match=f"by an earlier version, .* go on from its weights by --init {out}/last"):
        fit(two_step_run(domains, out, window=3, resume=True, epochs=2), progress=False)
    fit(two_step_run(domains, tmp_path / "on", window=3, init=out / "last", epochs=1), progress=False)


def test_a_start_needs_all_of_the_detector(domains: Path, first: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(first / "best", tmp_path / "broken")
    weights = load_file(broken / "weights.safetensors")
    del weights["detector.head.box_offsets.weight"]
    save_file(weights, broken / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"has no weight 'detector\.head\.box_offsets\.weight'"):
        fit(two_step_run(domains, tmp_path / "run", init=broken), progress=False)


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
        fit(two_step_run(tmp_path, tmp_path / "run", task=["empty"], auxiliary=[]), progress=False)
    assert not (tmp_path / "run").exists()
