"""The frames that evidence is taken on: a few of every domain, held out where the domain has such, always the same.

Legend: B batch, T frames of the window, H W network pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.config import FitConfig
from loddis_trainer.data import AugmentConfig, Batch, DataError, DomainDataset, Mixture, TrainingSamples
from loddis_trainer.data.batch import collate
from loddis_trainer.data.samples import Draw

__all__ = ["EvidenceFrames"]

FRAMES_A_BATCH = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EvidenceFrames:
    """Labelled frames with targets, of every domain that has some, prepared as training prepares them.

    Attributes:
        mixture: Where they are from; the number of a domain is its domain id in training.
        draws: One a frame, domain by domain.
        samples: Prepares them, without augmentation.
    """

    mixture: Mixture
    draws: tuple[Draw, ...]
    samples: TrainingSamples

    @classmethod
    def choose(cls, config: FitConfig, train: Mixture, held_out: Mixture) -> EvidenceFrames:
        """Choose `config.evidence_frames` frames of every domain, spread over its sequences, by `config.seed`.

        They come from the split `val`; a domain without one, or without targets there, gives frames of `train`.

        Args:
            config: Of the run.
            train: The mixture that is trained on.
            held_out: The task domains' validation splits.
        """
        task = {domain.dataset.root: domain.dataset for domain in held_out.domains}
        domains = []
        for domain in train.domains:
            dataset = task.get(domain.dataset.root) or _validation_split(config, domain.dataset)
            if dataset is None or not _with_targets(dataset):
                dataset = domain.dataset
            domains.append(replace(domain, dataset=dataset))
        mixture = Mixture(tuple(domains))
        draws = [
            Draw(domain_id, number, 0)
            for domain_id, domain in enumerate(mixture.domains)
            for number in _spread(_with_targets(domain.dataset), config.evidence_frames, seed=(config.seed, domain_id))
        ]
        samples = TrainingSamples(
            mixture,
            size_hw=config.size_hw,
            window=config.window,
            register_window=config.register_window,
            intensity=config.intensity,
            augmentation=AugmentConfig(),
            seed=config.seed,
        )
        return cls(mixture, tuple(draws), samples)

    @property
    def counts(self) -> dict[str, int]:
        """Number of frames of each domain, as ``DOMAIN:SPLIT``."""
        return {
            f"{domain.dataset.name}:{domain.dataset.split}": sum(draw.domain == number for draw in self.draws)
            for number, domain in enumerate(self.mixture.domains)
        }

    @property
    def sequence_ids(self) -> NDArray[np.int64]:
        """Give each frame ``(n,)`` the number of its sequence; no two domains share one."""
        known: dict[tuple[int, str], int] = {}
        names = [
            {number: name for name, numbers in domain.dataset.sequences.items() for number in numbers}
            for domain in self.mixture.domains
        ]
        found = [known.setdefault((draw.domain, names[draw.domain][draw.number]), len(known)) for draw in self.draws]
        return np.array(found, dtype=np.int64)

    def batches(self) -> Iterator[Batch]:
        """Give them in batches, always in the same order; read anew each time, so that they hold no memory."""
        for start in range(0, len(self.draws), FRAMES_A_BATCH):
            yield collate([self.samples[draw] for draw in self.draws[start : start + FRAMES_A_BATCH]])


def _validation_split(config: FitConfig, dataset: DomainDataset) -> DomainDataset | None:
    """Open the split `val` of an auxiliary domain, which training itself has no use for; none if it cannot be used."""
    try:
        return DomainDataset.open(
            dataset.root.resolve(),
            "val",
            cache_dir=config.cache_dir,
            classes=config.classes,
            progress=False,
        )
    except DataError as error:
        log.info("evidence of domain '%s' is taken on its training frames: %s", dataset.name, error)
        return None


def _with_targets(dataset: DomainDataset) -> list[int]:
    return [number for number, record in enumerate(dataset.records) if len(record.boxes_xyxy)]


def _spread(numbers: list[int], count: int, *, seed: tuple[int, int]) -> list[int]:
    """Draw one number from each of `count` runs of equal length, so that many sequences are seen."""
    if len(numbers) <= count:
        return numbers
    generator = np.random.default_rng(seed)
    edges = np.linspace(0, len(numbers), count + 1).astype(int)
    return [numbers[int(generator.integers(low, high))] for low, high in pairwise(edges)]
