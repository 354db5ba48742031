"""Train a detector on a mixture of domains: open, build, then per epoch train, validate, save.

Legend: B batch, T frames, H W network pixels, M ground truths of a frame.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from lightning_fabric import Fabric
from pydantic import ValidationError
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from loddis_trainer.checkpoint import (
    CheckpointInfo,
    DomainInfo,
    read_info,
    read_state,
    read_weights,
    restore_checkpoint,
    save_checkpoint,
)
from loddis_trainer.config import FitConfig
from loddis_trainer.data import Batch, EpochPlan, Mixture, Role, TrainingLoader, TrainingSamples
from loddis_trainer.ema import WeightAverage
from loddis_trainer.errors import CheckpointError, TrainingError
from loddis_trainer.evidence import EvidenceRecorder
from loddis_trainer.journal import Journal
from loddis_trainer.losses.branches import BranchLoss, LoddisBranches
from loddis_trainer.models import LoddisDetector, build_detector
from loddis_trainer.progress import TrainingProgress
from loddis_trainer.resume import restore_training, training_state
from loddis_trainer.schedule import learning_rate_factor, reversal_factor
from loddis_trainer.software import software_versions
from loddis_trainer.training_model import LossWeights, TrainingLosses, TrainingModel
from loddis_trainer.validation import Validation, validate

__all__ = ["FitResult", "build_training_model", "fit"]

Stages: TypeAlias = tuple[dict[str, Any], ...]

log = logging.getLogger(__name__)

# A resumed run may differ from the one it goes on from in these, and in nothing else.
FREE_ON_RESUME = {
    *("resume", "out", "cache_dir", "data_root", "threads", "workers", "accelerator", "epochs", "patience"),
    "evidence_frames",
}


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a training came to.

    Attributes:
        out: Folder of the run, with `best/` and `last/`.
        epochs: Epochs completed.
        steps: Optimiser steps completed.
        best_map50: Best validation mAP50 of the task domains, in [0, 1].
        seconds: Wall time of this call.
        rank: Of this process among those that trained together; 0 speaks for all.
    """

    out: Path
    epochs: int
    steps: int
    best_map50: float
    seconds: float
    rank: int = 0


