"""What a training left behind, read for a report: its best checkpoint's description, its history, its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from loddis_trainer.checkpoint import CheckpointInfo, read_info
from loddis_trainer.domain_spec import DomainSpec
from loddis_trainer.errors import CheckpointError, TrainingError
from loddis_trainer.evidence import EvidenceLine, read_evidence

__all__ = ["MOST_RUNS", "EpochRecord", "ReportedConfig", "TrainedRun", "read_runs"]

MOST_RUNS = 8  # as many as there are colours that can be told apart
LAST_EPOCH = 10**9  # no training counts further; figures cannot


def _domain(text: str) -> str:
    DomainSpec.parse(text)
    return text


DomainText = Annotated[str, AfterValidator(_domain)]


class ReportedConfig(BaseModel):
    """What the report has to understand of a run's configuration, whatever version wrote it."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    task: tuple[DomainText, ...] = Field(description="Task domains, NAME or NAME:FRACTION.", min_length=1)
    auxiliary: tuple[DomainText, ...] = Field(default=(), description="Auxiliary domains, likewise.")
    alpha: float = Field(default=0, description="Weight of correlation weakening.")
    beta: float = Field(default=0, description="Weight of domain confusing.")
    eta: float = Field(default=0, description="Weight of target consistency.")
    data_root: Path | None = Field(default=None, description="Folder of the domains.")


class EpochRecord(BaseModel):
    """What the report has to understand of a line of `history.jsonl`."""

    model_config = ConfigDict(frozen=True)

    epoch: int = Field(description="Epochs completed.", ge=0, le=LAST_EPOCH)
    train: dict[str, float | None] = Field(default={}, description="Mean losses of the epoch, by name.")
    validation: dict[str, float | None] = Field(default={}, description="Validation metrics, by name.")


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A run of `loddis-trainer fit`.

    Attributes:
        label: What the report calls it.
        folder: Where it lies.
        info: Of its best checkpoint.
        config: What it was told.
        history: A record an epoch, by rising epoch.
        evidence: Likewise; empty where none was recorded.
    """

    label: str
    folder: Path
    info: CheckpointInfo
    config: ReportedConfig
    history: tuple[EpochRecord, ...]
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
        weights = {"C": self.config.alpha, "D": self.config.beta, "T": self.config.eta}
        return tuple(letter for letter, weight in weights.items() if weight > 0)

    @property
    def kind(self) -> str:
        """P, P+A or several P, as the paper's figure 4 names them, and whether the method was on."""
        data = "P+A" if self.has_auxiliary else "P"
        if not self.losses:
            return f"{data}, plain" if self.has_auxiliary else data
        return f"{data}, Loddis" if len(self.losses) == 3 else f"{data}, Loddis ({', '.join(self.losses)} only)"

    @property
    def task_specs(self) -> tuple[str, ...]:
        """Its task domains with their shares, in an order of their own."""
        return tuple(sorted(f"{one.name}:{one.fraction:g}" for one in self.info.domains if one.role == "task"))

    @property
    def task_data(self) -> frozenset[tuple[str, float, str | None]]:
        """Its task domains, their shares, and of which sequences: what makes two runs comparable."""
        return frozenset((one.name, one.fraction, one.digest) for one in self.info.domains if one.role == "task")

    def domain_paths(self, role: Literal["task", "auxiliary"]) -> list[str]:
        """Names or paths of its domains of a role, as they were given."""
        given = self.config.task if role == "task" else self.config.auxiliary
        return [DomainSpec.parse(text).name for text in given]


def read_runs(words: Sequence[str]) -> list[TrainedRun]:
    """Read runs.

    Args:
        words: Folders, or ``NAME=FOLDER``; without a name the folder's own is taken.

    Raises:
        TrainingError: No run, too many, names that repeat, or a folder that holds no whole run.
        CheckpointError: A checkpoint's description that cannot be read, or is of no training.
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
    info = read_info(folder / "best")
    config = _config_of(info, folder / "best")
    return TrainedRun(label, folder, info, config, _read_history(folder), tuple(read_evidence(folder)))


def _config_of(info: CheckpointInfo, checkpoint: Path) -> ReportedConfig:
    """Read a checkpoint's configuration, which must name the domains that the checkpoint was trained on."""
    try:
        config = ReportedConfig.model_validate(info.config)
    except ValidationError as error:
        raise CheckpointError(f"{checkpoint} has no configuration of a training: {_first_fault(error)}") from error
    named = ["task"] * len(config.task) + ["auxiliary"] * len(config.auxiliary)
    trained = [domain.role for domain in info.domains]
    if named != trained:
        raise CheckpointError(
            f"{checkpoint} was trained on {', '.join(trained) or 'no'} domains, but configured for {', '.join(named)}"
        )
    return config


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}" if where else fault["msg"]


def _read_history(folder: Path) -> tuple[EpochRecord, ...]:
    """Read `history.jsonl`; of an epoch that was trained again after a kill the last record counts."""
    path = folder / "history.jsonl"
    if not path.is_file():
        raise TrainingError(f"{folder} is no whole run: it has no history.jsonl")
    records: dict[int, EpochRecord] = {}
    text = path.read_text(errors="replace")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            record = EpochRecord.model_validate_json(line)
        except ValidationError as error:
            if number == len(lines) and not text.endswith("\n"):
                break  # the training is writing it, or was killed while it did
            raise TrainingError(f"{path}, line {number} is no record of an epoch: {_first_fault(error)}") from error
        records[record.epoch] = record
    return tuple(records[epoch] for epoch in sorted(records))
