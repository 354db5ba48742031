"""Train a detector on a mixture of domains: open, build, then per epoch train, validate, save.

Legend: B batch, T frames, H W network pixels, M ground truths of a frame.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import nn

from loddis_trainer.building import (
    build_loader,
    build_norm_statistics,
    build_optimiser,
    build_training_model,
    open_mixture,
)
from loddis_trainer.checkpoint import (
    CheckpointInfo,
    DomainInfo,
    is_whole,
    read_state,
    remove_checkpoint,
    save_checkpoint,
)
from loddis_trainer.choices import CANDIDATES
from loddis_trainer.config import FitConfig
from loddis_trainer.data import DomainDataset, Mixture
from loddis_trainer.earlier import Start, keep_domains, read_earlier_run, start_from
from loddis_trainer.ema import WeightAverage
from loddis_trainer.errors import NotFiniteError, TrainingError
from loddis_trainer.evidence import EvidenceRecorder
from loddis_trainer.exhaustion import says_what_is_short
from loddis_trainer.journal import Journal
from loddis_trainer.progress import TrainingProgress
from loddis_trainer.resume import restore_training, training_state
from loddis_trainer.software import software_versions
from loddis_trainer.step import set_schedules, train_step
from loddis_trainer.stopping import STOPPED, save_stopped
from loddis_trainer.training_model import TrainingModel
from loddis_trainer.validation import Validation, frames_to_validate, validate

__all__ = ["FitResult", "fit"]


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
        rank: Of this process among those that trained together; 0 speaks for all.
    """

    out: Path
    epochs: int
    steps: int
    best_map50: float
    seconds: float
    rank: int = 0


