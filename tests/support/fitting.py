"""Trainings of a few steps, on domains of a few spots."""

from __future__ import annotations

from pathlib import Path

from loddis_trainer.config import FitConfig
from support.domains import write_coco_domain, write_drone_csv_domain

__all__ = ["short_run", "two_step_run", "write_dark_and_bright"]


def short_run(domains: Path, out: Path | None = None, **changes: object) -> FitConfig:
    """Configure a training of seconds on a CPU; `changes` replace the defaults.

    Args:
        domains: Folder of the domains; their cache goes there too.
        out: Folder of the run.
        changes: Fields of `FitConfig`.
    """
    values: dict[str, object] = {
        "task": ["dark"],
        "auxiliary": ["bright"],
        "data_root": domains,
        "cache_dir": domains / "cache",
        "size_hw": (64, 96),
        "epochs": 2,
        "share_per_epoch": 0.5,
        "batch_size": 6,
        "balance": "domain",
        "warmup_steps": 2,
        "norm_batches": 2,
        "accelerator": "cpu",
        "precision": "32-true",
        "threads": 1,
        "workers": 0,  # they are forked, and the process of the tests is full of threads
    }
    return FitConfig.model_validate(values | ({} if out is None else {"out": out}) | changes)


def two_step_run(domains: Path, out: Path, **changes: object) -> FitConfig:
    """Configure a run of one epoch of two steps; `changes` replace settings."""
    return short_run(domains, out, **({"epochs": 1, "steps_per_epoch": 2, "batch_size": 4} | changes))


def write_dark_and_bright(root: Path, *, videos: int, frames: int) -> Path:
    """Write the domain `dark`, of so many videos to train on, and `bright`, of single frames; give their folder."""
    write_drone_csv_domain(root / "dark", splits={"train": videos, "val": 1}, frames=frames)
    write_coco_domain(root / "bright")
    return root
