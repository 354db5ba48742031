"""Train a detector on a mixture of domains: open, build, then per epoch train, validate, save.

Legend: B batch, T frames, H W network pixels, M ground truths of a frame.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from loddis_trainer.checkpoint import CheckpointInfo, DomainInfo, read_info, save_checkpoint
from loddis_trainer.config import FitConfig
from loddis_trainer.data import Batch, Mixture, open_mixture, training_loader
from loddis_trainer.ema import WeightAverage
from loddis_trainer.errors import TrainingError
from loddis_trainer.evaluate import evaluate_detector
from loddis_trainer.journal import Journal
from loddis_trainer.losses.branches import LoddisBranches
from loddis_trainer.metrics import Metrics
from loddis_trainer.models import build_detector
from loddis_trainer.resume import restore, training_state
from loddis_trainer.schedule import learning_rate_factor
from loddis_trainer.software import software_versions
from loddis_trainer.training_model import LossWeights, TrainingLosses, TrainingModel

__all__ = ["FitResult", "build_training_model", "fit"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a training came to.

    Attributes:
        out: Folder of the run, with `best/` and `last/`.
        epochs: Epochs completed.
        steps: Optimiser steps completed.
        best_map50: Best validation mAP50 of the task domains, in [0, 1].
        seconds: Wall time of this call.
    """

    out: Path
    epochs: int
    steps: int
    best_map50: float
    seconds: float


def fit(config: FitConfig, *, progress: bool = True) -> FitResult:
    """Train as `config` says, and leave `best/` and `last/` under `config.out`.

    Args:
        config: The run.
        progress: Show bars and a line an epoch.

    Raises:
        DataError: Domains that are missing, empty, or contradict each other.
        CheckpointError: Nothing to resume from, or a checkpoint that cannot be written.
        TrainingError: `out` holds a run already, the configuration differs from the run to resume, or a loss is not finite.
    """
    started = time.monotonic()
    _refuse_contradictions(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    fabric = Fabric(accelerator=config.accelerator, devices=config.devices, precision=config.precision)
    fabric.launch()
    fabric.seed_everything(config.seed, verbose=False)

    mixture = open_mixture(config, split="train", progress=progress and fabric.is_global_zero)
    held_out = open_mixture(config, split="val", progress=progress and fabric.is_global_zero)
    loader = training_loader(config, mixture, rank=fabric.global_rank, world_size=fabric.world_size)
    total_steps = config.epochs * loader.steps_per_epoch

    model = build_training_model(config, num_domains=len(mixture.domains))
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = WeightAverage(model, decay=config.ema_decay)
    optimiser = build_optimiser(config, model)
    model, optimiser = fabric.setup(model, optimiser)
    average.average.to(fabric.device)
    progress_so_far = restore(config, model, average, optimiser) if config.resume else None
    epoch, step, best = progress_so_far or (0, 0, -math.inf)

    journal = Journal(config.out, epochs=config.epochs, visible=progress and fabric.is_global_zero)
    with journal:
        journal.note(f"{mixture.label}: {mixture.describe()}; {loader.steps_per_epoch} steps an epoch")
        while epoch < config.epochs:
            model.train()
            journal.begin_epoch(epoch, steps=loader.steps_per_epoch)
            for batch in loader.epoch(epoch):
                factor = learning_rate_factor(
                    step, total_steps=total_steps, warmup_steps=config.warmup_steps, schedule=config.schedule
                )
                for group in optimiser.param_groups:
                    group["lr"] = config.learning_rate * factor
                losses = train_step(fabric, model, optimiser, batch, clip_grad_norm=config.clip_grad_norm)
                average.update(model.module)
                step += 1
                journal.log_step(step, losses, learning_rate=config.learning_rate * factor)
            epoch += 1

            metrics: Metrics | None = None
            if epoch % config.validate_every == 0 or epoch == config.epochs:
                metrics = _validate(config, average.average, held_out, device=fabric.device)
                journal.log_validation(epoch, step, metrics)
            if fabric.is_global_zero:
                better = metrics is not None and metrics.map50 > best
                best = max(best, metrics.map50) if metrics is not None else best
                info = _describe(config, mixture, epoch=epoch, step=step, best=best, metrics=metrics)
                save_checkpoint(
                    config.out / "last", info, average.average, state=training_state(model.module, average, optimiser)
                )
                if better:
                    save_checkpoint(config.out / "best", info, average.average)
            fabric.barrier()
    return FitResult(config.out, epoch, step, best, time.monotonic() - started)


def build_training_model(config: FitConfig, *, num_domains: int) -> TrainingModel:
    """Build the detector and, where a loss of the method is on, its branches."""
    detector = build_detector(config.variant, num_classes=len(config.classes), window=config.window)
    weights = LossWeights(alpha=config.alpha, beta=config.beta, eta=config.eta)
    enabled = frozenset(
        name
        for name, weight in (("correlation", config.alpha), ("confusion", config.beta), ("consistency", config.eta))
        if weight > 0
    )
    branches = None
    if num_domains > 1 and enabled:
        branches = LoddisBranches(
            detector.fused_channels,
            num_domains=num_domains,
            embed_channels=config.embed_channels,
            pooling=config.pooling,
            kernel=config.kernel,
            temperature=config.temperature,
            reversal_strength=config.reversal_strength,
            enabled=enabled,
        )
    return TrainingModel(detector, branches, weights=weights)


def build_optimiser(config: FitConfig, model: nn.Module) -> Optimizer:
    """Build the optimiser; weight decay pulls on kernels only, not on biases and normalisation."""
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if config.optimiser == "sgd":
        return SGD(groups, lr=config.learning_rate, momentum=0.937, nesterov=True)
    return AdamW(groups, lr=config.learning_rate)


def train_step(
    fabric: Fabric, model: nn.Module, optimiser: Optimizer, batch: Batch, *, clip_grad_norm: float
) -> TrainingLosses:
    """Take one step on a batch.

    Raises:
        TrainingError: The loss is not finite; the weights are as they were before the step.
    """
    device = fabric.device
    losses: TrainingLosses = model(
        batch.frames.to(device, non_blocking=True, memory_format=torch.channels_last),
        [boxes.to(device, non_blocking=True) for boxes in batch.boxes_xyxy],
        batch.class_ids,
        batch.domain_ids.to(device, non_blocking=True),
    )
    if not math.isfinite(float(losses.total.detach())):
        parts = ", ".join(f"{name} {value:.4g}" for name, value in losses.scalars().items())
        raise TrainingError(f"the loss is not finite ({parts}) on the batch of frames {batch.describe()}")
    optimiser.zero_grad(set_to_none=True)
    fabric.backward(losses.total)
    if clip_grad_norm > 0:
        fabric.clip_gradients(model, optimiser, max_norm=clip_grad_norm, error_if_nonfinite=False)
    optimiser.step()
    return losses
