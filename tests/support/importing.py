"""Imports in tests: sources of spots on disk, the command run on them, and what the trainer's own reader then sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.command import run
from loddis_trainer.cli import Trainer
from loddis_trainer.data import DomainDataset
from support.domains import SIZE_HW, spot_frame

__all__ = ["Boxes", "boxes_seen", "import_set", "put", "put_image", "put_stills"]

Boxes = list[tuple[float, float, float, float]]


def put(root: Path, name: str, text: str) -> Path:
    """Write a text file of a source."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def put_image(root: Path, name: str, pixels: NDArray[np.generic] | None = None, *, seed: int = 0) -> Path:
    """Write an image of a source, 96 x 64 noise if not given."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = spot_frame((40.0, 30.0), seed=seed, size_hw=SIZE_HW) if pixels is None else pixels
    assert cv2.imwrite(str(path), picture)
    return path


def put_stills(root: Path, count: int) -> None:
    """Write images that stand alone, each with a YOLO label of one target."""
    for number in range(count):
        put_image(root, f"images/f{number}.png", seed=number)
        put(root, f"labels/f{number}.txt", "0 0.5 0.5 0.125 0.25\n")


def import_set(source: Path, out: Path, *flags: str) -> int:
    """Run `loddis-trainer data import` and give its exit status."""
    return run(Trainer, ["data", "import", str(source), str(out), "--json", *flags])


def boxes_seen(domain: Path, split: str, *, classes: Sequence[str] = ("target",)) -> dict[str, list[Boxes]]:
    """Open a split as a training does; give the boxes (x1, y1, x2, y2) of each sequence's frames in order."""
    dataset = DomainDataset.open(
        domain, split, cache_dir=domain.parent / f"cache-{domain.name}", classes=classes, progress=False
    )
    assert all(dataset.frame(number).shape for number in range(len(dataset)))
    return {
        name: [[(float(a), float(b), float(c), float(d)) for a, b, c, d in dataset.boxes(n)] for n in numbers]
        for name, numbers in dataset.sequences.items()
    }