def fit(config: FitConfig, *, progress: bool = True) -> FitResult:
    """Train as `config` says, and leave `best/` and `last/` under `config.out`.

    Args:
        config: The run.
        progress: Print lines and, on a terminal, bars.

    Raises:
        DataError: Domains that are missing, empty, or contradict each other.
        CheckpointError: Nothing to resume from, or a checkpoint that cannot be written.
        TrainingError: `out` holds a run already, the run to resume was configured otherwise, or a loss is not finite.
    """
    started = time.monotonic()
    before = _read_earlier_run(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    fabric = _open_fabric(config)
    fabric.seed_everything(config.seed, verbose=False)
    speaks = fabric.is_global_zero
    if not speaks:
        logging.getLogger("loddis_trainer").setLevel(logging.ERROR)  # one of the processes warns for all

    mixture = _open(config, "train", progress=progress and speaks)
    held_out = _open(config, "val", progress=progress and speaks, task_only=True)
    _check_targets(mixture, held_out)
    loader = build_loader(config, mixture, fabric)
    total_steps = config.epochs * loader.steps_per_epoch

    training = build_training_model(config, roles=[domain.role for domain in mixture.domains])
    earlier = start_from(config.init, training) if config.init is not None and before is None else ()
    training.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = WeightAverage(training, decay=config.ema_decay)
    average.average.to(fabric.device)
    model, optimiser = fabric.setup(training, build_optimiser(config, training))
    done = TrainingProgress()
    if before is not None:
        restore_training(read_state(config.out / "last"), training, average, optimiser)
        done = TrainingProgress.of(before)
        if not (config.out / "best").is_dir():  # a best that nobody has any more is none to beat
            done.best_map50 = -math.inf
        earlier = before.earlier

    evidence = EvidenceRecorder.open(config, mixture, held_out) if speaks else None

    with Journal(
        config.out, total_steps=total_steps, active=speaks, visible=progress, epochs_done=done.epoch
    ) as journal:
        journal.note(f"{mixture.label}: {mixture.describe()}; {loader.steps_per_epoch} steps an epoch")
        if evidence is not None:
            evidence.begin(average.average, epoch=done.epoch, step=done.step)
        while done.epoch < config.epochs and not done.exhausted(config.patience):
            model.train()
            journal.begin_epoch(done.step)
            for batch in loader.epoch(done.epoch):
                rate = _set_schedules(config, training, optimiser, step=done.step, total_steps=total_steps)
                losses = train_step(
                    fabric,
                    model,
                    optimiser,
                    batch,
                    clip_grad_norm=config.clip_grad_norm,
                    gradients_may_overflow=config.precision == "16-mixed",
                )
                average.update(training)
                done.step += 1
                journal.log_step(done.step, losses, learning_rate=rate, frames=len(batch.frames) * fabric.world_size)
            done.epoch += 1

            if speaks:
                result: Validation | None = None
                if done.epoch % config.validate_every == 0 or done.epoch == config.epochs:
                    result = validate(_detector(average.average), config, held_out)
                journal.end_epoch(done.epoch, done.step, result.headline() if result else {})
                if result is not None and evidence is not None:
                    evidence.record(average.average, epoch=done.epoch, step=done.step)
                better = result is not None and done.judge(result.map50)
                info = _describe(config, mixture, earlier, done=done, result=result)
                if better:  # first: what `last` says of the best must be there
                    save_checkpoint(config.out / "best", info, average.average)
                state = training_state(training, average, optimiser)
                save_checkpoint(config.out / "last", info, average.average, state=state)
            done = fabric.broadcast(done)
        if done.epoch < config.epochs:
            journal.note(f"stopped: {done.stale} validations brought nothing better")
    seconds = time.monotonic() - started
    return FitResult(config.out, done.epoch, done.step, done.best_map50, seconds, rank=fabric.global_rank)


def build_training_model(config: FitConfig, *, roles: Sequence[Role]) -> TrainingModel:
    """Build the detector and, where a loss of the method is on and there are domains to tell apart, its branches.

    Args:
        config: The run.
        roles: Of each domain, by domain id.
    """
    detector = build_detector(
        config.variant, num_classes=len(config.classes), window=config.window, stride=config.stride
    )
    weighted: tuple[tuple[BranchLoss, float], ...] = (
        ("correlation", config.alpha),
        ("confusion", config.beta),
        ("consistency", config.eta),
    )
    enabled = frozenset(name for name, weight in weighted if weight > 0)
    branches = None
    if len(roles) > 1 and enabled:
        branches = LoddisBranches(
            detector.fused_channels,
            num_domains=len(roles),
            embed_channels=config.embed_channels,
            pooling=config.pooling,
            kernel=config.kernel,
            temperature=config.temperature,
            reversal_strength=config.reversal_strength,
            enabled=enabled,
        )
    weights = LossWeights(alpha=config.alpha, beta=config.beta, eta=config.eta)
    trust = [config.auxiliary_box_trust if role == "auxiliary" else 1.0 for role in roles]
    return TrainingModel(detector, branches, weights=weights, box_loss=config.box_loss, box_trust=trust)


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


def _set_schedules(
    config: FitConfig, model: TrainingModel, optimiser: Optimizer, *, step: int, total_steps: int
) -> float:
    """Set what changes from step to step; give the learning rate."""
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


def build_optimiser(config: FitConfig, model: nn.Module) -> Optimizer:
    """Build the optimiser; weight decay pulls on kernels only, not on biases and normalisation."""
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if config.optimiser == "sgd":
        return SGD(groups, lr=config.learning_rate, momentum=0.937, nesterov=True)
    return AdamW(groups, lr=config.learning_rate)


def train_step(
    fabric: Fabric,
    model: nn.Module,
    optimiser: Optimizer,
    batch: Batch,
    *,
    clip_grad_norm: float,
    gradients_may_overflow: bool = False,
) -> TrainingLosses:
    """Take one step on a batch.

    Args:
        fabric: Device and precision.
        model: Set up by it.
        optimiser: Likewise.
        batch: What to learn from.
        clip_grad_norm: Largest gradient norm; 0 is off.
        gradients_may_overflow: The scaler of 16-bit floats skips steps whose gradients are not finite: no fault.

    Raises:
        TrainingError: The loss or its gradient is not finite; the weights are as they were before the step.
    """
    device = fabric.device
    losses: TrainingLosses = model(
        batch.frames.to(device, non_blocking=True).to(memory_format=torch.channels_last),
        batch.boxes_xyxy,
        batch.class_ids,
        batch.domain_ids.to(device, non_blocking=True),
    )
    if not bool(torch.isfinite(losses.total)):
        parts = ", ".join(f"{name} {value:.4g}" for name, value in losses.scalars().items())
        raise TrainingError(f"the loss is not finite ({parts}) on the frames {', '.join(batch.names)}")
    optimiser.zero_grad(set_to_none=True)
    fabric.backward(losses.total)
    largest = clip_grad_norm if clip_grad_norm > 0 else math.inf
    norm = fabric.clip_gradients(model, optimiser, max_norm=largest, error_if_nonfinite=False)
    if norm is not None and not gradients_may_overflow and not bool(torch.isfinite(norm)):
        raise TrainingError(f"the gradient is not finite on the frames {', '.join(batch.names)}")
    optimiser.step()
    return losses


def _open_fabric(config: FitConfig) -> Fabric:
    """Find the devices and start the processes on them."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # what it tells is in the configuration already
    # A batch without a second domain leaves branches without gradient, which plain DDP takes for a fault.
    strategy = "ddp_find_unused_parameters_true" if config.devices > 1 else "auto"
    try:
        fabric = Fabric(
            accelerator=config.accelerator, devices=config.devices, strategy=strategy, precision=config.precision
        )
        fabric.launch()
    except (RuntimeError, ValueError) as error:  # MisconfigurationException is a ValueError
        wanted = f"{config.devices} of {config.accelerator} in {config.precision}"
        raise TrainingError(f"cannot train on {wanted}: {' '.join(str(error).split())}") from error
    return fabric


def _check_targets(mixture: Mixture, held_out: Mixture) -> None:
    """Refuse to train towards nothing: without targets there is nothing to learn, or to choose the best weights by."""
    tasks = [domain for domain in mixture.domains if domain.role == "task"]
    for split, domains, what in (
        ("train", tasks, "learn from"),
        ("val", held_out.domains, "choose the best weights by"),
    ):
        if not any(len(record.boxes_xyxy) for domain in domains for record in domain.dataset.records):
            names = ", ".join(domain.dataset.name for domain in domains)
            raise TrainingError(f"the split '{split}' of {names} has no target: there is nothing to {what}")


def _read_earlier_run(config: FitConfig) -> CheckpointInfo | None:
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


def _open(config: FitConfig, split: str, *, progress: bool, task_only: bool = False) -> Mixture:
    return Mixture.open(
        config.task,
        [] if task_only else config.auxiliary,
        split=split,
        seed=config.seed,
        data_root=config.data_root,
        cache_dir=config.cache_dir,
        classes=config.classes,
        progress=progress,
    )


def build_loader(config: FitConfig, mixture: Mixture, fabric: Fabric) -> TrainingLoader:
    samples = TrainingSamples(
        mixture,
        size_hw=config.size_hw,
        window=config.window,
        register_window=config.register_window,
        intensity=config.intensity,
        augmentation=config.augment,
        seed=config.seed,
    )
    plan = EpochPlan(
        config.batch_size,
        share_per_epoch=config.share_per_epoch,
        steps_per_epoch=config.steps_per_epoch,
        balance=config.balance,
        task_share=config.task_share,
        seed=config.seed,
    )
    return TrainingLoader(samples, plan, rank=fabric.global_rank, world_size=fabric.world_size, workers=config.workers)


def _detector(model: nn.Module) -> LoddisDetector:
    return cast(TrainingModel, model).detector


def _describe(
    config: FitConfig,
    mixture: Mixture,
    earlier: Stages,
    *,
    done: TrainingProgress,
    result: Validation | None,
) -> CheckpointInfo:
    domains = tuple(
        DomainInfo(
            name=d.dataset.name,
            role=d.role,
            fraction=d.fraction,
            sequences=len(d.dataset.sequences),
            frames=len(d.dataset),
        )
        for d in mixture.domains
    )
    return CheckpointInfo(
        variant=config.variant,
        classes=tuple(config.classes),
        window=config.window,
        register_window=config.register_window,
        size_hw=config.size_hw,
        stride=config.stride,
        keep=100,
        intensity=config.intensity,
        domains=domains,
        epoch=done.epoch,
        step=done.step,
        best_map50=done.best_map50 if math.isfinite(done.best_map50) else None,
        stale=done.stale,
        score_threshold=result.score_threshold if result else None,
        metrics=result.headline() if result else {},
        config=config.model_dump(mode="json"),
        earlier=earlier,
        software=software_versions("torch", "lightning-fabric", "numpy"),
    )
