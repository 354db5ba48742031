"""Trainings of a few steps, on domains of a few spots."""

from __future__ import annotations

from pathlib import Path

from loddis_trainer.config import FitConfig

__all__ = ["short_run"]


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
    }
    return FitConfig.model_validate(values | ({} if out is None else {"out": out}) | changes)
