"""Presets are configurations, and flags win over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from loddis_runtime.command import run
from loddis_runtime.intensity import FullRange, Percentile
from loddis_trainer.cli import Fit, Trainer
from loddis_trainer.config import FitConfig
from loddis_trainer.data import AugmentConfig
from loddis_trainer.presets import PRESETS, read_preset


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Fit]:
    """Parse `fit` and go no further; gives what was parsed."""
    seen: list[Fit] = []
    monkeypatch.setattr(Fit, "cli_cmd", lambda self: seen.append(self))
    return seen


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_configuration(name: str) -> None:
    assert FitConfig.model_validate({"task": ["a"], **read_preset(name)})


def test_the_paper_changes_no_frame_and_averages_no_weights() -> None:
    paper = FitConfig.model_validate({"task": ["a"], **read_preset("paper")})
    assert paper.augment == AugmentConfig()
    assert not paper.augment.active
    assert (paper.variant, paper.size_hw, paper.epochs, paper.batch_size) == ("s", (512, 512), 100, 4)
    assert (paper.optimiser, paper.learning_rate, paper.ema_decay) == ("sgd", 0.01, 0)
    assert (paper.alpha, paper.beta, paper.eta, paper.reversal_strength) == (1, 1, 1, 1)
    assert (paper.pooling, paper.contrast) == ("gap", "all")


@pytest.mark.parametrize("name", ["quick", "edge"])
def test_presets_for_few_labels_take_their_steps_however_few_frames_there_are(name: str) -> None:
    preset = FitConfig.model_validate({"task": ["a"], **read_preset(name)})
    assert preset.steps_per_epoch * preset.epochs >= 300
    assert preset.crop_hw is not None


def test_sets_of_numbers_are_read_off_the_command_line(parsed: list[Fit], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Trainer, ["fit", "--task", "a", "--window", "3", "--stride", "4"]) == 0
    assert (parsed[0].window, parsed[0].stride) == (3, 4)
    assert run(Trainer, ["fit", "--task", "a", "--window", "2"]) == 2
    assert "--window: input should be 1, 3 or 5, got 2" in capsys.readouterr().err


def test_flags_win_over_the_preset_one_by_one(parsed: list[Fit]) -> None:
    words = ["fit", "--preset", "edge", "--task", "a", "--batch-size", "7", "--augment.noise", "0.5"]
    assert run(Trainer, words) == 0
    (fit,) = parsed
    edge = FitConfig.model_validate({"task": ["a"], **read_preset("edge")})
    assert fit.batch_size == 7
    assert fit.augment == edge.augment.model_copy(update={"noise": 0.5})
    assert fit.epochs == edge.epochs != FitConfig.model_fields["epochs"].default


def test_what_a_preset_gives_can_be_taken_back(parsed: list[Fit]) -> None:
    words = ["fit", "--preset", "edge", "--task", "a", "--balance", "natural", "--workers", "none"]
    assert run(Trainer, [*words, "--crop-hw", "none", "--final-task-share", "none", "--share-per-epoch", "0.3"]) == 0
    (fit,) = parsed
    assert (fit.crop_hw, fit.final_task_share, fit.share_per_epoch, fit.steps_per_epoch) == (None, None, 0.3, 0)
    assert fit.workers is None


@pytest.mark.parametrize(
    ("flags", "policy"),
    [
        (["--intensity.kind", "full_range"], FullRange()),
        (["--intensity.kind", "full_range", "--intensity.low", "7", "--intensity.high", "9"], FullRange(low=7, high=9)),
        (["--intensity.kind", "percentile"], Percentile(low=0.5, high=99.5)),
        (["--intensity.kind", "percentile", "--intensity.low", "2"], Percentile(low=2, high=99.5)),
        ([], Percentile(low=0.5, high=99.5)),
    ],
)
def test_limits_of_one_intensity_are_none_of_another(
    parsed: list[Fit], tmp_path: Path, flags: list[str], policy: FullRange | Percentile
) -> None:
    """As grey levels, percentiles would make every pixel white."""
    file = tmp_path / "mine.yaml"
    file.write_text("intensity: {kind: percentile, low: 0.5, high: 99.5}\n")
    assert run(Trainer, ["fit", "--preset", str(file), "--task", "a", *flags]) == 0
    assert parsed[0].intensity == policy


def test_a_file_may_hold_all_of_it(parsed: list[Fit], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("task: ['dark:0.3']\nauxiliary: [bright]\nwindow: 3\n")
    assert run(Trainer, ["fit", "--preset", str(file)]) == 0
    assert (parsed[0].task, parsed[0].auxiliary, parsed[0].window) == (["dark:0.3"], ["bright"], 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no preset"),
        (b"batchsize: 3", "fields that a training does not: batchsize"),
        (b"batch_size: -3", "--batch-size: input should be greater than or equal to 1, got -3"),
        (b"- 1", "must hold a mapping"),
        (b"a: [", "is no YAML"),
        (b"\xff\xfe\x00", "it is no text"),
        (b"", "must hold a mapping"),
    ],
)
def test_a_preset_that_cannot_be_taken_says_why(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_bytes(content)
    assert run(Trainer, ["fit", "--preset", str(file), "--task", "a"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
