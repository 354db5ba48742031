"""A bundle on disk: the exported folder of a model, and the checksums that vouch for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loddis_runtime.errors import BundleError, ChecksumError
from loddis_runtime.manifest import MANIFEST_NAME, Manifest

__all__ = ["INPUT_NAME", "OUTPUT_NAME", "PRECISIONS", "Bundle", "GraphPrecision", "graph_name", "sha256_file"]

GraphPrecision = Literal["fp32", "fp16", "int8"]
INPUT_NAME, OUTPUT_NAME = "frames", "detections"  # of every graph
PRECISIONS: tuple[GraphPrecision, ...] = ("fp32", "fp16", "int8")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was opened.

    Attributes:
        path: Its folder.
        manifest: What it says about itself.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Read a bundle's manifest, and check that its files are those that the manifest vouches for.

        Args:
            path: The folder.

        Raises:
            BundleError: No such folder, no usable manifest, or a file is missing or cannot be read.
            ChecksumError: A file differs from what was exported, be it by one bit.
        """
        try:
            if not path.is_dir():
                raise BundleError(f"{path} is not a bundle: no such folder")
            manifest = Manifest.load(path / MANIFEST_NAME)
            for name, expected in manifest.files.items():
                file = path / name
                if not file.is_file():
                    raise BundleError(f"{path} is incomplete: the manifest lists {name}, which is missing")
                if (actual := sha256_file(file)) != expected:
                    raise ChecksumError(
                        f"{file} is damaged or was changed: SHA-256 must be {expected[:12]}…, got {actual[:12]}…"
                    )
        except OSError as error:  # a folder on the way may not be searched
            raise BundleError(f"cannot read {path}: {error.strerror or error}") from None
        return cls(path, manifest)

    @property
    def precisions(self) -> tuple[GraphPrecision, ...]:
        """The precisions that there is a graph for."""
        return tuple(precision for precision in PRECISIONS if graph_name(precision) in self.manifest.files)

    def graph_path(self, precision: GraphPrecision) -> Path:
        """Give the path of the ONNX graph of a precision.

        Raises:
            BundleError: The manifest lists no such graph; the message names those it does.
        """
        if precision not in self.precisions:
            there = ", ".join(self.precisions) or "none"
            raise BundleError(f"{self.path} has no {precision} graph; there is: {there}")
        return self.path / graph_name(precision)


def sha256_file(path: Path) -> str:
    """Give the SHA-256 of a file, 64 hexadecimal digits.

    Raises:
        BundleError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from None


def graph_name(precision: GraphPrecision) -> str:
    """Name the file of a precision's graph."""
    return f"model.{precision}.onnx"
