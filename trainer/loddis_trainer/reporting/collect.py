"""Measure the best weights of every run on every split, and keep what figures and pictures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loddis_trainer.data import DomainDataset
from loddis_trainer.data.domain import find_domain
from loddis_trainer.data.inspection.splits import listed_sequences
from loddis_trainer.errors import TrainingError
from loddis_trainer.evaluate import collect_results
from loddis_trainer.metrics import ImageResult, Metrics, evaluate_images
from loddis_trainer.reporting.runs import TrainedRun
from loddis_trainer.torch_engine import detector_of_checkpoint

__all__ = ["DataSource", "Findings", "SplitResult", "collect"]


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where domains are found.

    Attributes:
        data_root: Folder of the domains; the run's own, or ``$LODDIS_DATA``, where it is not given.
        cache_dir: Folder of decoded frames.
        most_frames: Of a split, evenly spaced; 0: all.
        progress: Show bars.
    """

    data_root: Path | None = None
    cache_dir: Path | None = None
    most_frames: int = 1000
    progress: bool = True

    def has_split(self, run: TrainedRun, name: str, split: str) -> bool:
        """Tell whether a domain lists a split, be it sound or not.

        Raises:
            DataError: There is no such domain.
        """
        return split in listed_sequences(find_domain(name, data_root=self.data_root or run.config.data_root))

    def open(self, run: TrainedRun, name: str, split: str) -> DomainDataset:
        """Open a split with a run's classes.

        Raises:
            DataError: It cannot be used.
        """
        return DomainDataset.open(
            name,
            split,
            data_root=self.data_root or run.config.data_root,
            cache_dir=self.cache_dir,
            classes=run.info.classes,
            progress=self.progress,
        )


@dataclass(frozen=True, slots=True, eq=False)
class SplitResult:
    """A run on a split.

    Attributes:
        split: As ``DOMAIN:SPLIT``.
        dataset: The split.
        numbers: Frames that were looked at.
        results: What was found on each of them.
        metrics: Of all of them, at the run's own operating point.
    """

    split: str
    dataset: DomainDataset
    numbers: list[int]
    results: list[ImageResult]
    metrics: Metrics


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """All that was measured.

    Attributes:
        runs: In the order given.
        splits: As ``DOMAIN:SPLIT``, in the order given.
        found: By label of the run and split.
        source: Where the domains are.
        chosen: Whether the splits were asked for, not chosen here.
    """

    runs: tuple[TrainedRun, ...]
    splits: tuple[str, ...]
    found: dict[tuple[str, str], SplitResult]
    source: DataSource
    chosen: bool

    def of(self, run: TrainedRun, split: str) -> SplitResult:
        """Give a run on a split."""
        return self.found[run.label, split]

    def task_splits(self, run: TrainedRun) -> tuple[str, ...]:
        """Give the splits of a run's task domains: getting worse elsewhere is no negative shift."""
        tasks = {domain.name for domain in run.info.domains if domain.role == "task"}
        return tuple(split for split in self.splits if self.of(run, split).dataset.name in tasks)

    @property
    def domain_places(self) -> dict[str, int]:
        """Number all domains that runs were trained on, so that each keeps its colour throughout."""
        names = dict.fromkeys(domain.name for run in self.runs for domain in run.info.domains)
        return {name: place for place, name in enumerate(names)}

    def to_dict(self) -> dict[str, Any]:
        """Give the figures for programs, ready for JSON."""
        return {
            run.label: {
                "folder": str(run.folder),
                "kind": run.kind,
                "epoch": run.info.epoch,
                "metrics": {split: self.of(run, split).metrics.to_dict() for split in self.splits},
                "evidence": [line.model_dump() for line in run.evidence],
            }
            for run in self.runs
        }


def collect(
    runs: Sequence[TrainedRun], source: DataSource, *, on: Sequence[str] = (), centre_distance_px: float = 3.0
) -> Findings:
    """Measure.

    Args:
        runs: At least one.
        source: Where domains are found.
        on: Splits as ``DOMAIN:SPLIT``; by default `test` of every task domain, or `val` where it has no `test`.
        centre_distance_px: Within which a detection counts for Pd, frame pixels.

    Raises:
        DataError: A domain or a split that is not there.
        CheckpointError: Weights that cannot be read.
    """
    splits = list(dict.fromkeys(on)) or _splits_of_tasks(runs, source)
    opened = {(run.label, split): source.open(run, *_parse(split)) for run in runs for split in splits}
    found = {}
    for run in runs:
        with detector_of_checkpoint(run.best) as detector:
            for split in splits:
                dataset = opened[run.label, split]
                numbers = dataset.evenly_spaced(source.most_frames or len(dataset))
                results = collect_results(detector, dataset, numbers=numbers, progress=source.progress)
                metrics = evaluate_images(
                    results,
                    score_threshold=detector.manifest.score_threshold,
                    centre_distance_px=centre_distance_px,
                    class_names=run.info.classes,
                )
                found[run.label, split] = SplitResult(split, dataset, numbers, results, metrics)
    return Findings(tuple(runs), tuple(splits), found, source, bool(on))


def _splits_of_tasks(runs: Sequence[TrainedRun], source: DataSource) -> list[str]:
    splits: dict[str, None] = {}
    for run in runs:
        for name in run.domain_paths("task"):
            splits[f"{name}:{'test' if source.has_split(run, name, 'test') else 'val'}"] = None
    return list(splits)


def _parse(text: str) -> tuple[str, str]:
    domain, colon, split = text.rpartition(":")
    if not (domain and colon and split):
        raise TrainingError(f"a split is written DOMAIN:SPLIT, got '{text}'")
    return domain, split
