"""What a bundle says about itself: `manifest.json`."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from loddis_runtime.errors import BundleError
from loddis_runtime.intensity import IntensityPolicy
from loddis_runtime.scene_statistics import SceneStatistics

__all__ = ["MANIFEST_NAME", "SCHEMA_VERSION", "Manifest", "TrainingDomain", "Variant"]

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 1

Variant = Literal["nano", "tiny", "s"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Metric = Annotated[float, Field(allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=1, le=16_384)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingDomain(_Record):
    """One of the domains that the model learnt from."""

    name: str = Field(min_length=1, description="As the trainer was given it.")
    role: Literal["task", "auxiliary"] = Field(description="The domain to get good at, or one that helps.")
    fraction: float = Field(gt=0, le=1, description="Share of the domain's train split that was used.")
    licence: str = Field(min_length=1, description="Licence of the data.")
    source: str = Field(min_length=1, description="Who to credit, and where the data comes from.")


class Manifest(_Record):
    """Everything that is needed to run a bundle and to trust it. Unknown fields are refused."""

    schema_version: Literal[1] = Field(default=1, description="Version of this schema.")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="Name of the model, such as sky-nano.")
    version: str = Field(pattern=r"^(0|[1-9][0-9]*)$", description="Whole number; the highest is the newest.")
    classes: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1, description="Names of the classes, in the order of the network's class ids."
    )
    window: Literal[1, 3, 5] = Field(description="T, frames the model sees; the last is the key frame.")
    register_window: bool = Field(default=False, description="Whether past frames are registered to the key frame.")
    size_hw: tuple[Side, Side] = Field(description="Size of the network's input, pixels.")
    stride: PositiveInt = Field(description="Network pixels per feature cell.")
    variant: Variant = Field(description="Depth and width of the network.")
    intensity: IntensityPolicy = Field(description="How grey levels become [0, 1].")
    score_threshold: Fraction = Field(description="Detections below this score are not reported.")
    nms_iou_threshold: Fraction = Field(description="Candidates that overlap a better one by more go; 1: off.")
    nms_centre_distance_px: float = Field(
        ge=0, allow_inf_nan=False, description="Candidates nearer to a better one go, network pixels; 0: off."
    )
    box_averaging_iou: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="A detection's box is the mean of all candidates that overlap it by at least this; none: its own.",
    )
    max_detections: Annotated[int, Field(ge=1, le=10_000)] = Field(
        description="K, candidates a frame in the network's output."
    )
    training_domains: tuple[TrainingDomain, ...] = Field(default=(), description="What the model learnt from.")
    scenes: SceneStatistics | None = Field(
        default=None,
        description="What frames of those domains are like, to tell scenes that are unlike all; none: not measured.",
    )
    metrics: dict[str, dict[str, Metric]] = Field(
        default_factory=dict, description="Domain and split, such as sky/test -> metric -> value."
    )
    files: dict[str, Sha256] = Field(description="Every file of the bundle but this one -> SHA-256, hexadecimal.")
    software: dict[str, str] = Field(default_factory=dict, description="Package -> version that made the bundle.")
    created: AwareDatetime = Field(description="When the bundle was made, with time zone.")

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) != len(classes):
            raise ValueError(f"class names must differ, got {', '.join(classes)}")
        return classes

    @field_validator("files")
    @classmethod
    def _files_stay_inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            path = PurePosixPath(name)
            inside = not path.is_absolute() and ".." not in path.parts and "\\" not in name and str(path) == name
            if not inside or name in (".", MANIFEST_NAME):
                raise ValueError(f"{name!r} is no plain path within the bundle")
        return files

    @model_validator(mode="after")
    def _size_fits_stride(self) -> Manifest:
        if any(side % self.stride for side in self.size_hw):
            raise ValueError(f"size_hw must be multiples of the stride {self.stride}, got {self.size_hw}")
        return self

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read a `manifest.json`.

        Raises:
            BundleError: It is missing or cannot be read, not JSON, of a newer schema, or has wrong or unknown fields;
                the message names the file and each field.
        """
        try:
            if path.exists() and not path.is_file():
                raise BundleError(f"cannot read {path}: it is no file")
            raw = path.read_bytes()
        except OSError as error:
            raise BundleError(f"cannot read {path}: {error.strerror or error}") from None
        try:
            document: Any = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{path} is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise BundleError(f"{path} must hold a JSON object, got {type(document).__name__}")
        schema = document.get("schema_version")
        if not isinstance(schema, int):
            raise BundleError(f"{path}: schema_version must be a whole number, got {schema!r}")
        if schema > SCHEMA_VERSION:
            raise BundleError(
                f"{path} has schema version {schema}, this release reads up to {SCHEMA_VERSION}: update loddis"
            )
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            raise BundleError(f"{path}: {_faults(error)}") from None

    def save(self, path: Path) -> None:
        """Write this manifest as a `manifest.json`; one that is there is replaced at once, or stays as it was."""
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with beside.open("w", encoding="utf-8") as file:
                file.write(self.model_dump_json(indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def _faults(error: ValidationError) -> str:
    """Give one line that names every wrong field."""
    lines = []
    for fault in error.errors(include_url=False):
        field = ".".join(str(part) for part in fault["loc"])
        lines.append(f"{field}: {fault['msg']}" if field else fault["msg"])
    return "; ".join(" ".join(line.split()) for line in lines)
