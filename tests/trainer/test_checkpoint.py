"""Checkpoints: what is saved comes back, and what is broken says so and breaks nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from loddis_runtime.intensity import FullRange
from loddis_trainer.checkpoint import (
    FIRST_KERNEL,
    CheckpointInfo,
    has_kernel_of_frames,
    load_detector,
    read_info,
    read_state,
    read_weight_sizes,
    save_checkpoint,
)
from loddis_trainer.errors import CheckpointError
from loddis_trainer.losses.branches import LoddisBranches
from loddis_trainer.models import build_detector
from loddis_trainer.models.window import kernel_of_frames
from loddis_trainer.training_model import LossWeights, TrainingModel


def make_info(**changes: object) -> CheckpointInfo:
    values: dict[str, object] = {
        "variant": "nano",
        "classes": ("target",),
        "window": 1,
        "size_hw": (64, 96),
        "stride": 8,
        "keep": 50,
        "intensity": FullRange(),
        "domains": (),
        "epoch": 3,
        "step": 30,
    }
    return CheckpointInfo.model_validate(values | changes)


def make_model(seed: int = 0) -> TrainingModel:
    torch.manual_seed(seed)
    detector = build_detector("nano", keep=50)
    branches = LoddisBranches(detector.fused_channels, num_domains=2)
    return TrainingModel(detector, branches, weights=LossWeights())


def test_a_detector_comes_back_bit_for_bit_without_its_branches(tmp_path: Path) -> None:
    model = make_model().eval()
    save_checkpoint(tmp_path / "best", make_info(), model)
    detector, info = load_detector(tmp_path / "best")
    frames = torch.rand(2, 1, 64, 96)
    with torch.no_grad():
        assert torch.equal(detector(frames), model.detector(frames))
    assert info == read_info(tmp_path / "best")
    assert not any("branches" in name for name, _ in detector.named_modules())
    assert any(name.startswith("branches.") for name in read_weight_sizes(tmp_path / "best"))


def test_windows_of_an_earlier_version_are_read_as_they_were_meant(tmp_path: Path) -> None:
    """Its first kernel was of the frames as they are; the weights of today are of their differences."""
    torch.manual_seed(0)
    model = TrainingModel(build_detector("nano", window=3, keep=50), None, weights=LossWeights()).eval()
    save_checkpoint(tmp_path / "now", make_info(window=3), model)
    assert not has_kernel_of_frames(tmp_path / "now")
    shutil.copytree(tmp_path / "now", tmp_path / "then")
    weights = load_file(tmp_path / "now" / "weights.safetensors")
    weights[FIRST_KERNEL] = kernel_of_frames(weights[FIRST_KERNEL])
    save_file(weights, tmp_path / "then" / "weights.safetensors")
    assert has_kernel_of_frames(tmp_path / "then")
    (now, _), (then, _) = load_detector(tmp_path / "now"), load_detector(tmp_path / "then")
    frames = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(now(frames), model.detector(frames))
        torch.testing.assert_close(then(frames), now(frames), rtol=1e-4, atol=1e-3)


def test_saving_again_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    for seed in (0, 1):
        save_checkpoint(tmp_path / "last", make_info(epoch=seed + 1), make_model(seed), state={"x": torch.ones(2)})
    assert read_info(tmp_path / "last").epoch == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["last"]
    assert torch.equal(read_state(tmp_path / "last")["x"], torch.ones(2))


def test_a_failed_save_leaves_the_old_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "last", make_info(epoch=1), make_model())

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("loddis_trainer.checkpoint.save_file", full_disk)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save_checkpoint(tmp_path / "last", make_info(epoch=2), make_model(1))
    assert read_info(tmp_path / "last").epoch == 1
    load_detector(tmp_path / "last")
    assert [entry.name for entry in tmp_path.iterdir()] == ["last"]


def saved(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "best", make_info(), make_model())
    return tmp_path / "best"


def test_a_reader_between_the_two_renames_costs_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "last"
    save_checkpoint(folder, make_info(epoch=1), make_model())
    rename, met = Path.rename, []

    def met_by_a_reader(self: Path, target: Path) -> Path:
        if self.name == ".last.new" and not met:
            met.append(read_info(folder).epoch)  # puts the old one back
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", met_by_a_reader)
    save_checkpoint(folder, make_info(epoch=2), make_model())
    assert (met, read_info(folder).epoch) == ([1], 2)
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_what_is_not_a_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        read_info(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"it has no checkpoint\.json"):
        read_info(tmp_path)


def test_a_half_written_weights_file_is_named(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors cannot be read"):
        load_detector(folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is missing"):
        load_detector(folder)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is missing"):
        read_weight_sizes(folder)


def test_weights_of_another_variant_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    info = json.loads((folder / "checkpoint.json").read_text()) | {"variant": "tiny"}
    (folder / "checkpoint.json").write_text(json.dumps(info))
    with pytest.raises(CheckpointError, match="does not hold a 'tiny' detector"):
        load_detector(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "checkpoint.json is no checkpoint description"), ('{"variant": "huge"}', "variant")],
)
def test_a_broken_description_names_the_field(tmp_path: Path, text: str, message: str) -> None:
    folder = saved(tmp_path)
    (folder / "checkpoint.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_info(folder)


def test_only_last_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"state\.safetensors is missing"):
        read_state(saved(tmp_path))
