"""Added targets are where their boxes say, look like the domain's own, and change nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_runtime.intensity import FullRange
from loddis_runtime.photometry import measure_targets
from loddis_trainer.data import AugmentConfig, Mixture, TrainingSamples
from loddis_trainer.data.loader import Draw
from loddis_trainer.data.pasting import add_synthetic_target, cut_out, paste
from support.domains import BOX_PX, SIZE_HW, spot_frame, write_coco_domain

NONE = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)


def window(*centres_xy: tuple[float, float]) -> list[NDArray[np.float32]]:
    return [spot_frame(xy, seed=i).astype(np.float32) / 255 for i, xy in enumerate(centres_xy)]


def empty(length: int = 1, level: float = 60.0) -> list[NDArray[np.float32]]:
    return [
        np.random.default_rng(i).normal(level, 4.0, SIZE_HW).clip(0, 255).astype(np.float32) / 255
        for i in range(length)
    ]


def box_at(x: float, y: float, side: float = BOX_PX) -> NDArray[np.float32]:
    return np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], dtype=np.float32)


def test_a_pasted_target_is_where_its_box_says() -> None:
    cutout = cut_out(window((40.3, 30.6)), box_at(40.3, 30.6), 0)
    assert cutout is not None
    generator = np.random.default_rng(0)
    contrasts = []
    for _ in range(20):
        before = empty()
        after, boxes, labels = paste(before, *NONE, cutout, generator)
        assert labels.tolist() == [0]
        (x, y), snr = measure_targets(after[-1], boxes)[0][0], measure_targets(after[-1], boxes)[1]
        assert (x, y) == pytest.approx(((boxes[0, 0] + boxes[0, 2]) / 2, (boxes[0, 1] + boxes[0, 3]) / 2), abs=0.3)
        assert snr[0] > 5
        changed = np.argwhere(after[-1] != before[-1])
        assert (changed.min(0) >= boxes[0, [1, 0]] - 4).all()
        assert (changed.max(0) <= boxes[0, [3, 2]] + 4).all()
        contrasts.append(float((after[-1] - before[-1]).max()) * 255 / 150)
    assert min(contrasts) == pytest.approx(0.3, abs=0.15)
    assert max(contrasts) == pytest.approx(1.0, abs=0.15)


def test_its_motion_through_the_window_is_pasted_too() -> None:
    cutout = cut_out(window((36.0, 30.0), (38.0, 30.0), (40.0, 30.0)), box_at(40.0, 30.0), 0)
    assert cutout is not None
    after, boxes, _ = paste(empty(3), *NONE, cutout, np.random.default_rng(1))
    places = [measure_targets(frame, boxes)[0][0, 0] for frame in after]
    np.testing.assert_allclose(np.diff(places), 2.0, atol=0.4)


def test_a_target_at_the_border_is_not_cut_out() -> None:
    assert cut_out(window((3.0, 30.0)), box_at(5.0, 30.0), 0) is None


def test_nothing_is_pasted_over_another_target_nor_where_it_would_not_show() -> None:
    cutout = cut_out(window((40.0, 30.0)), box_at(40.0, 30.0), 0)
    assert cutout is not None
    everywhere = np.array([[0, 0, SIZE_HW[1], SIZE_HW[0]]], dtype=np.float32)
    frames = empty()
    after, boxes, labels = paste(frames, everywhere, np.zeros(1, np.int64), cutout, np.random.default_rng(0))
    assert after is frames
    assert (len(boxes), len(labels)) == (1, 1)
    saturated = [np.ones(SIZE_HW, np.float32)]
    assert len(paste(saturated, *NONE, cutout, np.random.default_rng(0))[1]) == 0


def test_a_synthetic_target_is_boxed_as_the_domain_would() -> None:
    generator = np.random.default_rng(3)
    found = 0
    for _ in range(20):
        frames = empty(3)
        after, boxes, labels = add_synthetic_target(
            frames, *NONE, box_size_px=(14.0, 10.0), box_offset_px=(1.0, 1.5), generator=generator
        )
        if len(boxes) == 0:
            continue
        found += 1
        assert labels.tolist() == [0]
        assert boxes[0, 2] - boxes[0, 0] == pytest.approx(14.0)
        assert boxes[0, 3] - boxes[0, 1] == pytest.approx(10.0)
        added = after[-1] - frames[-1]
        rows, columns = np.indices(SIZE_HW) + 0.5
        centre = np.array([(added * columns).sum(), (added * rows).sum()]) / added.sum()
        expected = (boxes[0, :2] + boxes[0, 2:]) / 2 - (1.0, 1.5)
        np.testing.assert_allclose(centre, expected, atol=0.6)
    assert found > 15


def test_a_synthetic_target_does_not_show_where_the_range_ends() -> None:
    white = [np.ones(SIZE_HW, np.float32)]
    after, boxes, _ = add_synthetic_target(
        white, *NONE, box_size_px=(9.0, 9.0), box_offset_px=(0.0, 0.0), generator=np.random.default_rng(0)
    )
    assert after is white
    assert len(boxes) == 0


def test_training_samples_get_more_targets(tmp_path: Path) -> None:
    write_coco_domain(tmp_path / "bright")
    mixture = Mixture.open(["bright"], [], split="train", seed=0, data_root=tmp_path, progress=False)

    def targets(**changes: float) -> int:
        samples = TrainingSamples(
            mixture,
            size_hw=SIZE_HW,
            window=1,
            intensity=FullRange(),
            augmentation=AugmentConfig.model_validate(changes),
            seed=0,
        )
        return sum(len(samples[Draw(0, number, 0)][1]) for number in range(8))

    assert targets() == 8
    assert 12 <= targets(paste=1.0) <= 16
    assert 12 <= targets(synthetic=1.0) <= 16
    assert targets(paste=1.0, synthetic=1.0) > 20
