"""The mean of checkpoints is one, says what it is of, and takes only what belongs together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from loddis_runtime.command import run
from loddis_runtime.intensity import FullRange, Percentile
from loddis_trainer.averaging import average_checkpoints
from loddis_trainer.building import build_training_model
from loddis_trainer.checkpoint import (
    CheckpointInfo,
    DomainInfo,
    load_detector,
    read_info,
    read_weights,
    save_checkpoint,
)
from loddis_trainer.cli import Trainer
from loddis_trainer.config import FitConfig
from loddis_trainer.errors import CheckpointError


def write_checkpoint(folder: Path, *, seed: int, earlier: tuple[dict[str, Any], ...] = (), **changes: object) -> Path:
    torch.manual_seed(seed)
    config = FitConfig(task=["a"], auxiliary=["b"], seed=seed)
    model = build_training_model(config, roles=["task", "auxiliary"])
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.num_batches_tracked.fill_(seed)
    values: dict[str, Any] = {
        "variant": "nano",
        "classes": ("target",),
        "window": 1,
        "size_hw": (64, 96),
        "stride": 8,
        "keep": 20,
        "intensity": FullRange(),
        "domains": (DomainInfo(name="a", role="task", fraction=1.0, sequences=1, frames=1),),
        "epoch": seed,
        "step": 10 * seed,
        "config": config.model_dump(mode="json"),
        "earlier": earlier,
        "best_map50": 0.5,
        "metrics": {"map50": 0.5},
    }
    save_checkpoint(folder, CheckpointInfo(**(values | changes)), model)
    return folder


def test_the_mean_is_the_mean_and_says_what_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_checkpoint(tmp_path / "a" / "best", seed=1)
    second = write_checkpoint(tmp_path / "b" / "last", seed=2, earlier=(read_info(first).config,))
    out = tmp_path / "mean" / "best"
    assert run(Trainer, ["average", str(first), str(second), "--out", str(out)]) == 0
    assert "the mean of 2 checkpoints" in capsys.readouterr().out

    a, b, mean = (read_weights(folder) for folder in (first, second, out))
    name = "detector.head.box_offsets.weight"
    torch.testing.assert_close(mean[name], (a[name] + b[name]) / 2)
    assert mean.keys() == {key for key in a if key.startswith("detector.")}
    info = read_info(out)
    assert info.averaged == (str(first), str(second))
    assert [stage["seed"] for stage in (*info.earlier, info.config)] == [1, 2]  # each once, in their order
    assert (info.metrics, info.best_map50, info.score_threshold) == ({}, None, None)
    detector, _ = load_detector(out)
    assert detector(torch.rand(1, 1, 64, 96)).shape == (1, 20, 6)

    assert run(Trainer, ["average", str(first), str(second), "--out", str(out)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_the_mean_of_equals_is_equal(tmp_path: Path) -> None:
    first = write_checkpoint(tmp_path / "a", seed=1)
    second = write_checkpoint(tmp_path / "b", seed=1)
    average_checkpoints([first, second], tmp_path / "mean")
    a, mean = read_weights(first), read_weights(tmp_path / "mean")
    assert all(torch.equal(a[name], value) for name, value in mean.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intensity": Percentile()}, "its intensity is"),
        ({"window": 3}, "its window is 3, not 1"),
        ({"size_hw": (64, 64)}, "its size_hw is"),
        ({"classes": ("bird",)}, "its classes is"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    first = write_checkpoint(tmp_path / "a", seed=1)
    second = write_checkpoint(tmp_path / "b", seed=2, **changes)
    with pytest.raises(CheckpointError, match=message):
        average_checkpoints([first, second], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_one_checkpoint_has_no_mean(tmp_path: Path) -> None:
    first = write_checkpoint(tmp_path / "a", seed=1)
    for folders in ([first], [first, tmp_path / "." / "a"]):
        with pytest.raises(CheckpointError, match="two or more different checkpoints"):
            average_checkpoints(folders, tmp_path / "mean")
    with pytest.raises(CheckpointError, match="does not exist"):
        average_checkpoints([first, tmp_path / "none"], tmp_path / "mean")
