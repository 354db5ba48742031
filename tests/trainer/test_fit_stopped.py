"""A step that cannot be taken costs no step that was: the averaged weights from before it are left."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from loddis_trainer import fit as fit_module
from loddis_trainer import stopping
from loddis_trainer.averaging import average_checkpoints
from loddis_trainer.building import build_loader, build_norm_statistics, open_mixture
from loddis_trainer.checkpoint import INFO, STATE, load_detector, read_info, read_state, read_weights
from loddis_trainer.config import FitConfig
from loddis_trainer.data import Batch, DataError
from loddis_trainer.ema import WeightAverage
from loddis_trainer.errors import CheckpointError, NotFiniteError, TrainingError
from loddis_trainer.fit import fit
from loddis_trainer.norm_statistics import NormStatistics
from loddis_trainer.training_model import TrainingLosses, TrainingModel
from support.fitting import two_step_run, write_dark_and_bright


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dark_and_bright(tmp_path_factory.mktemp("stopped"), videos=4, frames=4)


@pytest.fixture(scope="module")
def first(domains: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a run of one epoch of two steps."""
    out = tmp_path_factory.mktemp("runs") / "first"
    fit(two_step_run(domains, out), progress=False)
    return out


@dataclass
class Fault:
    """Spoils a step of the next training, and knows the averaged weights from before it.

    Attributes:
        at: Steps that succeed.
        kind: What is not finite.
        averaged: After the last step that was taken.
    """

    at: int
    kind: Literal["loss", "gradient"]
    averaged: TrainingModel | None = None

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Fault:
        take, update, taken = fit_module.train_step, WeightAverage.update, 0

        def spoilt(fabric: Any, model: nn.Module, optimiser: Any, batch: Batch, **options: Any) -> TrainingLosses:
            nonlocal taken
            taken += 1
            if taken <= self.at:
                return take(fabric, model, optimiser, batch, **options)
            if self.kind == "loss":
                batch = replace(batch, frames=batch.frames * torch.nan)
            else:
                next(model.parameters()).register_hook(lambda gradient: gradient * torch.inf)
            return take(fabric, model, optimiser, batch, **options)

        def remembered(average: WeightAverage, model: nn.Module) -> None:
            update(average, model)
            self.averaged = cast(TrainingModel, copy.deepcopy(average.average))

        monkeypatch.setattr(fit_module, "train_step", spoilt)
        monkeypatch.setattr(WeightAverage, "update", remembered)
        return self

    def weights(self, config: FitConfig | None = None, *, epoch: int = 0) -> dict[str, Tensor]:
        """Give the averaged weights; for a run, with statistics of normalisation measured in that epoch."""
        assert self.averaged is not None
        if config is not None:
            loader = build_loader(config, open_mixture(config, "train", progress=False), Fabric(accelerator="cpu"))
            build_norm_statistics(config, loader).settle(self.averaged, epoch=epoch)
        return self.averaged.state_dict()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def assert_equal(some: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    assert some.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in some.items())


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_fault_in_the_first_epoch_leaves_what_was_learnt(
    domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Literal["loss", "gradient"]
) -> None:
    out = tmp_path / "run"
    fault = Fault(at=2, kind=kind).install(monkeypatch)
    told = (
        rf"^the {kind} is not finite .*on the frames .*dark/.*; the averaged weights of the 2 steps before are in \S*"
        r"run/stopped; there is no last/ to resume: begin anew with another --out, .* --init \S*run/stopped$"
    )
    with pytest.raises(NotFiniteError, match=told):
        fit(two_step_run(domains, out, steps_per_epoch=4), progress=False)
    weights = read_weights(out / "stopped")
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())
    assert_equal(weights, fault.weights(two_step_run(domains, out, steps_per_epoch=4)))
    info = read_info(out / "stopped")
    assert (info.epoch, info.step, info.metrics, info.best_map50) == (0, 2, {}, None)
    assert not (out / "stopped" / STATE).exists()
    assert not (out / "last").exists()

    monkeypatch.undo()
    load_detector(out / "stopped")
    assert fit(two_step_run(domains, tmp_path / "next", init=out / "stopped"), progress=False).epochs == 1
    average_checkpoints([out / "stopped", tmp_path / "next" / "last"], tmp_path / "mean")
    with pytest.raises(TrainingError, match=r"run holds a run already, in stopped/; choose another --out$"):
        fit(two_step_run(domains, out), progress=False)


