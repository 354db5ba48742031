"""Pieces of frames to train on: where they are cut, and that boxes go with them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from loddis_runtime.intensity import FullRange
from loddis_trainer.config import FitConfig
from loddis_trainer.data import AugmentConfig, Mixture, TrainingSamples
from loddis_trainer.data.cropping import crop
from loddis_trainer.data.samples import Draw
from support.domains import write_coco_domain

COORDINATES = np.stack(np.meshgrid(np.arange(320), np.arange(256)), axis=0).astype(
    np.float32
)  # x and y as two "frames"


def cut_samples(
    folder: Path,
    *,
    crop_hw: tuple[int, int],
    size_hw: tuple[int, int] = (96, 128),
    window: Literal[1, 3] = 1,
    augmentation: AugmentConfig | None = None,
) -> TrainingSamples:
    """Give the samples of twelve frames with a spot each, cut to pieces."""
    root = folder / "bright"
    if not root.exists():
        write_coco_domain(root, splits={"train": 12})
    return TrainingSamples(
        Mixture.open([str(root)], [], split="train", seed=0, cache_dir=folder / "cache", progress=False),
        size_hw=size_hw,
        window=window,
        intensity=FullRange(),
        augmentation=augmentation or AugmentConfig(),
        seed=0,
        crop_hw=crop_hw,
    )


@settings(max_examples=200, deadline=None)
@given(x=st.floats(-5, 318), y=st.floats(-5, 254), side=st.floats(2, 300), seed=st.integers(0, 10**6))
def test_boxes_stay_on_what_they_enclose(x: float, y: float, side: float, seed: int) -> None:
    box = np.array([[x, y, x + side, y + side]], dtype=np.float32)
    box = np.clip(box, 0, [320, 256, 320, 256]).astype(np.float32)
    piece, boxes, seen = crop(COORDINATES, box, (96, 160), np.random.default_rng(seed))
    left, top = piece[:, 0, 0]
    np.testing.assert_array_equal(piece, COORDINATES[:, int(top) :, int(left) :][:, :96, :160])
    assert piece.shape == (2, 96, 160)
    assert piece.flags.c_contiguous
    assert len(boxes) == seen.sum()
    if seen.all():
        expected = np.clip(box - [left, top, left, top], 0, [160, 96, 160, 96])
        np.testing.assert_allclose(boxes, expected, atol=1e-4)


def test_most_pieces_hold_a_target_whole_and_it_may_lie_anywhere_in_them() -> None:
    box = np.array([[200.0, 100.0, 206.0, 106.0]], dtype=np.float32)
    found = [crop(COORDINATES, box, (64, 64), np.random.default_rng(seed))[1] for seed in range(400)]
    whole = np.concatenate([boxes for boxes in found if len(boxes) and np.ptp(boxes[0, ::2]) == 6])
    assert 0.7 < len(whole) / len(found) < 0.9
    assert whole[:, :2].min() < 3
    assert whole[:, 2:].max() > 61


def test_frames_without_targets_are_cut_anywhere() -> None:
    none = np.zeros((0, 4), np.float32)
    corners = [crop(COORDINATES, none, (128, 128), np.random.default_rng(seed))[0][:, 0, 0] for seed in range(200)]
    assert np.min(corners, axis=0).max() < 10
    assert (np.max(corners, axis=0) > (182, 118)).all()


def test_training_samples_are_cut_and_keep_their_targets(tmp_path: Path) -> None:
    samples = cut_samples(tmp_path, crop_hw=(64, 64), window=3)
    kept = 0
    for number in range(12):
        frames, boxes, labels, *_ = samples[Draw(0, number, 0)]
        assert frames.shape == (3, 64, 64)
        assert len(boxes) == len(labels)
        for x1, y1, x2, y2 in boxes.tolist():
            inside = frames[-1, int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))]
            assert float(inside.max()) > float(frames[-1].median()) + 0.2  # the spot is where the box is
            kept += 1
    assert kept > 6
    again, other = (samples[Draw(0, 3, epoch)][0] for epoch in (0, 1))
    assert np.array_equal(again, samples[Draw(0, 3, 0)][0])
    assert not np.array_equal(again, other)


def test_pieces_stay_off_the_padding_where_the_frame_is_large_enough() -> None:
    none, wide, low = np.zeros((0, 4), np.float32), np.array([0.0, 64.0, 320.0, 192.0]), np.array([0.0, 96, 320, 160])
    for seed in range(100):
        piece, *_ = crop(COORDINATES, none, (96, 96), np.random.default_rng(seed), inside_xyxy=wide)
        assert piece[1].min() >= 64
        assert piece[1].max() < 192
        piece, *_ = crop(COORDINATES, none, (96, 96), np.random.default_rng(seed), inside_xyxy=low)
        assert piece[1].min() == 96  # too low for the piece: all of it is seen


def test_what_is_cut_out_knows_nothing_of_how_the_frame_was_changed(tmp_path: Path) -> None:
    """As many pieces of mirrored frames hold their target as of others."""
    samples = cut_samples(tmp_path, crop_hw=(32, 32), augmentation=AugmentConfig(flip=0.5))
    held: dict[bool, list[bool]] = {True: [], False: []}
    for epoch in range(80):
        for number in range(12):
            draw = Draw(0, number, epoch)
            mirrored = samples._chances(draw).changing.random() < 0.5
            held[bool(mirrored)].append(len(samples[draw][1]) > 0)
    rates = [float(np.mean(held[mirrored])) for mirrored in (True, False)]
    assert rates[0] == pytest.approx(rates[1], abs=0.09)
    assert max(rates) < 0.95


def test_targets_that_no_piece_can_hold_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut_samples(tmp_path, crop_hw=(64, 64))
    assert not caplog.records
    cut_samples(tmp_path, size_hw=(768, 1024), crop_hw=(32, 64))  # eight times enlarged
    (record,) = caplog.records
    assert "bright:train: 12 targets are larger than the 64 x 32 pieces" in record.getMessage()


def test_a_piece_larger_than_the_frame_is_refused() -> None:
    with pytest.raises(ValidationError, match="crop_hw 288 x 320 is cut out of size_hw, which is only 256 x 320"):
        FitConfig(task=["a"], crop_hw=(288, 320))
    with pytest.raises(ValidationError, match="multiples of 32"):
        FitConfig(task=["a"], crop_hw=(100, 100))
    with pytest.raises(ValueError, match="cannot be cut out"):
        crop(COORDINATES, np.zeros((0, 4), np.float32), (288, 320), np.random.default_rng(0))


def test_a_share_that_moves_needs_batches_by_domain() -> None:
    with pytest.raises(ValidationError, match="final_task_share needs balance 'domain'"):
        FitConfig(task=["a"], final_task_share=0.9)
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        FitConfig(task=["a"], balance="domain", final_task_share=1.1)


def test_statistics_of_a_single_piece_need_more_than_a_cell() -> None:
    with pytest.raises(ValidationError, match="cannot normalise a single frame of 32 x 32: raise crop_hw"):
        FitConfig(task=["a"], crop_hw=(32, 32), auxiliary_statistics="own")
