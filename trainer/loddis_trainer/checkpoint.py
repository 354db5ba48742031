"""Checkpoints: a folder of weights (safetensors) and JSON, no pickles.

    best/, last/ or stopped/
        checkpoint.json         what the weights are, how they came about, how good they are
        weights.safetensors     `detector.*` and `branches.*`: the averaged weights
        state.safetensors       what a resume needs besides (last/ only): live weights, optimiser moments

A checkpoint takes its predecessor's place after all of its bytes are on the disk: a full disk or a kill while saving
leaves the old one whole, and reading finds it even where the kill came between the two renames that this takes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from loddis_runtime.intensity import IntensityPolicy
from loddis_runtime.manifest import TrainingDomain
from loddis_trainer.choices import Stride, VariantName
from loddis_trainer.errors import CheckpointError
from loddis_trainer.models import LoddisDetector, build_detector, window

__all__ = [
    "FIRST_KERNEL",
    "CheckpointInfo",
    "DomainInfo",
    "has_kernel_of_frames",
    "is_whole",
    "load_detector",
    "read_info",
    "read_state",
    "read_weight_sizes",
    "read_weights",
    "remove_checkpoint",
    "restore_checkpoint",
    "save_checkpoint",
    "save_weights",
]

Side = Annotated[int, Field(ge=32, le=16_384, multiple_of=32)]

INFO, WEIGHTS, STATE = "checkpoint.json", "weights.safetensors", "state.safetensors"
FIRST_KERNEL, KERNEL_IS = f"detector.{window.FIRST_KERNEL}", "first_kernel_is_of"


class DomainInfo(BaseModel):
    """A domain that took part in the training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    role: Literal["task", "auxiliary"]
    fraction: float = Field(description="Share of the frames of its train split that was asked for.", gt=0, le=1)
    sequences: int = Field(description="Of its train split, taken whole.")
    frames: int = Field(description="In these sequences.")
    sequences_there: int | None = Field(
        default=None, description="Of the whole train split; none: an earlier version did not record it.", ge=1
    )
    frames_there: int | None = Field(default=None, description="In all of these, likewise.", ge=1)
    digest: str | None = Field(default=None, description="Of the names and lengths of its sequences.")

    @property
    def share(self) -> float:
        """Share of the frames of its train split that was taken; the one asked for where that was not recorded."""
        return self.fraction if self.frames_there is None else self.frames / self.frames_there


