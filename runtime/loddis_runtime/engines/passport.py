"""What an engine was compiled for and from: a JSON file beside the engine, without which it is never run.

A bundle's manifest vouches for the files that were exported; engines are made later, often on another machine, and are
not among them. An engine's passport carries the checksum of the engine, and that of the graph it was built from, which
the manifest does list: manifest → graph → passport → engine. This guards against damage and mix-ups, as the manifest
does; it is no signature against someone who may write into the folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from loddis_runtime.bundle import Bundle, GraphPrecision
from loddis_runtime.engines.flavours import Flavour
from loddis_runtime.engines.layers import LayerPrecision
from loddis_runtime.errors import EngineError

__all__ = [
    "ENGINE_FOLDER",
    "PASSPORT_SUFFIX",
    "Passport",
    "find_passports",
    "is_target",
    "read_engine",
    "replace_file",
    "write_engine",
]

ENGINE_FOLDER = "engines"  # within a bundle
PASSPORT_SUFFIX = ".engine.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
TARGET = r"^sm_[1-9][0-9]{1,2}$"
Target = Annotated[str, Field(pattern=TARGET)]


class Passport(BaseModel):
    """What an engine was compiled for and from. Unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = Field(default=1, description="Version of this schema.")
    engine_sha256: Sha256 = Field(description="SHA-256 of the engine's file.")
    graph: str = Field(pattern=r"^model\.(fp32|fp16|int8)\.onnx$", description="The bundle's graph it was built from.")
    graph_sha256: Sha256 = Field(description="SHA-256 of that graph, as the bundle's manifest lists it.")
    converted: bool = Field(description="Whether that graph was converted to the precision on the way.")
    flavour: Flavour = Field(description="The package that built the engine and runs it.")
    tensorrt_version: str = Field(min_length=1, description="Of that package; no other version runs the engine.")
    compute_capability: Target = Field(description="Of the GPUs it runs on, such as sm_86.")
    precision: GraphPrecision = Field(description="What was asked for.")
    achieved_precision: GraphPrecision = Field(description="What most convolutions run in, read from the engine.")
    convolutions: dict[LayerPrecision, Annotated[int, Field(ge=1)]] = Field(
        description="Precision → number of convolutions that run in it, read from the engine."
    )
    untold: Annotated[int, Field(ge=0)] = Field(description="Convolutions whose precision the engine does not tell.")
    read_by: Literal["engine inspector", "builder's report"] = Field(
        description="Where the precisions were read: the loaded engine, or, where no such GPU was there, the builder."
    )
    batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        min_length=1, description="Frames at once that there is a profile for, in the order of the profiles."
    )
    created: AwareDatetime = Field(description="When it was built, with time zone.")

    @field_validator("batch_sizes")
    @classmethod
    def _ascending(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if list(sizes) != sorted(set(sizes)):
            raise ValueError(f"batch sizes must ascend, got {sizes}")
        return sizes

    @classmethod
    def load(cls, path: Path) -> Passport:
        """Read a passport.

        Raises:
            EngineError: It cannot be read, is half-written, or has wrong or unknown fields.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise EngineError(f"cannot read {path}: {error.strerror or error}") from None
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, fault['loc'])) or 'JSON'}: {fault['msg']}" for fault in error.errors()]
            raise EngineError(f"{path} is no passport of an engine: {' '.join('; '.join(faults).split())}") from None

    @property
    def stem(self) -> str:
        """Name of its files without suffix, such as `fp16.sm_86.tensorrt_rtx-1.7.1.116`."""
        return f"{self.precision}.{self.compute_capability}.{self.flavour}-{self.tensorrt_version}"

    def fits_bundle(self, bundle: Bundle) -> str | None:
        """Say why the engine is none of this bundle's; None if it is."""
        listed = bundle.manifest.files.get(self.graph)
        if listed is None:
            return f"it was built from {self.graph}, which the bundle does not have"
        if listed != self.graph_sha256:
            return f"it was built from another {self.graph}"
        if self.achieved_precision != self.precision:
            return f"it was to be {self.precision}, and is {self.achieved_precision}"
        return None


def is_target(text: str) -> bool:
    """Tell whether a text names a compute capability: `sm_86` is 8.6, `sm_120` 12.0."""
    return re.fullmatch(TARGET, text) is not None


def find_passports(folder: Path) -> list[Path]:
    """Give the passports in a folder, by name; none if there is no such folder."""
    return sorted(folder.glob(f"*{PASSPORT_SUFFIX}"))


def engine_path(passport_path: Path) -> Path:
    """Give the engine that a passport lies beside."""
    return passport_path.with_suffix("")


def read_engine(passport_path: Path, passport: Passport) -> bytes:
    """Read the engine that a passport vouches for.

    Raises:
        EngineError: It is missing, or not the file that the passport was written for, be it by one bit.
    """
    path = engine_path(passport_path)
    try:
        plan = path.read_bytes()
    except OSError as error:
        raise EngineError(f"cannot read {path}: {error.strerror or error}") from None
    actual = hashlib.sha256(plan).hexdigest()
    if actual != passport.engine_sha256:
        raise EngineError(
            f"{path} is half-written, damaged or of another build: "
            f"SHA-256 must be {passport.engine_sha256[:12]}…, got {actual[:12]}…"
        )
    return plan


def write_engine(folder: Path, plan: bytes, fields: dict[str, Any]) -> tuple[Path, Passport]:
    """Write an engine, then its passport; whatever happens meanwhile, no reader takes one for the other's.

    Args:
        folder: Made if it is not there.
        plan: The engine.
        fields: Of the passport, but for the checksum.

    Returns:
        Path of the passport, and the passport.

    Raises:
        EngineError: The folder cannot be written.
    """
    passport = Passport(engine_sha256=hashlib.sha256(plan).hexdigest(), **fields)
    path = folder / f"{passport.stem}{PASSPORT_SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(engine_path(path), plan)
        replace_file(path, (passport.model_dump_json(indent=2) + "\n").encode())
    except OSError as error:
        raise EngineError(f"cannot write {folder}: {error.strerror or error}") from None
    return path, passport


def replace_file(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all.

    Raises:
        OSError: The folder cannot be written, or is full.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
