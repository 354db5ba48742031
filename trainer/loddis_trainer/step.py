"""One step of a training: rates set, losses forward, gradients back, weights on."""

from __future__ import annotations

import math

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim import Optimizer

from loddis_trainer.config import FitConfig
from loddis_trainer.data import Batch
from loddis_trainer.errors import NotFiniteError
from loddis_trainer.schedule import learning_rate_factor, reversal_factor
from loddis_trainer.training_model import TrainingLosses, TrainingModel

__all__ = ["set_schedules", "train_step"]


def set_schedules(
    config: FitConfig, model: TrainingModel, optimiser: Optimizer, *, step: int, total_steps: int
) -> float:
    """Set what changes from step to step, the learning rate and λ of the gradient reversal; give the former.

    Args:
        config: Of the training.
        model: As it was before it was wrapped for its device.
        optimiser: Of the model.
        step: From 0.
        total_steps: Steps of the whole training.
    """
    rate = config.learning_rate * learning_rate_factor(
        step, total_steps=total_steps, warmup_steps=config.warmup_steps, schedule=config.schedule
    )
    for group in optimiser.param_groups:
        group["lr"] = rate
    if model.branches is not None:
        model.branches.reversal_strength = config.reversal_strength * reversal_factor(
            step, total_steps=total_steps, schedule=config.reversal_schedule
        )
    return rate


def train_step(
    fabric: Fabric,
    model: nn.Module,
    optimiser: Optimizer,
    batch: Batch,
    *,
    clip_grad_norm: float,
    gradients_may_overflow: bool = False,
) -> TrainingLosses:
    """Take one step on a batch; several processes take it together, or none does.

    Args:
        fabric: Device and precision.
        model: Set up by it.
        optimiser: Likewise.
        batch: What to learn from.
        clip_grad_norm: Largest gradient norm; 0 is off.
        gradients_may_overflow: The scaler of 16-bit floats skips steps whose gradients are not finite: no fault.

    Raises:
        NotFiniteError: The loss or its gradient is not finite, in this process or in another one; the weights are as
            they were before the step. The message is empty where it was in others alone.
    """
    device = fabric.device
    losses: TrainingLosses = model(
        batch.frames.to(device, non_blocking=True).to(memory_format=torch.channels_last),
        batch.boxes_xyxy,
        batch.class_ids,
        batch.domain_ids,  # the host decides by them what goes where
    )
    finite = bool(torch.isfinite(losses.total))
    if not _in_all_processes(fabric, holds=finite):
        if finite:
            raise NotFiniteError
        parts = ", ".join(f"{name} {value:.4g}" for name, value in losses.scalars().items())
        raise NotFiniteError(f"the loss is not finite ({parts}) on the frames {', '.join(batch.names)}")
    optimiser.zero_grad(set_to_none=True)
    fabric.backward(losses.total)
    largest = clip_grad_norm if clip_grad_norm > 0 else math.inf
    norm = fabric.clip_gradients(model, optimiser, max_norm=largest, error_if_nonfinite=False)
    if norm is not None and not gradients_may_overflow and not bool(torch.isfinite(norm)):
        raise NotFiniteError(f"the gradient is not finite on the frames {', '.join(batch.names)}")
    optimiser.step()
    return losses


def _in_all_processes(fabric: Fabric, *, holds: bool) -> bool:
    """Tell whether something holds in every process; without this, those where it does wait for the others for ever."""
    if fabric.world_size == 1:
        return holds
    failures = fabric.all_reduce(torch.tensor(float(not holds), device=fabric.device), reduce_op="sum")
    return float(failures) == 0  # type: ignore[arg-type]
