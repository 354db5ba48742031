"""Evidence on the disk: `RUN/evidence.jsonl`, a line an epoch, and `RUN/evidence/epoch-NNN.npz`, its features.

Features are kept in half precision, each column about its own mean and in units of its own deviation: those of an
untrained network differ from frame to frame in the sixth digit, which half precision alone would lose.

    z_mean, z_scale (c,) float32; z (n, c) float16: features are z_mean + z_scale · z; the same for b
    domain_ids (n,) int16; domain_names

Legend: n frames, c channels of z and b.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loddis_trainer.errors import TrainingError
from loddis_trainer.exhaustion import names_the_file

__all__ = [
    "EvidenceLine",
    "FeatureSnapshot",
    "forget_after",
    "read_evidence",
    "read_snapshot",
    "write_line",
    "write_snapshot",
]

LINES, SNAPSHOTS = "evidence.jsonl", "evidence"


class EvidenceLine(BaseModel):
    """What was measured after an epoch; a figure that could not be is null."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int = Field(description="Epochs completed; 0 is before training.")
    step: int = Field(description="Optimiser steps completed.")
    frames: dict[str, int] = Field(description="Frames of each DOMAIN:SPLIT.")
    z_from: str = Field(description="Where the target features come from.")
    b_from: str = Field(description="Where the background features come from.")
    hsic: float | None = Field(description="Dependence of z and b, as the loss measures it with the linear kernel.")
    correlation: float | None = Field(description="Mean |r| between features of z and of b, in [0, 1].")
    correlation_by_chance: float | None = Field(description="What independent features would give.")
    focus_fused: float | None = Field(description="Focus ratio of the fused map, in [0, 1].")
    focus_target_map: float | None = Field(description="Focus ratio of the target map, in [0, 1].")
    focus_by_domain: dict[str, float] = Field(description="Focus ratio of the fused map, by domain.")
    separability_z: float | None = Field(description="Accuracy of a linear probe for the domain on z, in [0, 1].")
    separability_targets: float | None = Field(description="The same on the fused map at the targets.")
    separability_scenes: float | None = Field(description="The same on the whole fused map.")
    separability_by_chance: float | None = Field(description="Accuracy of a probe that knows nothing.")
    seconds: float = Field(description="Time that this took.")


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSnapshot:
    """Features of an epoch.

    Attributes:
        z: ``(n, c)`` target features.
        b: ``(n, c')`` background features.
        domain_ids: ``(n,)`` index into `domain_names`.
        domain_names: By domain id.
    """

    z: NDArray[np.floating[Any]]
    b: NDArray[np.floating[Any]]
    domain_ids: NDArray[np.int64]
    domain_names: tuple[str, ...]


def read_evidence(run: Path) -> list[EvidenceLine]:
    """Read the lines of a run by rising epoch; none where the run recorded no evidence.

    Raises:
        TrainingError: A line that is no evidence.
    """
    path = run / LINES
    if not path.is_file():
        return []
    lines = {}
    try:
        texts = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
    for number, text in enumerate(texts, 1):
        try:
            line = EvidenceLine.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise TrainingError(f"{path}, line {number}: {first['msg']}") from error
        lines[line.epoch] = line
    return [lines[epoch] for epoch in sorted(lines)]


def write_line(run: Path, line: EvidenceLine) -> None:
    """Add a line, in place of one of the same epoch; the file is whole at any time.

    Raises:
        OSError: It cannot be written; it is named.
    """
    _write_lines(run, [one for one in read_evidence(run) if one.epoch != line.epoch] + [line])


def forget_after(run: Path, epoch: int) -> list[EvidenceLine]:
    """Drop what lies beyond an epoch, as a resume finds it after a kill; give what is left.

    Raises:
        OSError: What is left cannot be written; the file is named.
    """
    lines = read_evidence(run)
    kept = [line for line in lines if line.epoch <= epoch]
    for line in lines[len(kept) :]:
        _snapshot_path(run, line.epoch).unlink(missing_ok=True)
    if len(kept) < len(lines):
        _write_lines(run, kept)
    return kept


def read_snapshot(run: Path, epoch: int) -> FeatureSnapshot:
    """Read the features of an epoch.

    Raises:
        TrainingError: The file is missing or broken.
    """
    path = _snapshot_path(run, epoch)
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            return FeatureSnapshot(
                _whole(file["z"], file["z_mean"], file["z_scale"]),
                _whole(file["b"], file["b_mean"], file["b_scale"]),
                file["domain_ids"].astype(np.int64),
                tuple(str(name) for name in file["domain_names"]),
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise TrainingError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def write_snapshot(run: Path, epoch: int, snapshot: FeatureSnapshot) -> None:
    """Write the features of an epoch in half precision.

    Raises:
        OSError: They cannot be written; the file is named.
    """
    path = _snapshot_path(run, epoch)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with names_the_file(path), fresh.open("wb") as handle:
        np.savez_compressed(
            handle,
            allow_pickle=False,
            domain_ids=snapshot.domain_ids.astype(np.int16),
            domain_names=np.array(snapshot.domain_names, dtype=np.str_),
            **_half("z", snapshot.z),
            **_half("b", snapshot.b),
        )
    fresh.replace(path)


def _write_lines(run: Path, lines: list[EvidenceLine]) -> None:
    path = run / LINES
    fresh = path.with_name(f".{path.name}.new")
    with names_the_file(path), fresh.open("w") as handle:
        handle.writelines(line.model_dump_json() + "\n" for line in lines)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(path)


def _half(name: str, values: NDArray[np.floating[Any]]) -> dict[str, NDArray[Any]]:
    exact = values.astype(np.float64)
    mean = exact.mean(axis=0) if len(exact) else np.zeros(exact.shape[1])
    scale = exact.std(axis=0) if len(exact) else np.ones(exact.shape[1])
    scale[scale == 0] = 1.0
    half = ((exact - mean) / scale).astype(np.float16)
    return {name: half, f"{name}_mean": mean.astype(np.float32), f"{name}_scale": scale.astype(np.float32)}


def _whole(half: NDArray[Any], mean: NDArray[Any], scale: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(mean.astype(np.float64) + scale.astype(np.float64) * half.astype(np.float64), dtype=np.float64)


def _snapshot_path(run: Path, epoch: int) -> Path:
    return run / SNAPSHOTS / f"epoch-{epoch:03d}.npz"
