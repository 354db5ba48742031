"""A disk that is full is said in one line that names the file."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from loddis_runtime.command import run
from loddis_trainer import evaluate
from loddis_trainer.cli import Trainer
from loddis_trainer.curves import Curves
from loddis_trainer.evidence import recorder
from support.fitting import write_dark_and_bright

FULL = Path("/dev/full")  # takes no byte, as a full disk

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dark_and_bright(tmp_path_factory.mktemp("full"), videos=2, frames=4)


@pytest.fixture
def train(domains: Path, tmp_path: Path) -> Callable[[], int]:
    """Give a training of two epochs into the folder `run`, by the command."""
    words = ["fit", "--task", "dark", "--auxiliary", "bright", "--batch-size", "4", "--steps-per-epoch", "20"]
    words += ["--data-root", str(domains), "--cache-dir", str(domains / "cache"), "--size-hw", "32,64", "--epochs", "2"]
    words += ["--accelerator", "cpu", "--threads", "1", "--json", "--out", str(tmp_path / "run")]
    return lambda: run(Trainer, words)


def fill_up(monkeypatch: pytest.MonkeyPatch, part_of_name: str) -> None:
    """Let files of a name be of a full disk."""
    open_path = Path.open

    def opened(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> IO[Any]:
        if part_of_name not in self.name:
            return open_path(self, mode, *arguments, **options)
        return open_path(FULL, mode.replace("x", "w"), *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)


def test_curves_that_find_no_room_end_with_one_warning_and_the_training_goes_on(
    train: Callable[[], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    fill_up(monkeypatch, "tfevents")
    assert train() == 0
    warnings = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    (warning,) = (one for one in warnings if "TensorBoard" in one)
    assert warning.startswith(f"the curves for TensorBoard end here: {tmp_path / 'run' / 'events.out.tfevents.'}")
    assert warning.endswith(": No space left on device")
    assert "Traceback" not in capsys.readouterr().err
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("link", "named"),
    [
        ("history.jsonl", "history.jsonl"),
        (".evidence.jsonl.new", "evidence.jsonl"),
        ("evidence/.epoch-000.npz.new", "evidence/epoch-000.npz"),
    ],
)
def test_a_full_disk_is_one_line_that_names_the_file(
    train: Callable[[], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    link: str,
    named: str,
) -> None:
    fill_up(monkeypatch, "tfevents")
    (tmp_path / "run" / link).parent.mkdir(parents=True)
    (tmp_path / "run" / link).symlink_to(FULL)
    assert train() == 1
    error = capsys.readouterr().err
    assert error == f"loddis-trainer: error: No space left on device: {tmp_path / 'run' / named}\n"


def test_an_error_that_is_of_no_file_of_the_evidence_is_not_put_on_one(
    train: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def starved(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "no more threads")

    monkeypatch.setattr(recorder, "extract_features", starved)
    assert train() == 1
    assert capsys.readouterr().err == "loddis-trainer: error: no more threads\n"


def test_metrics_that_find_no_room_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate, "evaluate_model", lambda *_, **__: {})
    out = tmp_path / "metrics.json"
    out.symlink_to(FULL)
    assert run(Trainer, ["evaluate", "any", "--on", "dark:val", "--out", str(out)]) == 1
    assert capsys.readouterr().err == f"loddis-trainer: error: No space left on device: {out}\n"


def test_tensorboard_reads_the_curves(tmp_path: Path) -> None:
    for part in range(2):  # a resume adds a file of its own
        curves = Curves(tmp_path)
        for step in range(3):
            curves.add({"train/total": 10 * part + step, "train/learning_rate": 0.5}, step=3 * part + step)
        curves.flush()
        curves.add({"val/map50": 0.25}, step=9)
        curves.close()
        curves.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    for part, file in enumerate(files):
        read = EventAccumulator(str(file)).Reload()
        assert read.Tags()["scalars"] == ["train/total", "train/learning_rate", "val/map50"]
        points = [(one.step, one.value) for one in read.Scalars("train/total")]
        assert points == [(3 * part + step, 10 * part + step) for step in range(3)]