@says_what_is_short()
def fit(config: FitConfig, *, progress: bool = True) -> FitResult:
    """Train as `config` says, and leave `best/` and `last/` under `config.out`.

    Args:
        config: The run.
        progress: Print lines and, on a terminal, bars.

    Raises:
        DataError: Domains that are missing, empty, or contradict each other.
        CheckpointError: Nothing to resume from, or a checkpoint that cannot be written.
        TrainingError: `out` holds a run already, the run to resume was configured otherwise or had other frames, or
            there is too little memory, too few files may be open, or a loader process was killed.
        NotFiniteError: A loss or its gradient is not finite; the averaged weights from before are in `out/stopped`,
            until a resume has completed an epoch.
        OSError: A file of the run cannot be written; it is named.
    """
    started = time.monotonic()
    before = read_earlier_run(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    fabric = _open_fabric(config)
    fabric.seed_everything(config.seed, verbose=False)
    speaks = fabric.is_global_zero
    if not speaks:
        logging.getLogger("loddis_trainer").setLevel(logging.ERROR)  # one of the processes warns for all

    mixture = open_mixture(config, "train", progress=progress and speaks)
    held_out = open_mixture(config, "val", progress=progress and speaks, task_only=True)
    _check_targets(config, mixture, held_out)
    _warn_of_unseen_classes(config, mixture)
    domains = _domains_of(mixture)
    if before is not None:
        domains = keep_domains(before, domains, out=config.out)
    loader = build_loader(config, mixture, fabric)
    held_out.prepare_windows(config.window)  # as the loader did for `mixture`: not in the midst of the first validation
    total_steps = config.epochs * loader.steps_per_epoch

    training = build_training_model(config, roles=[domain.role for domain in mixture.domains])
    start = start_from(config, training, loader) if before is None else Start.of(before)
    training.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = WeightAverage(training, decay=config.ema_decay)
    average.average.to(fabric.device)
    model, optimiser = fabric.setup(training, build_optimiser(config, training))
    done = TrainingProgress()
    if before is not None:
        restore_training(read_state(config.out / "last"), training, average, optimiser)
        done = TrainingProgress.of(before)
        if not is_whole(config.out / "best"):  # a best that nobody has any more is none to beat
            if done.best_map50 > -math.inf:
                log.warning("%s cannot be read any more: the next validation is the best", config.out / "best")
            done.best_map50, done.stale = -math.inf, 0

    statistics = build_norm_statistics(config, loader) if speaks else None
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
                rate = set_schedules(config, training, optimiser, step=done.step, total_steps=total_steps)
                try:
                    losses = train_step(
                        fabric,
                        model,
                        optimiser,
                        batch,
                        clip_grad_norm=config.clip_grad_norm,
                        gradients_may_overflow=config.precision == "16-mixed",
                    )
                except NotFiniteError as error:
                    info = _describe(config, domains, start, done=done, result=None)
                    weights = _training_model(average.average)
                    raise save_stopped(
                        error, config.out, info, weights, statistics=statistics, fabric=fabric
                    ) from error
                average.update(training)
                done.step += 1
                journal.log_step(done.step, losses, learning_rate=rate, frames=len(batch.frames) * fabric.world_size)
            done.epoch += 1

            if statistics is not None:
                statistics.settle(_training_model(average.average), epoch=done.epoch - 1)
                result: Validation | None = None
                if done.epoch % config.validate_every == 0 or done.epoch == config.epochs:
                    result = validate(_training_model(average.average).detector, config, held_out)
                journal.end_epoch(done.epoch, done.step, result.headline() if result else {})
                better = result is not None and done.judge(result.map50)
                info = _describe(config, domains, start, done=done, result=result)
                if better:  # first: what `last` says of the best must be there
                    save_checkpoint(config.out / "best", info, average.average)
                if config.keep_every and done.epoch % config.keep_every == 0:
                    save_checkpoint(config.out / f"epoch-{done.epoch:03d}", info, average.average)
                state = training_state(training, average, optimiser)
                save_checkpoint(config.out / "last", info, average.average, state=state)
                remove_checkpoint(config.out / STOPPED)  # of an earlier try at this epoch
                if result is not None and evidence is not None:
                    evidence.record(average.average, epoch=done.epoch, step=done.step)
            done = fabric.broadcast(done)
        if done.epoch < config.epochs:
            journal.note(f"stopped: {done.stale} validations brought nothing better")
    seconds = time.monotonic() - started
    return FitResult(config.out, done.epoch, done.step, done.best_map50, seconds, rank=fabric.global_rank)


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


def _warn_of_unseen_classes(config: FitConfig, mixture: Mixture) -> None:
    """Say of which classes nothing can be learnt: a name may be misspelt, or the frames that were taken have none."""
    seen = {
        int(label)
        for domain in mixture.domains
        for number in range(len(domain.dataset))
        for label in domain.dataset.class_ids(number)
    }
    if unseen := [name for number, name in enumerate(config.classes) if number not in seen]:
        log.warning("none of the frames to train on has a target of %s: nothing is learnt of it", ", ".join(unseen))


def _check_targets(config: FitConfig, mixture: Mixture, held_out: Mixture) -> None:
    """Refuse to train towards nothing: without targets there is nothing to learn, or to choose the best weights by."""
    for domain in mixture.domains:
        if domain.role == "task" and not _has_target(domain.dataset, range(len(domain.dataset))):
            raise TrainingError(
                f"the split 'train' of {domain.dataset.name} has no target: there is nothing to learn from"
            )
    looked_at = [(domain.dataset, frames_to_validate(domain.dataset, config)) for domain in held_out.domains]
    if not any(_has_target(dataset, numbers) for dataset, numbers in looked_at):
        names = ", ".join(dataset.name for dataset, _ in looked_at)
        whole = any(_has_target(dataset, range(len(dataset))) for dataset, _ in looked_at)
        raise TrainingError(
            f"the {sum(len(numbers) for _, numbers in looked_at)} frames of {names} that validations look at have no "
            f"target: raise validate_frames"
            if whole
            else f"the split 'val' of {names} has no target: there is nothing to choose the best weights by"
        )


def _has_target(dataset: DomainDataset, numbers: Iterable[int]) -> bool:
    return any(len(dataset.boxes(number)) for number in numbers)


def _training_model(model: nn.Module) -> TrainingModel:
    return cast(TrainingModel, model)


def _domains_of(mixture: Mixture) -> tuple[DomainInfo, ...]:
    return tuple(
        DomainInfo(
            name=d.dataset.name,
            role=d.role,
            fraction=d.fraction,
            sequences=len(d.dataset.sequences),
            frames=len(d.dataset),
            sequences_there=d.sequences_there,
            frames_there=d.frames_there,
            digest=_digest(d.dataset),
        )
        for d in mixture.domains
    )


def _digest(dataset: DomainDataset) -> str:
    lengths = "\n".join(f"{name!a} {len(numbers)}" for name, numbers in dataset.sequences.items())
    return hashlib.sha256(lengths.encode()).hexdigest()[:16]


def _describe(
    config: FitConfig,
    domains: tuple[DomainInfo, ...],
    start: Start,
    *,
    done: TrainingProgress,
    result: Validation | None,
) -> CheckpointInfo:
    return CheckpointInfo(
        variant=config.variant,
        classes=tuple(config.classes),
        window=config.window,
        register_window=config.register_window,
        size_hw=config.size_hw,
        stride=config.stride,
        keep=CANDIDATES,
        intensity=config.intensity,
        domains=domains,
        epoch=done.epoch,
        step=done.step,
        best_map50=done.best_map50 if math.isfinite(done.best_map50) else None,
        stale=done.stale,
        score_threshold=result.score_threshold if result else None,
        metrics=result.headline() if result else {},
        config=config.model_dump(mode="json"),
        earlier=start.stages,
        started_from=start.bundle,
        start_domains=start.domains,
        software=software_versions("torch", "lightning-fabric", "numpy"),
    )
