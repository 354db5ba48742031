"""A domain's boxes may lie beside their targets; mirror images must not undo what the labels mean."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from loddis_runtime.intensity import FullRange
from loddis_trainer.data import AugmentConfig, DomainDataset, Mixture, TrainingSamples
from loddis_trainer.data.augment import augment
from loddis_trainer.data.convention import measure_box_offset
from loddis_trainer.data.samples import Draw
from support.domains import SIZE_HW, spot_frame, write_drone_csv_domain

OFFSET_X, OFFSET_Y = 1.5, -1.0


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a domain whose boxes all lie right of and above their targets."""
    root = write_drone_csv_domain(tmp_path_factory.mktemp("data") / "shifted", splits={"train": 5}, frames=8)
    for table in (root / "labels").iterdir():
        rows = list(csv.DictReader(table.read_text().splitlines()))
        with table.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, rows[0].keys())
            writer.writeheader()
            for row in rows:
                moved = {"x": float(row["x"]) + OFFSET_X, "y": float(row["y"]) + OFFSET_Y}
                writer.writerow(row | moved)
    return root


def open_train(root: Path) -> DomainDataset:
    return DomainDataset.open(root, "train", cache_dir=root / "cache", progress=False)


def test_the_offset_of_boxes_is_measured(shifted: Path) -> None:
    np.testing.assert_allclose(measure_box_offset(open_train(shifted)), (OFFSET_X, OFFSET_Y), atol=0.1)


def test_too_few_clear_targets_tell_no_offset(shifted: Path) -> None:
    assert measure_box_offset(open_train(shifted).take(0.2, seed=0)) == (0.0, 0.0)


def test_a_mirror_image_keeps_the_offset() -> None:
    frame = spot_frame((20.0, 30.0), seed=0).astype(np.float32) / 255
    box = np.array([[17.0, 25.5, 26.0, 34.5]], dtype=np.float32)  # its centre 1.5 px right of the spot
    config, generator = AugmentConfig(flip=1.0), np.random.default_rng(0)
    _, (mirrored,), _ = augment([frame], box, config, generator, box_offset_x_px=1.5)
    assert (mirrored[0] + mirrored[2]) / 2 == pytest.approx(SIZE_HW[1] - 20.0 + 1.5)


def test_training_samples_keep_the_offset_of_their_domain(shifted: Path) -> None:
    mixture = Mixture.open([str(shifted)], [], split="train", seed=0, cache_dir=shifted / "cache", progress=False)
    samples = TrainingSamples(
        mixture, size_hw=SIZE_HW, window=1, intensity=FullRange(), augmentation=AugmentConfig(flip=1.0), seed=0
    )
    offsets = []
    for number in range(len(mixture.domains[0].dataset)):
        frames, boxes, *_ = samples[Draw(0, number, 0)]
        column = int(frames[0].argmax()) % SIZE_HW[1] + 0.5
        offsets.append(float(boxes[0, 0] + boxes[0, 2]) / 2 - column)
    assert np.median(offsets) == pytest.approx(OFFSET_X, abs=0.5)
