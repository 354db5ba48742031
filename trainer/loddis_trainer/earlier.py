"""What a training begins with: an earlier run to go on from, or the weights of a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from loddis_runtime.bundle import Bundle
from loddis_runtime.errors import LoddisError
from loddis_runtime.manifest import MANIFEST_NAME, TrainingDomain
from loddis_runtime.repository import open_bundle
from loddis_trainer.checkpoint import (
    FIRST_KERNEL,
    INFO,
    CheckpointInfo,
    DomainInfo,
    has_kernel_of_frames,
    read_info,
    read_weights,
    restore_checkpoint,
)
from loddis_trainer.config import FitConfig
from loddis_trainer.data import TrainingLoader
from loddis_trainer.errors import CheckpointError, TrainingError
from loddis_trainer.from_bundle import measure_norms, read_bundle_weights
from loddis_trainer.norm_statistics import remembered_frames
from loddis_trainer.training_model import TrainingModel

__all__ = ["Start", "config_of", "keep_domains", "read_earlier_run", "start_from"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Start:
    """Where the first weights of a run came from.

    Attributes:
        stages: Configurations of the trainings behind them, oldest first.
        bundle: That they all began with, NAME:VERSION, if it was one.
        domains: What that bundle learnt from.
    """

    stages: tuple[dict[str, Any], ...] = ()
    bundle: str | None = None
    domains: tuple[TrainingDomain, ...] = ()

    @classmethod
    def of(cls, info: CheckpointInfo) -> Start:
        """Give where the first weights of a checkpoint's run came from."""
        return cls(info.earlier, info.started_from, info.start_domains)


HEAD = "detector.head."
NORM_BATCHES = 8  # that normalisations of a bundle are measured on

# A resumed run may differ from the one it goes on from in these, and in nothing else. With another number of epochs,
# what moves over the training (learning rate, λ, the task's share, noise) goes on along the new way from where it is.
FREE_ON_RESUME = {
    *("resume", "out", "cache_dir", "data_root", "threads", "workers", "accelerator", "epochs", "patience"),
    *("evidence_frames", "keep_every"),
}


def read_earlier_run(config: FitConfig) -> CheckpointInfo | None:
    """Give the run to go on from; refuse to write over one, or to go on from one that was configured otherwise."""
    last = config.out / "last"
    for name in ("last", "best"):
        restore_checkpoint(config.out / name)
    if not config.resume:
        folders = (one.parent.name for one in sorted(config.out.glob(f"*/{INFO}")))
        there = next((name for name in folders if not name.startswith(".")), None)  # a kill leaves hidden ones
        if there is not None:
            way_out = ", or --resume it" if (last / INFO).is_file() else ""
            raise TrainingError(f"{config.out} holds a run already, in {there}/; choose another --out{way_out}")
        return None
    info = read_info(last)
    if has_kernel_of_frames(last):
        raise TrainingError(
            f"{last} was trained by an earlier version, which weighed the frames of a window otherwise: go on from its"
            f" weights by --init {last} and another --out"
        )
    # Not the document itself: a field that came since has its default there.
    then = config_of(info, name=str(last)).model_dump(mode="json")
    differing = [
        f"{name} was {then[name]!r}, is {value!r}"
        for name, value in config.model_dump(mode="json").items()
        if name not in FREE_ON_RESUME and then[name] != value
    ]
    if differing:
        raise TrainingError(f"{last} was trained with another configuration: {'; '.join(differing)}")
    return info


def keep_domains(before: CheckpointInfo, now: Sequence[DomainInfo], *, out: Path) -> tuple[DomainInfo, ...]:
    """Refuse to go on with other frames than the earlier epochs had; give domains as the run recorded them first.

    A split may have grown by frames that the run does not take. What an earlier version did not record is that of now.

    Raises:
        TrainingError: A domain has other sequences or frames by now.
    """
    kept = []
    for then, there in zip(before.domains, now, strict=True):
        one = then.model_copy(
            update={
                "sequences_there": then.sequences_there or there.sequences_there,
                "frames_there": then.frames_there or there.frames_there,
                "digest": then.digest or there.digest,
            }
        )
        of_then = {"sequences_there": one.sequences_there, "frames_there": one.frames_there}
        if one != there.model_copy(update=of_then):
            raise TrainingError(
                f"{out / 'last'} was trained on other data: {then.name} had {then.frames} frames of {then.sequences} "
                f"sequences, now {there.frames} of {there.sequences}, or others of them"
            )
        kept.append(one)
    return tuple(kept)


