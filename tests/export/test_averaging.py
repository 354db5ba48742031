"""Mean boxes are shipped where they are better boxes, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_export.averaging import BOX_AVERAGING_IOU, choose_box_averaging
from loddis_runtime import Detector
from loddis_runtime.bundle import Bundle, GraphPrecision
from loddis_trainer.data import DomainDataset
from support.bundles import manifest_of


class GuessingEngine:
    """Guesses the box of every frame's target several times; the guesses are the truth and what is added to it."""

    name = "guessing"
    device = "cpu"
    precision: GraphPrecision = "fp32"

    def __init__(self, dataset: DomainDataset, errors_px: list[list[float]]) -> None:
        self.dataset = dataset
        self.errors_px = np.array(errors_px, dtype=np.float32)  # (K, 4), best score first
        self.place = 0

    def infer(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = np.empty((len(frames), len(self.errors_px), 6), dtype=np.float32)
        for row in rows:
            row[:, :4] = self.dataset.boxes(self.place % len(self.dataset))[0] + self.errors_px
            self.place += 1
        rows[..., 4] = np.linspace(0.6, 0.5, len(self.errors_px))
        rows[..., 5] = 0
        return rows

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("errors_px", "averaged"),
    [
        # A 9 px box whose best guess is off by more than IoU 0.5 allows, and by less the mean with two others.
        ([[3.2, 0, 3.2, 0], [0.5, 0, 0.5, 0], [0.5, 0, 0.5, 0]], True),
        # The best guess is right, the others pull it away.
        ([[0, 0, 0, 0], [3, 3, 4, 4], [0, 4, 9, 9], [0, 4, 9, 9], [0, 4, 9, 9]], False),
        # It makes no difference.
        ([[0, 0, 0, 0]], False),
    ],
)
def test_boxes_are_averaged_where_that_pays(domains: Path, errors_px: list[list[float]], averaged: bool) -> None:
    dataset = DomainDataset.open("dark", "val", data_root=domains, cache_dir=domains / "cache", progress=False)
    detector = Detector(
        Bundle(Path("guessing"), manifest_of(nms_centre_distance_px=20)), GuessingEngine(dataset, errors_px), threads=1
    )
    wanted = BOX_AVERAGING_IOU if averaged else None
    assert choose_box_averaging(detector, dataset, progress=False) == wanted
    assert choose_box_averaging(detector, dataset, "on", progress=False) == BOX_AVERAGING_IOU
    assert choose_box_averaging(detector, dataset, "off", progress=False) is None
