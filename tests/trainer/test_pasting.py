"""Added targets are where their boxes say, look like the domain's own, and change nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_runtime.intensity import FullRange
from loddis_runtime.photometry import measure_targets
from loddis_trainer.data import AugmentConfig, Mixture, TrainingSamples
from loddis_trainer.data.pasting import cut_out, paste
from loddis_trainer.data.rendering import add_contrail, add_synthetic_target
from loddis_trainer.data.samples import Draw
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


def test_where_boxes_are_of_a_single_pixel_a_synthetic_target_is_a_point() -> None:
    generator = np.random.default_rng(3)
    boxes = [
        add_synthetic_target(empty(1), *NONE, box_size_px=(1.0, 1.5), box_offset_px=(0.0, 0.0), generator=generator)[1]
        for _ in range(30)
    ]
    sizes = np.concatenate([box[:, 2:] - box[:, :2] for box in boxes])
    assert len(sizes) > 20
    np.testing.assert_allclose(sizes, np.tile((1.0, 1.5), (len(sizes), 1)), atol=1e-5)


def test_a_synthetic_target_does_not_show_where_the_range_ends() -> None:
    white = [np.ones(SIZE_HW, np.float32)]
    after, boxes, _ = add_synthetic_target(
        white, *NONE, box_size_px=(9.0, 9.0), box_offset_px=(0.0, 0.0), generator=np.random.default_rng(0)
    )
    assert after is white
    assert len(boxes) == 0


def test_a_contrail_is_boxed_whole_beside_the_offset_of_the_domain() -> None:
    generator = np.random.default_rng(4)
    found, lengths = 0, []
    for _ in range(30):
        frames = [np.random.default_rng(i).normal(0.3, 0.02, (128, 160)).astype(np.float32) for i in range(2)]
        after, boxes, labels = add_contrail(frames, *NONE, box_offset_px=(1.0, 1.5), generator=generator)
        if len(boxes) == 0:
            continue
        found += 1
        assert labels.tolist() == [0]
        added = after[-1] - frames[-1]
        shown = np.argwhere(added > 0.15 * added.max()) + 0.5  # y, x: the trail ends at 0.2 of its beginning
        (top, left), (bottom, right) = shown.min(0) - 0.5, shown.max(0) + 0.5
        inner = boxes[0] - (1.0, 1.5, 1.0, 1.5)
        assert (inner[:2] <= (left + 1, top + 1)).all()
        assert (inner[2:] >= (right - 1, bottom - 1)).all()
        assert (inner >= 0).all()
        lengths.append(float(np.hypot(*(boxes[0, 2:] - boxes[0, :2]))))
    assert found > 20
    assert min(lengths) < 30 < 45 < max(lengths)


def test_a_contrail_flies_towards_its_head() -> None:
    generator = np.random.default_rng(5)
    forward = []
    for _ in range(30):
        frames = [np.random.default_rng(7).normal(0.3, 0.02, (128, 160)).astype(np.float32)] * 3
        after, boxes, _ = add_contrail(frames, *NONE, box_offset_px=(0.0, 0.0), generator=generator)
        if len(boxes):
            added = [frame - before for frame, before in zip(after, frames, strict=True)]
            rows, columns = np.indices((128, 160)) + 0.5
            first, _, last = (np.array([(one * columns).sum(), (one * rows).sum()]) / one.sum() for one in added)
            head = np.array(np.unravel_index(added[-1].argmax(), (128, 160)))[::-1] + 0.5
            forward.append(float((last - first) @ (head - last)) > -0.1)
    assert np.mean(forward) > 0.9  # of the dimmest heads another pixel of the trail may be the brightest


def test_a_contrail_does_not_show_where_the_range_ends_nor_over_other_targets() -> None:
    white = [np.ones((128, 160), np.float32)]
    assert len(add_contrail(white, *NONE, box_offset_px=(0.0, 0.0), generator=np.random.default_rng(0))[1]) == 0
    everywhere = np.array([[0, 0, 160, 128]], dtype=np.float32), np.zeros(1, np.int64)
    plain = [np.full((128, 160), 0.3, np.float32)]
    after, boxes, _ = add_contrail(plain, *everywhere, box_offset_px=(0.0, 0.0), generator=np.random.default_rng(0))
    assert after is plain
    assert len(boxes) == 1


def test_contrails_are_for_task_domains(tmp_path: Path) -> None:
    for name in ("task", "other"):
        write_coco_domain(tmp_path / name)
    mixture = Mixture.open(["task"], ["other"], split="train", seed=0, data_root=tmp_path, progress=False)
    samples = TrainingSamples(
        mixture,
        size_hw=SIZE_HW,
        window=1,
        intensity=FullRange(),
        augmentation=AugmentConfig(contrail=1.0),
        seed=0,
    )
    counts = [sum(len(samples[Draw(domain, number, 0)][1]) for number in range(8)) for domain in (0, 1)]
    assert counts[0] > 10
    assert counts[1] == 8


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


def test_a_window_is_seen_as_a_single_frame_now_and_then(tmp_path: Path) -> None:
    write_coco_domain(tmp_path / "clips", clips=True, frames_per_clip=8)
    mixture = Mixture.open(["clips"], [], split="train", seed=0, data_root=tmp_path, progress=False)
    samples = TrainingSamples(
        mixture,
        size_hw=SIZE_HW,
        window=3,
        intensity=FullRange(),
        augmentation=AugmentConfig(noise=0.1, synthetic=0.5, single=0.5),
        seed=0,
    )
    still = 0
    for epoch in range(100):
        frames = samples[Draw(0, 5, epoch)][0]
        same = [bool((frame == frames[-1]).all()) for frame in frames[:-1]]
        assert all(same) or not any(same)
        still += all(same)
    assert 35 < still < 65
