"""What a training begins with: an earlier run to go on from, or the weights of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from loddis_trainer.checkpoint import CheckpointInfo, read_info, read_weights, restore_checkpoint
from loddis_trainer.config import FitConfig
from loddis_trainer.errors import CheckpointError, TrainingError
from loddis_trainer.training_model import TrainingModel

__all__ = ["Stages", "read_earlier_run", "start_from"]

Stages: TypeAlias = tuple[dict[str, Any], ...]
"""Configurations of the trainings that the first weights came from, oldest first."""

# A resumed run may differ from the one it goes on from in these, and in nothing else.
FREE_ON_RESUME = {
    *("resume", "out", "cache_dir", "data_root", "threads", "workers", "accelerator", "epochs", "patience"),
    "evidence_frames",
}


def read_earlier_run(config: FitConfig) -> CheckpointInfo | None:
    """Give the run to go on from; refuse to write over one, or to go on from one that was configured otherwise."""
    last = config.out / "last"
    restore_checkpoint(last)
    if not config.resume:
        if (last / "checkpoint.json").exists():
            raise TrainingError(f"{config.out} holds a run already; choose another --out, or --resume it")
        return None
    info = read_info(last)
    try:
        # Not the document itself: a field that came since has its default there.
        then = FitConfig.model_validate(info.config).model_dump(mode="json")
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise CheckpointError(f"{last} was configured by another version: {fault['loc'][0]}: {fault['msg']}") from error
    differing = [
        f"{name} was {then[name]!r}, is {value!r}"
        for name, value in config.model_dump(mode="json").items()
        if name not in FREE_ON_RESUME and then[name] != value
    ]
    if differing:
        raise TrainingError(f"{last} was trained with another configuration: {'; '.join(differing)}")
    return info


def start_from(folder: Path, model: TrainingModel) -> Stages:
    """Put the weights of a checkpoint into a model, and give the configurations that they came from.

    The branches come along where they fit; for another number of domains they start afresh.

    Raises:
        CheckpointError: It is missing, half-written, or of another variant, window or number of classes.
    """
    info, weights = read_info(folder), read_weights(folder)
    own = model.state_dict()
    missing = [name for name in own if name.startswith("detector.") and name not in weights]
    if missing:
        raise CheckpointError(f"{folder} does not fit: it has no weight '{missing[0]}'")
    for name, value in weights.items():
        if name in own and own[name].shape == value.shape:
            own[name].copy_(value)
        elif name.startswith("detector."):
            raise CheckpointError(f"{folder} does not fit: its weight '{name}' is {tuple(value.shape)}")
    return (*info.earlier, info.config)
