"""What a training left behind, read for a report: its best checkpoint's description, its history, its evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loddis_trainer.checkpoint import CheckpointInfo, read_info
from loddis_trainer.domain_spec import DomainSpec
from loddis_trainer.errors import TrainingError
from loddis_trainer.evidence import EvidenceLine, read_evidence

__all__ = ["MOST_RUNS", "TrainedRun", "read_runs"]

MOST_RUNS = 8  # as many as there are colours that can be told apart


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A run of `loddis-trainer fit`.

    Attributes:
        label: What the report calls it.
        folder: Where it lies.
        info: Of its best checkpoint.
        history: A record an epoch, by rising epoch.
        evidence: Likewise; empty where none was recorded.
    """

    label: str
    folder: Path
    info: CheckpointInfo
    history: tuple[dict[str, Any], ...]
    evidence: tuple[EvidenceLine, ...]

    @property
    def best(self) -> Path:
        """Folder of its best weights."""
        return self.folder / "best"

    @property
    def has_auxiliary(self) -> bool:
        """Whether it was trained on auxiliary domains too."""
        return any(domain.role == "auxiliary" for domain in self.info.domains)

    @property
    def losses(self) -> tuple[str, ...]:
        """The losses of the method that were on: correlation weakening C, domain confusing D, target consistency T."""
        if len(self.info.domains) < 2:
            return ()
        weights = {"C": "alpha", "D": "beta", "T": "eta"}
        return tuple(letter for letter, name in weights.items() if float(self.info.config.get(name, 0)) > 0)

    @property
    def kind(self) -> str:
        """P, P+A or several P, as the paper's figure 4 names them, and whether the method was on."""
        data = "P+A" if self.has_auxiliary else "P"
        if not self.losses:
            return f"{data}, plain" if self.has_auxiliary else data
        return f"{data}, Loddis" if len(self.losses) == 3 else f"{data}, Loddis ({', '.join(self.losses)} only)"

    @property
    def task_specs(self) -> tuple[str, ...]:
        """Its task domains with their shares, in an order of their own: what makes two runs comparable."""
        return tuple(sorted(f"{one.name}:{one.fraction:g}" for one in self.info.domains if one.role == "task"))

    def domain_paths(self, role: str) -> list[str]:
        """Names or paths of its domains of a role, as they were given."""
        return [DomainSpec.parse(text).name for text in self.info.config.get(role, [])]


def read_runs(words: Sequence[str]) -> list[TrainedRun]:
    """Read runs.

    Args:
        words: Folders, or ``NAME=FOLDER``; without a name the folder's own is taken.

    Raises:
        TrainingError: No run, too many, names that repeat, or a folder that holds no whole run.
        CheckpointError: A checkpoint's description that cannot be read.
    """
    if not words:
        raise TrainingError("a report needs a run")
    if len(words) > MOST_RUNS:
        raise TrainingError(f"a report compares at most {MOST_RUNS} runs, got {len(words)}")
    runs = [_read_run(word) for word in words]
    labels = [run.label for run in runs]
    for label in labels:
        if labels.count(label) > 1:
            raise TrainingError(
                f"two runs are called '{label}'; name them, as in first={runs[labels.index(label)].folder}"
            )
    return runs


def _read_run(word: str) -> TrainedRun:
    label, sign, path = word.partition("=")
    if not sign or Path(word).is_dir():
        label, path = "", word
    folder = Path(path)
    if not folder.is_dir():
        raise TrainingError(f"run {folder} does not exist")
    if not (folder / "best").is_dir():
        hint = "; name the run's folder, not a checkpoint's" if (folder / "checkpoint.json").is_file() else ""
        raise TrainingError(f"{folder} holds no run with a validated checkpoint: it has no folder best{hint}")
    label = label or folder.resolve().name
    return TrainedRun(label, folder, read_info(folder / "best"), _read_history(folder), tuple(read_evidence(folder)))


def _read_history(folder: Path) -> tuple[dict[str, Any], ...]:
    """Read `history.jsonl`; of an epoch that was trained again after a kill the last record counts."""
    path = folder / "history.jsonl"
    if not path.is_file():
        raise TrainingError(f"{folder} is no whole run: it has no history.jsonl")
    records: dict[int, dict[str, Any]] = {}
    text = path.read_text(errors="replace")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            records[int(record["epoch"])] = {"step": int(record["step"]), **record}
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and not text.endswith("\n"):
                break  # the training is writing it, or was killed while it did
            raise TrainingError(f"{path}, line {number} is no record of an epoch: {error}") from error
    return tuple(records[epoch] for epoch in sorted(records))
