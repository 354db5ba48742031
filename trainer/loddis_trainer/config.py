"""Everything that a training can be told, with its unit; commands, files and checkpoints use this one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from loddis_runtime.intensity import FullRange, IntensityPolicy
from loddis_trainer.augmentation import AugmentConfig
from loddis_trainer.choices import BoxLoss, Contrast, Stride, VariantName
from loddis_trainer.domain_spec import DomainSpec
from loddis_trainer.schedule import ReversalScheduleName, ScheduleName

__all__ = ["FitConfig"]


def _number_of_text(value: Any) -> Any:
    """Read a number off the command line; closed sets of numbers, unlike ranges, do not do so themselves."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _none_of_text(value: Any) -> Any:
    """Read `none` off the command line, which takes back what a preset gives."""
    return None if value in ("none", ["none"], ("none",)) else value


LARGEST_SIDE = 16_384  # pixels, as in a bundle's manifest

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class FitConfig(BaseModel):
    """A training run. Defaults make a `nano` for 320 x 256 cameras on a CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    task: list[str] = Field(
        description="Domain to get good at, NAME or NAME:FRACTION (of the frames to train on, by whole sequences); "
        "repeats.",
        min_length=1,
    )
    auxiliary: list[str] = Field(default=[], description="Plentiful domain that helps, as --task; repeats.")
    data_root: Path | None = Field(
        default=None, description="Folder of the domains; LODDIS_DATA where it is not given."
    )
    cache_dir: Path | None = Field(default=None, description="Folder of decoded frames; the user's cache by default.")
    out: Path = Field(default=Path("runs/fit"), description="Folder of the run: best/, last/, TensorBoard logs.")
    resume: bool = Field(default=False, description="Go on from OUT/last.")
    init: Path | None = Field(
        default=None,
        description="Checkpoint or bundle, or name of a shipped bundle, whose weights to start from; else fresh ones.",
    )
    init_part: Literal["all", "body"] = Field(
        default="all",
        description="What to take of `init`; body: all but the head, which starts afresh, as for other classes.",
    )

    classes: list[str] = Field(
        default=["target"],
        description="Class names; a single name takes every annotated category, several are matched by name.",
        min_length=1,
    )
    variant: VariantName = Field(default="nano", description="Size of the detector; `s` is the paper's.")
    stride: Annotated[Stride, BeforeValidator(_number_of_text)] = Field(
        default=8, description="Pixels per cell of the fused map; 4 for targets under 4 px."
    )
    window: Annotated[Literal[1, 3, 5], BeforeValidator(_number_of_text)] = Field(
        default=1, description="Frames that the network sees, the last is detected on."
    )
    register_window: bool = Field(default=False, description="Shift past frames of the window onto the last one.")
    size_hw: tuple[int, int] = Field(
        default=(256, 320), description="Network height and width, pixels, multiples of 32; letterboxed into."
    )
    crop_hw: Annotated[tuple[int, int] | None, BeforeValidator(_none_of_text)] = Field(
        default=None,
        description="Height and width cut out of training frames, network pixels, multiples of 32; none: whole frames.",
    )
    intensity: IntensityPolicy = Field(default=FullRange(), description="How grey levels become [0, 1].")

    epochs: Count = Field(default=30, description="Passes, each of `share_per_epoch` or `steps_per_epoch`.")
    share_per_epoch: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.2, description="Share of the mixture drawn in an epoch, without replacement."
    )
    steps_per_epoch: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Steps of an epoch, however large the mixture is; 0: as many as share_per_epoch fills."
    )
    batch_size: Count = Field(default=32, description="Frames a step and process.")
    balance: Literal["natural", "domain"] = Field(
        default="natural",
        description="natural: frames are drawn alike; domain: each batch holds fixed shares of every domain.",
    )
    task_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.7, description="Share of the task domains in a batch, at the start, where balance is `domain`."
    )
    final_task_share: Annotated[Annotated[float, Field(gt=0, le=1)] | None, BeforeValidator(_none_of_text)] = Field(
        default=None,
        description="Share of the task domains in the second half of the training; it moves there evenly over the "
        "first half. Below 1 a batch holds a frame of each domain at least. none: task_share stays.",
    )
    loss_balance: Literal["batch", "domain"] = Field(
        default="batch",
        description="batch: the detection loss is per target of the batch; domain: per target of each domain, and "
        "domains weigh as they have frames, whether these hold one target or thirty; a target of an auxiliary domain "
        "weighs no more than one of the task.",
    )
    auxiliary_box_trust: Fraction = Field(
        default=1.0,
        description="How far box sizes are learned from auxiliary domains, whose convention may be another; 0: not.",
    )
    auxiliary_statistics: Literal["shared", "own"] = Field(
        default="shared",
        description="shared: one normalisation for all frames of a batch; own: each auxiliary domain is normalised by "
        "itself, and the detector is left with the statistics of the task domains.",
    )
    box_loss: BoxLoss = Field(
        default="giou", description="giou: overlap; nwd: normalised Wasserstein distance, for targets of 1 to 5 px."
    )
    optimiser: Literal["sgd", "adamw"] = Field(default="adamw", description="sgd: Nesterov momentum 0.937.")
    learning_rate: Annotated[float, Field(gt=0, le=1e6)] = Field(
        default=1e-3, description="At the peak of the schedule."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(default=5e-2, description="On convolution kernels only.")
    schedule: ScheduleName = Field(default="cosine", description="Learning rate after the warm-up.")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(default=200, description="Steps of linear warm-up.")
    clip_grad_norm: Annotated[float, Field(ge=0)] = Field(default=10.0, description="Largest gradient norm; 0 is off.")
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.998, description="Decay a step of the averaged weights; 0 follows the live weights."
    )
    norm_batches: Annotated[int, Field(ge=0)] = Field(
        default=16,
        description="Batches of frames without augmentation that the averaged weights' statistics of normalisation are "
        "measured on, before each validation and at the end of each epoch; 0: those of the training are averaged.",
    )
    augment: AugmentConfig = Field(default=AugmentConfig(), description="Random changes of training frames.")

    alpha: Annotated[float, Field(ge=0)] = Field(default=1.0, description="Weight of correlation weakening; 0 is off.")
    beta: Annotated[float, Field(ge=0)] = Field(default=1.0, description="Weight of domain confusing; 0 is off.")
    eta: Annotated[float, Field(ge=0)] = Field(default=1.0, description="Weight of target consistency; 0 is off.")
    reversal_strength: Annotated[float, Field(ge=0)] = Field(default=1.0, description="λ of the gradient reversal.")
    reversal_schedule: ReversalScheduleName = Field(
        default="constant",
        description="constant: λ throughout, as in the paper; ramp: it rises from 0 over the training.",
    )
    temperature: Positive = Field(default=0.2, description="τ of the contrastive loss.")
    contrast: Contrast = Field(
        default="all",
        description="Whose contrastive loss counts: of all samples (paper), or of those with a swapped background; "
        "the fewer, the less it weighs, and none of the losses counts in a batch of one domain.",
    )
    pooling: Literal["gap", "boxes"] = Field(
        default="gap", description="What z and b are pooled over: the whole map (paper), or boxes and the rest."
    )
    kernel: Literal["linear", "rbf"] = Field(default="linear", description="Kernel of the dependence measure.")
    embed_channels: Annotated[int, Field(ge=1, le=4096)] = Field(default=64, description="Channels c of z and b.")

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(default=0, description="Of weights, order and augmentation.")
    mixture_seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0, description="Of the choice of sequences where a domain is taken in part."
    )
    accelerator: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where to train.")
    devices: Count = Field(default=1, description="Processes, one device each.")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        default="bf16-mixed", description="Arithmetic of the forward pass."
    )
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(
        default=0, description="CPU threads of torch; 0: all cores allowed."
    )
    workers: Annotated[Annotated[int, Field(ge=0, le=64)] | None, BeforeValidator(_none_of_text)] = Field(
        default=None,
        description="Loader processes of each training process; 0: it prepares frames itself; if none, one for every "
        "two cores that it has, at most eight.",
    )
    validate_every: Count = Field(default=1, description="Epochs between validations.")
    keep_every: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Epochs between checkpoints kept as OUT/epoch-NNN, for `average`; 0: none is."
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Stop after this many validations without a better mAP50; 0: never."
    )
    validate_frames: Annotated[int, Field(ge=0)] = Field(
        default=1000, description="Most frames of a validation, evenly spaced; 0: all."
    )
    evidence_frames: Annotated[int, Field(ge=0)] = Field(
        default=32, description="Frames of every domain that evidence for `report` is recorded on; 0: none."
    )

    @field_validator("task", "auxiliary")
    @classmethod
    def _domains(cls, value: list[str]) -> list[str]:
        for text in value:
            DomainSpec.parse(text)
        return value

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, value: list[str]) -> list[str]:
        if not all(value) or len({name.casefold() for name in value}) < len(value):
            raise ValueError(f"class names must differ and have letters, got {', '.join(map(repr, value))}")
        return value

    @field_validator("size_hw", "crop_hw")
    @classmethod
    def _multiples_of_32(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and any(not 32 <= side <= LARGEST_SIDE or side % 32 for side in value):
            raise ValueError(
                f"height and width must be multiples of 32 up to {LARGEST_SIDE}, got {value[0]} x {value[1]}"
            )
        return value

    @model_validator(mode="after")
    def _crop_fits(self) -> FitConfig:
        if self.crop_hw is not None and any(
            part > whole for part, whole in zip(self.crop_hw, self.size_hw, strict=True)
        ):
            raise ValueError(
                f"crop_hw {self.crop_hw[0]} x {self.crop_hw[1]} is cut out of size_hw, which is only "
                f"{self.size_hw[0]} x {self.size_hw[1]}: give a smaller one, or none"
            )
        return self

    @model_validator(mode="after")
    def _share_moves_by_domain(self) -> FitConfig:
        if self.final_task_share is not None and self.balance != "domain":
            raise ValueError(
                "final_task_share needs balance 'domain', as 'natural' draws all frames alike: give none of it"
            )
        return self

    @model_validator(mode="after")
    def _statistics_of_one_frame(self) -> FitConfig:
        """A domain may have a single frame in a batch, and the coarsest map has a stride of 32."""
        name, size = ("size_hw", self.size_hw) if self.crop_hw is None else ("crop_hw", self.crop_hw)
        if self.auxiliary_statistics == "own" and tuple(size) == (32, 32):
            raise ValueError(f"auxiliary_statistics 'own' cannot normalise a single frame of 32 x 32: raise {name}")
        return self
