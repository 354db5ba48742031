"""What a training tells: bars and lines for people, TensorBoard for curves, `history.jsonl` for programs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from loddis_trainer.curves import Curves
from loddis_trainer.exhaustion import names_the_file
from loddis_trainer.training_model import TrainingLosses

__all__ = ["Journal"]

HISTORY = "history.jsonl"
STEPS_BETWEEN_LOGS = 20  # to TensorBoard: each reads the losses back from the device


class Journal:
    """Log a training; a context that closes its files.

    Args:
        out: Folder of the run.
        total_steps: Steps of the whole training, for the estimated time of arrival.
        active: Whether this process logs at all.
        visible: Whether it also prints.
        epochs_done: Of an earlier run that this one goes on from: its later epochs, never saved, are struck out.
    """

    def __init__(self, out: Path, *, total_steps: int, active: bool, visible: bool, epochs_done: int = 0) -> None:
        self.out = out
        self.active = active
        self.console = Console(stderr=True, quiet=not (active and visible))
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.1f} frames/s"),
            TimeRemainingColumn(),
        )
        bar_wanted = active and visible and self.console.is_terminal
        self.progress = Progress(*columns, console=self.console, disable=not bar_wanted)
        self.total_steps = total_steps
        self.epochs_done = epochs_done
        self._task: TaskID | None = None
        self._curves: Curves | None = None
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._epoch_started = 0.0
        self._frames = 0

    def __enter__(self) -> Journal:
        """Open the files.

        Raises:
            OSError: One cannot be written; it is named.
        """
        if self.active:
            self.out.mkdir(parents=True, exist_ok=True)
            self._strike_history()
            self._curves = Curves(self.out)
            self.progress.start()
            self._task = self.progress.add_task("training", total=self.total_steps, rate=0.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self.progress.stop()
        if self._curves is not None:
            self._curves.close()

    def _strike_history(self) -> None:
        path = self.out / HISTORY
        text = path.read_text(errors="replace") if path.is_file() else ""
        wanted = "".join(f"{line}\n" for line in text.splitlines() if 0 < _epoch_of(line) <= self.epochs_done)
        if wanted != text:  # aside: what comes in between may be a kill or a full disk
            building = path.with_name(f".{HISTORY}.new")
            with names_the_file(building), building.open("w") as file:
                file.write(wanted)
                file.flush()
                os.fsync(file.fileno())
            building.replace(path)
        path.touch()

    def note(self, text: str) -> None:
        """Print a line for people."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def begin_epoch(self, step: int) -> None:
        """Start to sum up an epoch that begins after `step` steps."""
        self._sums, self._frames = {}, 0
        self._epoch_started = time.monotonic()
        if self._task is not None:
            self.progress.update(self._task, completed=step)

    def log_step(self, step: int, losses: TrainingLosses, *, learning_rate: float, frames: int) -> None:
        """Log a step; reads the losses back from the device only now and then."""
        self._frames += frames
        if self._task is not None:
            rate = self._frames / max(1e-9, time.monotonic() - self._epoch_started)
            self.progress.update(self._task, completed=step, rate=rate)
        for name, value in losses.detached().items():
            total, count = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = (total + value, count + 1)
        if self._curves is None or step % STEPS_BETWEEN_LOGS:
            return
        figures = {f"train/{name}": number for name, number in losses.scalars().items()}
        self._curves.add(figures | {"train/learning_rate": learning_rate}, step=step)

    def end_epoch(self, epoch: int, step: int, validation: dict[str, float]) -> None:
        """Log an epoch: mean losses, frames a second, and what the validation gave, if there was one.

        Raises:
            OSError: The history cannot be written; it is named.
        """
        if not self.active:
            return
        seconds = time.monotonic() - self._epoch_started
        record: dict[str, Any] = {"epoch": epoch, "step": step, "seconds": round(seconds, 2)}
        record["frames_per_second"] = round(self._frames / max(seconds, 1e-9), 1)
        record["train"] = {name: round(float(total) / count, 5) for name, (total, count) in self._sums.items()}
        record["validation"] = validation
        path = self.out / HISTORY
        with names_the_file(path), path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self._curves is not None:
            self._curves.add({f"val/{name}": value for name, value in validation.items()}, step=step)
            self._curves.flush()
        train = "  ".join(f"{name} {value:.3f}" for name, value in record["train"].items())
        held_out = "  ".join(f"{name} {value:.4f}" for name, value in validation.items())
        self.note(f"epoch {epoch:>3}  {record['frames_per_second']:.0f} frames/s  {train}  |  {held_out}")


def _epoch_of(line: str) -> int:
    """Read the epoch of a line; 0 where a kill left half of it."""
    try:
        return int(json.loads(line)["epoch"])
    except (ValueError, TypeError, KeyError):
        return 0
