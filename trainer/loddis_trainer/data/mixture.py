"""The mixed-domain set that training draws from: task domains, then auxiliary ones.

Written as in the paper: ``--task irdst:0.3 --auxiliary daub:0.7`` is 3IR+7DA, as near as whole sequences allow.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loddis_trainer.data.domain import DomainDataset, find_domain
from loddis_trainer.data.errors import DataError
from loddis_trainer.domain_spec import DomainSpec, describe_share, is_far_from_asked

__all__ = ["MixedDomain", "Mixture", "Role"]

Role = Literal["task", "auxiliary"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MixedDomain:
    """A domain's place in a mixture; its number there is the domain id d of the paper.

    Attributes:
        dataset: What is taken of it.
        role: In the mixture.
        fraction: Share of the frames of its split that was asked for, in (0, 1].
        frames_there: Frames of the whole split; none: all are taken.
        sequences_there: Sequences of the whole split, likewise.
    """

    dataset: DomainDataset
    role: Role
    fraction: float
    frames_there: int | None = None
    sequences_there: int | None = None

    @property
    def share(self) -> float:
        """Share of the frames of its split that is taken, in (0, 1]."""
        return 1.0 if self.frames_there is None else len(self.dataset) / self.frames_there


@dataclass(frozen=True, slots=True)
class Mixture:
    """Domains that are trained on together, task domains first."""

    domains: tuple[MixedDomain, ...]

    @classmethod
    def open(
        cls,
        task: Sequence[str],
        auxiliary: Sequence[str],
        *,
        split: str,
        seed: int,
        data_root: Path | None = None,
        cache_dir: Path | None = None,
        classes: Sequence[str] = ("target",),
        progress: bool = True,
    ) -> Mixture:
        """Open every domain of a mixture.

        Args:
            task: Task domains, ``NAME`` or ``NAME:FRACTION``.
            auxiliary: Auxiliary domains, likewise.
            split: Fractions apply to ``train`` alone; other splits are whole.
            seed: Of the choice of sequences.
            data_root: Folder of the domains.
            cache_dir: Folder of decoded frames.
            classes: As in `DomainDataset.open`.
            progress: Show bars while decoding.

        Raises:
            DataError: No task, a domain twice, or a domain that cannot be used.
        """
        if not task:
            raise DataError("a mixture needs a task domain")
        try:
            specs = [(DomainSpec.parse(text), "task") for text in task]
            specs += [(DomainSpec.parse(text), "auxiliary") for text in auxiliary]
        except ValueError as error:
            raise DataError(str(error)) from None
        taken: dict[Path, str] = {}
        for spec, role in specs:
            folder = find_domain(spec.name, data_root=data_root).resolve()
            if folder in taken:
                raise DataError(f"domain '{spec.name}' is {role} and {taken[folder]} domain at once; name it once")
            taken[folder] = role
        domains = []
        for spec, role in specs:
            dataset = DomainDataset.open(
                spec.name, split, data_root=data_root, cache_dir=cache_dir, classes=classes, progress=progress
            )
            frames_there, sequences_there = len(dataset), len(dataset.sequences)
            if split == "train" and spec.fraction < 1:
                dataset = dataset.take(spec.fraction, seed=seed)
            domain = MixedDomain(
                dataset, "task" if role == "task" else "auxiliary", spec.fraction, frames_there, sequences_there
            )
            if split == "train" and is_far_from_asked(domain.share, spec.fraction):
                log.warning(
                    "domain %s: %d of %d frames are taken, %s: only whole sequences are, %d of %d",
                    dataset.name,
                    len(dataset),
                    frames_there,
                    describe_share(domain.share, spec.fraction),
                    len(dataset.sequences),
                    sequences_there,
                )
            domains.append(domain)
        return cls(tuple(domains))

    @property
    def label(self) -> str:
        """The mixture in the paper's notation, as ``3SK+7GR``: tenths that are taken of each, its first letters."""
        return "+".join(f"{d.share * 10:.2g}{d.dataset.name[:2].upper()}" for d in self.domains)

    def prepare_windows(self, length: int) -> None:
        """Decode what windows of `length` frames show beside labelled ones, unless it is in the cache."""
        for domain in self.domains:
            domain.dataset.prepare_windows(length)

    def describe(self) -> str:
        """Say what is in it, for a log."""
        return ", ".join(
            f"{d.dataset.name} ({d.role}) {len(d.dataset)} frames of {len(d.dataset.sequences)} sequences"
            for d in self.domains
        )
