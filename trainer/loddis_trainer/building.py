"""From a configuration to what it names: domains, loader, model, optimiser."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from lightning_fabric import Fabric
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from loddis_runtime.engines.threads import available_cores
from loddis_trainer.config import FitConfig
from loddis_trainer.data import EpochPlan, Mixture, Role, TrainingLoader, TrainingSamples
from loddis_trainer.data.loader_processes import suggest_loader_processes
from loddis_trainer.losses.branches import BranchLoss, LoddisBranches
from loddis_trainer.models import build_detector
from loddis_trainer.norm_statistics import NormStatistics
from loddis_trainer.training_model import LossWeights, TrainingModel

__all__ = ["build_loader", "build_norm_statistics", "build_optimiser", "build_training_model", "open_mixture"]

log = logging.getLogger(__name__)


def open_mixture(config: FitConfig, split: str, *, progress: bool, task_only: bool = False) -> Mixture:
    """Open the domains of a configuration, all or those of the task."""
    return Mixture.open(
        config.task,
        [] if task_only else config.auxiliary,
        split=split,
        seed=config.mixture_seed,
        data_root=config.data_root,
        cache_dir=config.cache_dir,
        classes=config.classes,
        progress=progress,
    )


def build_loader(config: FitConfig, mixture: Mixture, fabric: Fabric) -> TrainingLoader:
    """Build the loader of a mixture for this process."""
    samples = TrainingSamples(
        mixture,
        size_hw=config.size_hw,
        crop_hw=config.crop_hw,
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
        final_task_share=config.final_task_share,
        epochs=config.epochs,
        seed=config.seed,
    )
    workers = config.workers
    if workers is None:
        workers = suggest_loader_processes(trainings=fabric.world_size)
    elif fabric.is_global_zero and workers > (cores := available_cores()):
        log.warning("%d loader processes share %d cores: more than one for each helps nothing", workers, cores)
    return TrainingLoader(samples, plan, rank=fabric.global_rank, world_size=fabric.world_size, workers=workers)


def build_norm_statistics(config: FitConfig, loader: TrainingLoader) -> NormStatistics:
    """Build what measures the statistics of averaged weights, on frames of a loader that nothing is done to."""
    return NormStatistics(TrainingLoader(loader.samples.unchanged(), loader.plan), batches=config.norm_batches)


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
            contrast=config.contrast,
            reversal_strength=config.reversal_strength,
            enabled=enabled,
        )
    weights = LossWeights(alpha=config.alpha, beta=config.beta, eta=config.eta)
    trust = None
    if config.auxiliary_box_trust < 1:
        trust = [config.auxiliary_box_trust if role == "auxiliary" else 1.0 for role in roles]
    groups = None
    if config.auxiliary_statistics == "own" and "auxiliary" in roles:
        groups = [0 if role == "task" else 1 + roles[:domain].count("auxiliary") for domain, role in enumerate(roles)]
    return TrainingModel(
        detector,
        branches,
        weights=weights,
        box_loss=config.box_loss,
        box_trust=trust,
        norm_groups=groups,
        is_auxiliary=[role == "auxiliary" for role in roles] if config.loss_balance == "domain" else None,
    )


def build_optimiser(config: FitConfig, model: nn.Module) -> Optimizer:
    """Build the optimiser; weight decay pulls on kernels only, not on biases and normalisation."""
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if config.optimiser == "sgd":
        return SGD(groups, lr=config.learning_rate, momentum=0.937, nesterov=True)
    return AdamW(groups, lr=config.learning_rate)