class CheckpointInfo(BaseModel):
    """What `checkpoint.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    variant: VariantName
    classes: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    window: Literal[1, 3, 5]
    register_window: bool = False
    size_hw: tuple[Side, Side]
    stride: Stride
    keep: Annotated[int, Field(ge=1, le=10_000)]
    intensity: IntensityPolicy
    domains: tuple[DomainInfo, ...]
    epoch: int = Field(description="Epochs completed.", ge=0)
    step: int = Field(description="Optimiser steps completed.", ge=0)
    best_map50: float | None = Field(default=None, description="Best validation mAP50 so far, in [0, 1].")
    stale: int = Field(default=0, description="Validations since the best.", ge=0)
    score_threshold: float | None = Field(
        default=None, description="Operating point chosen on the validation split, in [0, 1].", ge=0, le=1
    )
    metrics: dict[str, Any] = Field(default_factory=dict, description="Validation metrics of these weights.")
    config: dict[str, Any] = Field(default_factory=dict, description="The fit configuration.")
    earlier: tuple[dict[str, Any], ...] = Field(
        default=(), description="Configurations of the trainings that the first weights came from, oldest first."
    )
    started_from: str | None = Field(default=None, description="Bundle that the first weights came from, NAME:VERSION.")
    start_domains: tuple[TrainingDomain, ...] = Field(default=(), description="What that bundle learnt from.")
    averaged: tuple[str, ...] = Field(default=(), description="Checkpoints that the weights are the mean of.")
    software: dict[str, str] = Field(default_factory=dict)
    created: dt.datetime = Field(default_factory=lambda: dt.datetime.now(dt.UTC))


def save_checkpoint(
    folder: Path, info: CheckpointInfo, weights: nn.Module, *, state: dict[str, Tensor] | None = None
) -> None:
    """Write a training model, parameters `detector.*` and, if any, `branches.*`, as a checkpoint (`save_weights`)."""
    save_weights(folder, info, weights.state_dict(), state=state)


def save_weights(
    folder: Path, info: CheckpointInfo, weights: dict[str, Tensor], *, state: dict[str, Tensor] | None = None
) -> None:
    """Write a checkpoint and put it in place of the one that stood there.

    Args:
        folder: Where it shall stand.
        info: What it is.
        weights: By name, `detector.*` and, if any, `branches.*`.
        state: What a resume needs besides.

    Raises:
        CheckpointError: It cannot be written, or its weights are not finite; the old one still stands.
    """
    fresh, old = folder.with_name(f".{folder.name}.new"), _set_aside(folder)
    broken = next((name for name, value in weights.items() if not bool(torch.isfinite(value).all())), None)
    if broken is not None:
        raise CheckpointError(f"checkpoint {folder} is not written: the weights '{broken}' are not finite")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        copies = {name: value.detach().contiguous().cpu().clone() for name, value in weights.items()}
        save_file(copies, fresh / WEIGHTS, metadata={KERNEL_IS: "differences"})
        if state is not None:
            save_file({k: v.detach().contiguous().cpu().clone() for k, v in state.items()}, fresh / STATE)
        (fresh / INFO).write_text(info.model_dump_json(indent=2) + "\n")
        for file in fresh.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        _put_in_place(fresh, folder, old)
    except BaseException as error:
        shutil.rmtree(fresh, ignore_errors=True)
        restore_checkpoint(folder)
        if isinstance(error, OSError | SafetensorError):
            raise CheckpointError(f"checkpoint {folder} cannot be written: {error}") from error
        raise


def _put_in_place(fresh: Path, folder: Path, old: Path) -> None:
    """Set the old checkpoint aside and put the new one there; again where a reader put the old one back meanwhile."""
    for attempts_left in (2, 1, 0):
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        try:
            fresh.rename(folder)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not attempts_left:
                raise
    shutil.rmtree(old, ignore_errors=True)


def restore_checkpoint(folder: Path) -> None:
    """Put back a checkpoint that was set aside for its successor, where the successor never came."""
    old = _set_aside(folder)
    if old.exists() and not folder.exists():
        with contextlib.suppress(OSError):  # the writer was quicker: one of the two is in place
            old.rename(folder)


def remove_checkpoint(folder: Path) -> None:
    """Remove a checkpoint, if it is there, and what a kill left of it."""
    for one in (_set_aside(folder), folder):
        shutil.rmtree(one, ignore_errors=True)


def _set_aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def read_info(folder: Path) -> CheckpointInfo:
    """Read what a checkpoint is.

    Raises:
        CheckpointError: Missing, not a checkpoint, or of a newer schema.
    """
    path = folder / INFO
    restore_checkpoint(folder)
    if not folder.exists():
        raise CheckpointError(f"checkpoint {folder} does not exist")
    if not path.is_file():
        raise CheckpointError(f"{folder} is no checkpoint: it has no {INFO}")
    try:
        return CheckpointInfo.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise CheckpointError(f"{path} is no checkpoint description: {where}: {first['msg']}") from error


def load_detector(folder: Path) -> tuple[LoddisDetector, CheckpointInfo]:
    """Load the detector of a checkpoint, without the training-only branches, in evaluation mode.

    Raises:
        CheckpointError: Missing or half-written files, or weights that do not fit the variant.
    """
    info = read_info(folder)
    weights = read_weights(folder)
    detector = build_detector(
        info.variant, num_classes=len(info.classes), window=info.window, stride=info.stride, keep=info.keep
    )
    prefix = "detector."
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    try:
        detector.load_state_dict(own)
    except RuntimeError as error:
        cause = str(error).splitlines()[-1].strip()[:200]
        raise CheckpointError(f"{folder / WEIGHTS} does not hold a '{info.variant}' detector: {cause}") from error
    return detector.eval(), info


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint, by name: `detector.*` and, if any, `branches.*`.

    Raises:
        CheckpointError: The file is missing or half-written.
    """
    weights = _load_tensors(folder / WEIGHTS)
    if has_kernel_of_frames(folder):
        weights[FIRST_KERNEL] = window.kernel_of_differences(weights[FIRST_KERNEL])
    return weights


def has_kernel_of_frames(folder: Path) -> bool:
    """Tell whether an earlier version wrote a checkpoint of windows, whose first kernel was of frames as they are.

    Raises:
        CheckpointError: The file is missing or half-written.
    """
    with _open(folder / WEIGHTS) as file:
        of_windows = FIRST_KERNEL in file.keys() and file.get_slice(FIRST_KERNEL).get_shape()[1] > 1  # noqa: SIM118
        return of_windows and KERNEL_IS not in (file.metadata() or {})


def read_weight_sizes(folder: Path) -> dict[str, int]:
    """Give the number of values of every weight of a checkpoint, by name, without reading the values.

    Raises:
        CheckpointError: The file is missing or half-written.
    """
    with _open(folder / WEIGHTS) as file:
        return {name: math.prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def is_whole(folder: Path) -> bool:
    """Tell whether a checkpoint is there and can be read."""
    try:
        read_info(folder)
        read_weight_sizes(folder)
    except CheckpointError:
        return False
    return True


def read_state(folder: Path) -> dict[str, Tensor]:
    """Read what a resume needs besides the weights.

    Raises:
        CheckpointError: It is not there: only `last/` has it.
    """
    return _load_tensors(folder / STATE)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a file of tensors without reading their values."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _load_tensors(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
