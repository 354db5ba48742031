"""Sizes, cores, offsets, SNR and motion are measured as they were made."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from loddis_trainer.data.inspection import inspect_domain
from loddis_trainer.data.inspection.cores import core_sides_px
from loddis_trainer.data.inspection.distribution import distribution
from loddis_trainer.data.inspection.report import Inspection
from support.views import Shot, clouds, spot_box, with_spot, write_shots


def inspect(root: Path) -> Inspection:
    return inspect_domain(root, cache_dir=root.parent / "cache", progress=False).inspection


def messages(found: Inspection, subject: str) -> str:
    return "\n".join(f"{f.severity}: {f.message}" for f in found.findings if f.subject == subject)


def spots(
    split: str,
    count: int,
    *,
    side: float = 9.0,
    offset: tuple[float, float] = (0, 0),
    sigma: float = 1.6,
    height: float = 90,
) -> list[Shot]:
    generator = np.random.default_rng(len(split) + count)
    shots = []
    for i, (x, y) in enumerate(generator.uniform((25, 25), (135, 103), (count, 2)).tolist()):
        # Smooth views, so that what is measured is what was put in.
        pixels = with_spot(60 + clouds(1000 * len(split) + i) / 50, (x, y), sigma=sigma, height=height, noise=i)
        shots.append(Shot(f"{split}{i}.png", pixels, [spot_box((x + offset[0], y + offset[1]), side)]))
    return shots


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.6, 2.5])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_core_is_what_exceeds_half_the_height(sigma: float, sign: int) -> None:
    frame = with_spot(np.full((64, 64), 120.0), (31.3, 33.8), height=sign * 100, sigma=sigma)
    expected = math.sqrt(2 * math.pi * math.log(2)) * sigma  # √ of the area within half of the height
    for side in (9, 15, 25):  # however loosely it is boxed
        box = np.array([[31.3 - side / 2, 33.8 - side / 2, 31.3 + side / 2, 33.8 + side / 2]])
        assert core_sides_px(frame, box, clear=np.array([True]))[0] == pytest.approx(expected, rel=0.2)


def test_there_is_no_core_where_nothing_ends() -> None:
    edge = np.zeros((40, 40), np.uint8)
    edge[:, 20:] = 200
    boxes = np.array([[16.0, 16, 24, 24], [16, 16, 24, 24], [0, 0, 40, 40], [50, 50, 60, 60]])
    flat = np.full((40, 40), 7, np.uint8)
    assert np.isnan(core_sides_px(edge, boxes, clear=np.array([True, False, True, True]))).all()
    assert np.isnan(core_sides_px(flat, boxes[:1], clear=np.array([True]))).all()


def test_sizes_are_grouped_as_the_metrics_group_them(tmp_path: Path) -> None:
    shots = [*spots("train", 6, side=4), *spots("more", 3, side=8), *spots("large", 1, side=25)]
    sizes = inspect(write_shots(tmp_path / "d", {"train": shots})).splits["train"].sizes
    assert sizes.side_px.shares == {"< 5": 0.6, "5–10": 0.3, "10–20": 0.0, "≥ 20": 0.1}
    assert (sizes.commonest, sizes.commonest_share) == ("4 x 4", 0.6)
    assert sizes.aspect.median == pytest.approx(1)


def test_looseness_and_offset_are_measured_and_put_in_words(tmp_path: Path) -> None:
    splits = {
        "train": spots("train", 40, side=14, offset=(1.0, -0.6)),
        "val": spots("val", 40, side=14, offset=(1.0, -0.6)),
    }
    found = inspect(write_shots(tmp_path / "d", splits))
    boxes = found.splits["train"].boxes
    assert (boxes.offset_x_px, boxes.offset_y_px) == pytest.approx((1.0, -0.6), abs=0.1)
    assert boxes.core_side_px.median == pytest.approx(3.34, rel=0.1)
    assert boxes.looseness.median == pytest.approx(14 / 3.34, rel=0.1)
    text = messages(found, "boxes")
    assert "which is loose: mixed with tighter domains, on either side, use --auxiliary-box-trust 0.2" in text
    assert "warning: box centres lie beside their targets: 'train' 1.0" in text
    assert "px right, 0.6" in text
    assert "px above" in text
    assert "note: all boxes are 14 x 14 px: the size is a convention" in messages(found, "sizes")


def test_splits_boxed_unlike_one_another_are_a_warning(tmp_path: Path) -> None:
    splits = {"train": spots("train", 40, side=7), "val": spots("val", 40, side=14)}
    found = inspect(write_shots(tmp_path / "d", splits))
    assert "warning: boxes in 'val' are drawn otherwise than in 'train'" in messages(found, "boxes")
    assert "warning: boxes in 'val' are 2.00 times as large as in 'train'" in messages(found, "sizes")


def test_dim_targets_tell_nothing_of_boxes(tmp_path: Path) -> None:
    found = inspect(write_shots(tmp_path / "d", {"train": spots("train", 30, height=9)}))
    boxes = found.splits["train"].boxes
    assert not boxes.known
    assert math.isnan(boxes.offset_x_px)
    assert "fewer than 20 targets are clear enough" in messages(found, "boxes")


def test_snr_is_grouped_and_compared(tmp_path: Path) -> None:
    splits = {"train": spots("train", 30, height=90), "val": spots("val", 30, height=18)}
    found = inspect(write_shots(tmp_path / "d", splits))
    train, val = (found.splits[name].contrast for name in ("train", "val"))
    assert train.snr.shares["≥ 12"] == 1
    assert val.snr.shares["6–12"] > 0.8
    assert train.snr.median == pytest.approx(90 / 2, rel=0.2)
    assert "warning: targets in 'val' are dimmer than in 'train'" in messages(found, "contrast")


def test_motion_of_targets_and_camera_is_told_apart(tmp_path: Path) -> None:
    """The camera pans by 3 px a frame; the target moves 1 px against the scene, the same way."""
    wide = clouds(2, (128, 260)) + np.random.default_rng(0).normal(0, 12, (128, 260))  # streets, not mist
    shots = []
    for i in range(25):
        place = (120.0 - 3 * i + 1.0 * i, 60.0)
        pixels = with_spot(wide[:, 3 * i : 3 * i + 160].copy(), place, noise=i)
        shots.append(Shot(f"{i}.png", pixels, [spot_box(place)], video="pan", frame_id=i))
    found = inspect(write_shots(tmp_path / "d", {"train": shots}))
    motion = found.splits["train"].motion
    assert motion.steps == 24
    assert motion.speed_px_per_frame.median == pytest.approx(2)
    assert motion.camera_px_per_frame.median == pytest.approx(3, abs=0.2)
    assert motion.own_speed_px_per_frame.median == pytest.approx(1, abs=0.3)
    assert motion.camera_moves_share == 1
    assert "--register-window" in messages(found, "motion")


def test_steps_are_taken_between_neighbouring_frames_only(tmp_path: Path) -> None:
    shots = [
        Shot(f"{i}.png", with_spot(clouds(0), (30.0 + 2 * i, 60), noise=i), [spot_box((30.0 + 2 * i, 60))], "clip", i)
        for i in (0, 1, 2, 10, 11)
    ]
    motion = inspect(write_shots(tmp_path / "d", {"train": shots})).splits["train"].motion
    assert (motion.steps, motion.speed_px_per_frame.quantiles["max"]) == (3, pytest.approx(2))


def test_repeated_frames_are_told(tmp_path: Path) -> None:
    pixels = [with_spot(clouds(0), (30.0 + i // 2, 60), noise=i // 2) for i in range(12)]
    shots = [Shot(f"{i}.png", p, [spot_box((30.0 + i // 2, 60))], "clip", i) for i, p in enumerate(pixels)]
    found = inspect(write_shots(tmp_path / "d", {"train": shots}))
    assert found.splits["train"].motion.frozen_share == pytest.approx(6 / 11)
    assert "warning: 55 % of frames looked at in 'train' are the frame before again" in messages(found, "motion")


def test_distributions_leave_out_what_is_unknown() -> None:
    spread = distribution([1.0, 2.0, math.nan, 9.0], edges=(0, 5, math.inf))
    assert (spread.count, spread.median) == (3, 2)
    assert spread.shares == {"< 5": pytest.approx(2 / 3), "≥ 5": pytest.approx(1 / 3)}
    assert math.isnan(distribution([], edges=(0, 5)).shares["< 5"])


def test_a_real_domain_is_described_as_its_readme_does(loddis_data: Path, tmp_path: Path) -> None:
    """city: "7 x 7 px squares centred on labelled centroids", split by clip, moving camera and target."""
    found = inspect_domain("city", data_root=loddis_data, cache_dir=tmp_path, frames=150, progress=False).inspection
    assert found.count("fault") == 0
    assert not [leak for leak in found.leaks.leaks if leak.splits[0] != leak.splits[1]]
    assert {name: split.counts.frames for name, split in found.splits.items()} == {"train": 778, "val": 90, "test": 202}
    for split in found.splits.values():
        assert (split.sizes.commonest, split.sizes.commonest_share) == ("7 x 7", 1.0)
        assert abs(split.boxes.offset_x_px) < 0.1
        assert split.motion.camera_px_per_frame.quantiles["max"] > 3
