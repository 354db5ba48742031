"""Boxes become larger or smaller at export where held-out frames say so, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from loddis_export.box_scale import choose_box_scale, scale_boxes
from loddis_runtime import Detector
from loddis_runtime.bundle import Bundle, GraphPrecision
from loddis_trainer.data import DomainDataset
from loddis_trainer.models import build_detector
from loddis_trainer.models.head import decode_boxes
from support.bundles import manifest_of


class ScalingEngine:
    """Gives every frame's target, scaled by factors that differ from frame to frame."""

    name = "scaling"
    device = "cpu"
    precision: GraphPrecision = "fp32"

    def __init__(self, dataset: DomainDataset, factors: list[tuple[float, float]]) -> None:
        self.dataset = dataset
        self.factors = factors
        self.place = 0

    def infer(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = np.zeros((len(frames), 1, 6), dtype=np.float32)
        for row in rows:
            box = self.dataset.boxes(self.place % len(self.dataset))[0]
            centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
            half = half * np.array(self.factors[self.place % len(self.factors)])
            row[0, :5] = (*(centre - half), *(centre + half), 0.9)
            self.place += 1
        return rows

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("given", "wider", "higher"),
    [
        ([(1.0, 0.55), (1.0, 0.45), (1.0, 0.4)], 0, 1),  # too low, so that IoU is about a half
        ([(2.1, 1.0), (1.9, 1.0), (2.2, 1.0)], -1, 0),  # too wide
        ([(1.0, 1.0), (1.1, 0.9)], 0, 0),
    ],
)
def test_factors_follow_what_boxes_lack(
    domains: Path, given: list[tuple[float, float]], wider: int, higher: int
) -> None:
    dataset = DomainDataset.open("dark", "val", data_root=domains, cache_dir=domains / "cache", progress=False)
    detector = Detector(Bundle(Path("scaling"), manifest_of()), ScalingEngine(dataset, given), threads=1)
    width, height = choose_box_scale(detector, dataset, progress=False)
    assert (np.sign(width - 1), np.sign(height - 1)) == (wider, higher)


def test_boxes_grow_about_their_centres_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    detector = build_detector("nano").eval()
    frames = torch.rand(2, 1, 64, 96)
    with torch.no_grad():
        before = detector.predict(detector.fuse(frames))
        scale_boxes(detector, (1.1, 0.8))
        after = detector.predict(detector.fuse(frames))
    assert torch.equal(before.objectness, after.objectness)
    assert torch.equal(before.classes, after.classes)
    own, scaled = (decode_boxes(one, stride=8) for one in (before, after))
    assert torch.allclose((own[..., :2] + own[..., 2:]) / 2, (scaled[..., :2] + scaled[..., 2:]) / 2, atol=1e-3)
    ratio = (scaled[..., 2:] - scaled[..., :2]) / (own[..., 2:] - own[..., :2])
    assert torch.allclose(ratio, torch.tensor([1.1, 0.8]).expand_as(ratio), rtol=1e-4)
