"""Going on from a checkpoint: live weights, averaged weights, optimiser moments, counters.

All tensors travel in one safetensors file, by name; nothing is pickled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from loddis_trainer.ema import WeightAverage
from loddis_trainer.errors import CheckpointError

__all__ = ["restore_training", "training_state"]

MODEL, AVERAGE, MOMENTS, AVERAGE_STEPS = "model/", "average/", "moments/", "average_steps"


def training_state(model: nn.Module, average: WeightAverage, optimiser: Optimizer) -> dict[str, Tensor]:
    """Collect what a resume needs as named tensors."""
    state: dict[str, Tensor] = {AVERAGE_STEPS: torch.tensor(average.steps)}
    state |= {MODEL + name: value for name, value in model.state_dict().items()}
    state |= {AVERAGE + name: value for name, value in average.average.state_dict().items()}
    for number, moments in optimiser.state_dict()["state"].items():
        for name, value in moments.items():
            if value is not None:
                state[f"{MOMENTS}{number}/{name}"] = torch.as_tensor(value)
    return state


def restore_training(state: dict[str, Tensor], model: nn.Module, average: WeightAverage, optimiser: Optimizer) -> None:
    """Put the tensors of `training_state` back.

    Raises:
        CheckpointError: They belong to another model or optimiser.
    """
    try:
        model.load_state_dict(_under(state, MODEL))
        average.average.load_state_dict(_under(state, AVERAGE))
        average.steps = int(state[AVERAGE_STEPS])
        moments: dict[int, dict[str, Any]] = {}
        for key, value in _under(state, MOMENTS).items():
            number, name = key.split("/", 1)
            moments.setdefault(int(number), {})[name] = value
        whole = optimiser.state_dict()
        whole["state"] = moments
        optimiser.load_state_dict(whole)
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"the state to resume from does not fit: {str(error).splitlines()[-1].strip()}"
        ) from error


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
