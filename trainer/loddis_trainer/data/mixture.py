"""The mixed-domain set that training draws from: task domains, then auxiliary ones.

Written as in the paper: ``--task irdst:0.3 --auxiliary daub:0.7`` is 3IR+7DA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loddis_trainer.data.domain import DomainDataset, find_domain
from loddis_trainer.data.errors import DataError
from loddis_trainer.domain_spec import DomainSpec

__all__ = ["MixedDomain", "Mixture", "Role"]

Role = Literal["task", "auxiliary"]


@dataclass(frozen=True, slots=True)
class MixedDomain:
    """A domain's place in a mixture; its number there is the domain id d of the paper."""

    dataset: DomainDataset
    role: Role
    fraction: float


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
            if split == "train" and spec.fraction < 1:
                dataset = dataset.take(spec.fraction, seed=seed)
            domains.append(MixedDomain(dataset, "task" if role == "task" else "auxiliary", spec.fraction))
        return cls(tuple(domains))

    @property
    def label(self) -> str:
        """The mixture in the paper's notation, as ``3SK+7GR``: tenths of each domain and its first two letters."""
        return "+".join(f"{d.fraction * 10:g}{d.dataset.name[:2].upper()}" for d in self.domains)

    def describe(self) -> str:
        """Say what is in it, for a log."""
        return ", ".join(
            f"{d.dataset.name} ({d.role}) {len(d.dataset)} frames of {len(d.dataset.sequences)} sequences"
            for d in self.domains
        )