def test_a_fault_later_changes_neither_the_last_nor_the_best_and_a_resume_takes_its_place(
    domains: Path, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, straight = (shutil.copytree(first, tmp_path / name) for name in ("run", "straight"))
    before = {name: contents(out / name) for name in ("last", "best")}
    fault = Fault(at=1, kind="loss").install(monkeypatch)
    with pytest.raises(NotFiniteError, match=r"of the 3 steps before are in \S*stopped$"):
        fit(two_step_run(domains, out, resume=True, epochs=2), progress=False)
    assert {name: contents(out / name) for name in ("last", "best")} == before
    assert_equal(read_weights(out / "stopped"), fault.weights(two_step_run(domains, out, epochs=2), epoch=1))
    assert (read_info(out / "stopped").epoch, read_info(out / "stopped").step) == (1, 3)

    monkeypatch.undo()
    for folder in (out, straight):
        assert fit(two_step_run(domains, folder, resume=True, epochs=2), progress=False).epochs == 2
    assert sorted(path.parent.name for path in out.glob(f"*/{INFO}")) == ["best", "last"]
    assert_equal(read_state(out / "last"), read_state(straight / "last"))


@pytest.mark.parametrize(
    ("spoil", "cause"), [(DataError("a frame is gone"), "a frame is gone"), (torch.nan, "not all of them are finite")]
)
def test_statistics_that_cannot_be_measured_stay_as_they_were_and_the_fault_is_told_first(
    domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Exception | float, cause: str
) -> None:
    def broken(_: NormStatistics, model: TrainingModel, **__: object) -> None:
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.fill_(spoil if isinstance(spoil, float) else 7.0)
        if isinstance(spoil, Exception):
            raise spoil

    fault = Fault(at=1, kind="loss").install(monkeypatch)
    monkeypatch.setattr(NormStatistics, "settle", broken)
    told = r"^the loss is not finite .* steps before are in \S*stopped, with the statistics .* measuring them failed: "
    advice = r"there is no last/ .* another --out, from these weights with --init \S*stopped$"
    with pytest.raises(NotFiniteError, match=f"{told}{cause}; {advice}"):
        fit(two_step_run(domains, tmp_path / "run"), progress=False)
    assert_equal(read_weights(tmp_path / "run" / "stopped"), fault.weights())


def test_weights_that_are_spoilt_are_not_left(domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(average: WeightAverage, _: nn.Module) -> None:
        next(average.average.parameters()).data.fill_(torch.nan)

    Fault(at=1, kind="loss").install(monkeypatch)
    monkeypatch.setattr(WeightAverage, "update", spoil)
    with pytest.raises(NotFiniteError, match=r"nothing is left of the steps since the last epoch: .* are not finite$"):
        fit(two_step_run(domains, tmp_path / "run"), progress=False)
    assert not (tmp_path / "run" / "stopped").exists()


def test_a_fault_that_cannot_be_saved_either_is_told_first(
    domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, *_: object) -> None:
        raise CheckpointError(f"checkpoint {folder} cannot be written: no space")

    Fault(at=1, kind="loss").install(monkeypatch)
    monkeypatch.setattr(stopping, "save_checkpoint", full)
    with pytest.raises(NotFiniteError, match=r"^the loss is not finite .*; nothing is left of the .*: no space$"):
        fit(two_step_run(domains, tmp_path / "run"), progress=False)
    assert not (tmp_path / "run" / "stopped").exists()


def test_weights_that_learnt_nothing_are_not_left(
    domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Fault(at=0, kind="loss").install(monkeypatch)
    with pytest.raises(NotFiniteError, match=r"; nothing was learnt before$"):
        fit(two_step_run(domains, tmp_path / "run"), progress=False)
    assert not list((tmp_path / "run").glob(f"*/{INFO}"))
    monkeypatch.undo()
    assert fit(two_step_run(domains, tmp_path / "run"), progress=False).epochs == 1