def config_of(info: CheckpointInfo, *, name: str) -> FitConfig:
    """Give the configuration that a checkpoint was trained with.

    Args:
        info: Of the checkpoint.
        name: What to call it if that cannot be read.

    Raises:
        CheckpointError: It was configured by another version.
    """
    try:
        return FitConfig.model_validate(_as_meant_then(info.config))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise CheckpointError(f"{name} was configured by another version: {where}: {fault['msg']}") from error


def _as_meant_then(config: dict[str, Any]) -> dict[str, Any]:
    """Give a configuration with what an earlier version did, where that is not what a field's default does now."""
    then: dict[str, Any] = {"mixture_seed": config.get("seed", 0)} | config  # one seed was for both
    augment = config.get("augment", {})
    if augment.get("noise"):
        then["augment"] = {"noise_ramp": 0.0} | augment  # it was whole from the first step on
    return then


def start_from(config: FitConfig, model: TrainingModel, loader: TrainingLoader) -> Start:
    """Put the weights of `config.init`, if there is one, into a model, and say where they came from.

    The branches come along where they fit; for another number of domains they start afresh. A bundle has none, and of
    its configurations only the graphs are left. A detector of single frames may become one of a longer window.

    Args:
        config: The run.
        model: In which weights are set.
        loader: Of what will be trained on: normalisations of a bundle are measured on it.

    Raises:
        CheckpointError: It is missing or half-written, of another variant or number of classes, or of a
            window of several frames that is not the run's.
    """
    if config.init is None:
        return Start()
    restore_checkpoint(config.init)
    if (config.init / MANIFEST_NAME).is_file() or not config.init.exists():
        bundle, weights = _read_bundle(config.init)
        if bundle.manifest.intensity != config.intensity:
            log.warning(
                "%s was trained on levels by %s, this run takes %s",
                config.init,
                bundle.manifest.intensity,
                config.intensity,
            )
        _take_weights(config, model, {f"detector.{name}": value for name, value in weights.items()})
        _measure_norms(config, model, loader)
        manifest = bundle.manifest
        return Start(bundle=f"{manifest.name}:{manifest.version}", domains=manifest.training_domains)
    info = read_info(config.init)
    _take_weights(config, model, read_weights(config.init))
    return replace(Start.of(info), stages=(*info.earlier, info.config))


def _read_bundle(name_or_path: Path) -> tuple[Bundle, dict[str, Tensor]]:
    """Open the bundle of a folder or, where there is nothing of that name, a shipped one; gives its weights, too."""
    try:
        bundle = open_bundle(name_or_path if name_or_path.exists() else str(name_or_path))
        return bundle, read_bundle_weights(bundle)
    except LoddisError as error:
        raise CheckpointError(f"{name_or_path} is no checkpoint to start from, and no bundle: {error}") from error


def _take_weights(config: FitConfig, model: TrainingModel, weights: Mapping[str, Tensor]) -> None:
    """Copy the weights that are asked for; those of the detector have to fit."""
    own = model.state_dict()
    if config.init_part == "body":
        weights = {name: value for name, value in weights.items() if not name.startswith(HEAD)}
    missing = [name for name in own if name.startswith("detector.") and name not in weights]
    if config.init_part == "body":
        missing = [name for name in missing if not name.startswith(HEAD)]
    if missing:
        raise CheckpointError(f"{config.init} does not fit: it has no weight '{missing[0]}'")
    for name, value in weights.items():
        if name == FIRST_KERNEL and value.shape[1] != config.window:
            if value.shape[1] != 1:
                raise CheckpointError(
                    f"{config.init} sees windows of {value.shape[1]} frames, this run of {config.window}: only a "
                    "detector of single frames can become one of another window"
                )
            value = _before_the_key_frame(value, config.window)
        if name in own and own[name].shape == value.shape:
            own[name].copy_(value)
        elif name.startswith("detector."):
            raise CheckpointError(f"{config.init} does not fit: its weight '{name}' is {tuple(value.shape)}")


def _before_the_key_frame(kernel: Tensor, window: int) -> Tensor:
    """Give the first kernel of a longer window ``(c, T, h, w)`` from one of single frames ``(c, 1, h, w)``.

    Past frames begin without a weight, so that the detector finds what it found, until it learns to look at them.
    """
    return functional.pad(kernel, (0, 0, 0, 0, window - 1, 0))


def _measure_norms(config: FitConfig, model: TrainingModel, loader: TrainingLoader) -> None:
    """Measure the normalisations that came from a bundle on the first batches of the training."""
    detector = model.detector.eval()
    fresh = set(detector.head.modules()) if config.init_part == "body" else set()
    norms = [one for one in detector.modules() if isinstance(one, nn.BatchNorm2d) and one not in fresh]
    measure_norms(detector, remembered_frames(model, loader.epoch(0, only=slice(NORM_BATCHES))), norms=norms)
    detector.train()
