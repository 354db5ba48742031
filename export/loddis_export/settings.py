"""Everything that an export can be told, with its unit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from loddis_runtime.bundle import GraphPrecision
from loddis_trainer.choices import CANDIDATES
from loddis_trainer.domain_spec import SplitName

__all__ = ["Averaging", "Credit", "ExportSettings", "ParityLimits", "ParitySettings", "ScenesSettings"]

Averaging: TypeAlias = Literal["auto", "on", "off"]

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Candidates = Annotated[int, Field(ge=1, le=10_000)]

CANDIDATES_MEAN = "Candidates a frame, out of which targets are chosen; a bright one takes about six."


class Credit(BaseModel):
    """Licence and source of a training domain, written ``DOMAIN=LICENCE; SOURCE``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str
    licence: str
    source: str

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        domain, equals, rest = value.partition("=")
        licence, semicolon, source = rest.partition(";")
        parts = {"domain": domain.strip(), "licence": licence.strip(), "source": source.strip()}
        if not (equals and semicolon and all(parts.values())):
            raise ValueError(f"a credit is written DOMAIN=LICENCE; SOURCE, got '{value}'")
        return parts

    @classmethod
    def missing(cls, domain: str) -> Credit:
        """Say that nothing was said."""
        return cls(domain=domain, licence="not stated", source="not stated")


class ParityLimits(BaseModel):
    """How far the graph of one precision may stray from its checkpoint; what has no limit is reported all the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    box_px: Positive | None = Field(default=None, description="Largest difference of a box coordinate, network pixels.")
    score: Positive | None = Field(default=None, description="Largest difference of a score.")
    map50: Positive = Field(description="Largest loss of mAP50, as a share of 1.")
    pd: Positive = Field(description="Largest loss of Pd at the bundle's score threshold, as a share of 1.")
    group_pd: Positive = Field(description="Largest loss of Pd of a size or SNR class of 30 targets or more.")
    fa_per_frame: Positive = Field(description="Largest rise of false alarms per frame at that threshold.")
    unmatched: Positive = Field(description="Largest share of the checkpoint's detections that the graph misses.")


class ParitySettings(BaseModel):
    """Limits of each precision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fp32: ParityLimits = Field(
        default=ParityLimits(
            box_px=0.05, score=1e-3, map50=1e-3, pd=1e-3, group_pd=0.01, fa_per_frame=0.01, unmatched=0.01
        ),
        description="Float32.",
    )
    fp16: ParityLimits = Field(
        default=ParityLimits(
            box_px=1.0, score=0.05, map50=3e-3, pd=3e-3, group_pd=0.03, fa_per_frame=0.02, unmatched=0.02
        ),
        description="Float16.",
    )
    int8: ParityLimits = Field(
        default=ParityLimits(map50=5e-3, pd=5e-3, group_pd=0.05, fa_per_frame=0.03, unmatched=0.05),
        description="Int8.",
    )

    @field_validator("fp32", "fp16", "int8", mode="before")
    @classmethod
    def _rest_as_by_default(cls, value: Any, info: ValidationInfo) -> Any:
        """Let a single limit be set: the others of its precision keep their defaults."""
        if not isinstance(value, dict) or info.field_name is None:
            return value
        return cls.model_fields[info.field_name].default.model_dump() | value


class ExportSettings(BaseModel):
    """How a checkpoint becomes a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(default=None, description="Of the model; the name of OUT's parent folder by default.")
    version: str | None = Field(default=None, description="Whole number; OUT's own name by default.")
    data_root: Path | None = Field(default=None, description="Folder of the domains; LODDIS_DATA by default.")
    cache_dir: Path | None = Field(default=None, description="Folder of decoded frames; the user's cache by default.")
    evaluate: list[SplitName] = Field(
        default=[],
        description="DOMAIN:SPLIT to measure the bundle on, for manifest and card; repeats; --threshold-on by default.",
    )
    score_threshold: Fraction | None = Field(
        default=None, description="Operating point; chosen on --threshold-on by default."
    )
    threshold_on: list[SplitName] = Field(
        default=[],
        description="DOMAIN:SPLIT for operating point, boxes and parity; repeats; val of all task domains by default.",
    )
    max_false_alarms: Positive = Field(
        default=0.1, description="False alarms per frame at the operating point, mean of the domains."
    )
    centre_distance_px: Positive = Field(
        default=3.0, description="Within which a detection counts as one of a target, frame pixels."
    )
    nms_iou_threshold: Fraction = Field(default=0.5, description="Suppression: overlap that is too much; 1 is off.")
    nms_centre_distance_px: Annotated[float, Field(ge=0)] = Field(
        default=3.0, description="Suppression: centres nearer than this are one target, network pixels; 0 is off."
    )
    candidates: Candidates = Field(default=CANDIDATES, description=CANDIDATES_MEAN)
    average_boxes: Averaging = Field(
        default="auto",
        description="Give the mean box of all candidates of a target; auto: if mAP50 on --threshold-on rises with it.",
    )
    scale_boxes: bool = Field(
        default=True,
        description="Make boxes wider and higher by two factors, if mAP50 on --threshold-on rises with them.",
    )
    precisions: list[GraphPrecision] = Field(
        default=["fp32", "fp16", "int8"],
        description="Graphs to write; fp32 is always among them. One that strays too far is left out.",
    )
    parity: ParitySettings = Field(default=ParitySettings(), description="How far graphs may stray.")
    parity_frames: Annotated[int, Field(ge=1)] = Field(default=400, description="Frames compared, evenly spaced.")
    calibrate_on: list[SplitName] = Field(
        default=[],
        description="DOMAIN:SPLIT that int8 scales are measured on; repeats; train of all task domains by default.",
    )
    calibration_frames: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=64, description="Frames with targets to measure scales on, evenly spaced, as many of each split."
    )
    credit: list[Credit] = Field(default=[], description="DOMAIN=LICENCE; SOURCE of a training domain; repeats.")
    scene_frames: Annotated[int, Field(ge=1)] = Field(
        default=600, description="Frames of each training domain that tell what its scenes are like, evenly spaced."
    )
    threads: Annotated[int, Field(ge=1)] | None = Field(default=None, description="CPU threads; all cores by default.")

    @field_validator("threshold_on", "calibrate_on")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        twice = sorted({name for name in value if value.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named twice")
        return value

    @field_validator("credit", mode="before")
    @classmethod
    def _whole_credits(cls, value: Any) -> Any:
        """Join what the command line took for several values: sources have commas in them."""
        whole: list[Any] = []
        for part in value if isinstance(value, list) else [value]:
            plain = isinstance(part, str | int | float)  # a year comes as a number
            if plain and "=" not in str(part) and whole and isinstance(whole[-1], str):
                whole[-1] = f"{whole[-1]}, {str(part).strip()}"
            else:
                whole.append(part)
        return whole


class ScenesSettings(BaseModel):
    """Which frames tell what the scenes of a domain are like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: list[str] = Field(
        default=[],
        description="Training domain to measure, folder or name; repeats. All that the bundle names if none.",
    )
    data_root: Path | None = Field(default=None, description="Folder of the domains; LODDIS_DATA by default.")
    cache_dir: Path | None = Field(default=None, description="Folder of decoded frames; the user's cache by default.")
    scene_frames: Annotated[int, Field(ge=1)] = Field(
        default=600, description="Frames of each domain's train split to measure, evenly spaced."
    )
