"""The mean of several trainings' weights: one detector, at the cost of one, that is often better than each.

It works for checkpoints that lie close: of one run, or of runs that went on from the same weights. What they learned by
heart differs and cancels out, what they agree on stays.

References:
    Wortsman et al. 2022, Model soups, arXiv:2203.05482.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loddis_trainer.checkpoint import CheckpointInfo, read_info, read_weights, save_weights
from loddis_trainer.errors import CheckpointError

__all__ = ["average_checkpoints"]

# What checkpoints must have in common for their mean to mean something.
SAME = ("variant", "classes", "window", "register_window", "size_hw", "stride", "intensity")


def average_checkpoints(folders: Sequence[Path], out: Path) -> CheckpointInfo:
    """Write the mean of checkpoints' weights as a checkpoint.

    Its training-only branches are left out: they belong to one training each.

    Args:
        folders: At least two checkpoints, `best/` or `last/` of runs, all different.
        out: Folder of the mean; must not exist.

    Returns:
        Its description; how good it is has yet to be measured.

    Raises:
        CheckpointError: A checkpoint is missing or half-written, they differ in what must be the same, or `out` exists.
    """
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise CheckpointError(f"a mean is of two or more different checkpoints, got {', '.join(map(str, folders))}")
    if out.exists():
        raise CheckpointError(f"{out} exists already; choose another folder")
    infos = [read_info(folder) for folder in folders]
    for folder, info in zip(folders[1:], infos[1:], strict=True):
        for name in SAME:
            if getattr(info, name) != getattr(infos[0], name):
                raise CheckpointError(
                    f"{folder} cannot be averaged with {folders[0]}: its {name} is {getattr(info, name)},"
                    f" not {getattr(infos[0], name)}"
                )
    stages: list[dict[str, Any]] = []
    for info in infos:
        stages += [stage for stage in (*info.earlier, info.config) if stage not in stages]
    mean = infos[0].model_copy(
        update={
            "earlier": tuple(stages[:-1]),
            "config": stages[-1],
            "averaged": tuple(str(folder) for folder in folders),
            "epoch": max(info.epoch for info in infos),
            "step": max(info.step for info in infos),
            "best_map50": None,
            "score_threshold": None,
            "metrics": {},
            "created": dt.datetime.now(dt.UTC),
        }
    )
    save_weights(out, mean, _mean_of(folders))
    return mean


def _mean_of(folders: Sequence[Path]) -> dict[str, Tensor]:
    """Average the detector's weights in double precision; counters are the first's."""
    total: dict[str, Tensor] = {}
    for folder in folders:
        weights = {name: value for name, value in read_weights(folder).items() if name.startswith("detector.")}
        if total and (weights.keys() != total.keys() or any(weights[k].shape != total[k].shape for k in weights)):
            raise CheckpointError(f"{folder} has other weights than {folders[0]}")
        for name, value in weights.items():
            if not value.dtype.is_floating_point:
                total.setdefault(name, value)
            else:
                total[name] = total.get(name, torch.zeros_like(value, dtype=torch.float64)) + value.double()
    return {
        name: (value / len(folders)).float() if value.dtype.is_floating_point else value
        for name, value in total.items()
    }
