"""Overlays."""

from __future__ import annotations

import numpy as np
import pytest

from loddis_runtime.detections import Detections
from loddis_runtime.drawing import draw_detections
from loddis_runtime.errors import ConfigError


def detections_of(*boxes: tuple[float, float, float, float], names: tuple[str, ...] = ("target",)) -> Detections:
    count = len(boxes)
    return Detections(
        boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        scores=np.linspace(0.9, 0.5, count, dtype=np.float32),
        class_ids=(np.arange(count) % len(names)).astype(np.int32),
        centroids=np.zeros((count, 2), dtype=np.float32),
        snr=np.zeros(count, dtype=np.float32),
        class_names=names,
    )


NOTHING = Detections.empty(("target",))


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_pixels_become_squares(scale: int) -> None:
    frame = np.arange(48, dtype=np.uint8).reshape(6, 8)
    picture = draw_detections(frame, NOTHING, scale=scale)
    assert picture.shape == (6 * scale, 8 * scale, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[::scale, ::scale, 1], frame)


def test_what_is_marked_is_not_hidden() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
    plain = draw_detections(frame, NOTHING)
    marked = draw_detections(frame, detections_of((40, 30, 43, 33)))
    box = np.s_[30 * 2 : 33 * 2, 40 * 2 : 43 * 2]
    np.testing.assert_array_equal(marked[box], plain[box])
    around = np.s_[30 * 2 - 6 : 33 * 2 + 6, 40 * 2 - 6 : 43 * 2 + 6]
    assert np.any(marked[around] != plain[around])


def test_marks_and_text_are_seen_on_white_and_on_black() -> None:
    for level in (0, 255):
        frame = np.full((60, 80), level, dtype=np.uint8)
        picture = draw_detections(frame, detections_of((40, 30, 43, 33))).astype(int)
        changed = np.abs(picture - level).max(axis=2) > 100
        assert changed[30 * 2 - 6 : 33 * 2 + 6].sum() > 20  # the marks
        assert changed[30 * 2 - 25 : 30 * 2 - 6].sum() > 20  # the score


@pytest.mark.parametrize("box", [(0, 0, 3, 3), (77, 57, 80, 60), (0, 0, 80, 60), (78, 0, 80, 60)])
def test_scores_stay_in_the_picture_at_every_border(box: tuple[float, float, float, float]) -> None:
    frame = np.zeros((60, 80), dtype=np.uint8)
    inside = draw_detections(frame, detections_of((40, 30, 43, 33)), scale=3)
    at_border = draw_detections(frame, detections_of(box), scale=3)
    assert np.count_nonzero(at_border) > 0.4 * np.count_nonzero(inside)


def test_classes_have_colours_of_their_own() -> None:
    frame = np.zeros((60, 120), dtype=np.uint8)
    picture = draw_detections(frame, detections_of((20, 30, 24, 34), (90, 30, 94, 34), names=("drone", "bird")))
    left, right = (np.unique(half.reshape(-1, 3), axis=0).tolist() for half in (picture[:, :120], picture[:, 120:]))
    assert max(left, key=sum) != max(right, key=sum)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_frames_are_stretched_for_the_eye(dtype: type[np.generic]) -> None:
    frame = np.linspace(7_000, 7_400, 4_800).reshape(60, 80).astype(dtype)
    grey = draw_detections(frame, NOTHING, scale=1)[..., 0]
    assert grey.min() == 0
    assert grey.max() == 255
    assert np.all(np.diff(grey.ravel().astype(int)) >= 0)


def test_a_flat_frame_and_a_single_pixel_can_be_drawn() -> None:
    assert draw_detections(np.full((9, 9), 700, dtype=np.uint16), NOTHING).shape == (18, 18, 3)
    assert draw_detections(np.zeros((1, 1), dtype=np.uint8), detections_of((0, 0, 1, 1))).shape == (2, 2, 3)


def test_the_frame_is_not_drawn_into() -> None:
    frame = np.zeros((60, 80), dtype=np.uint8)
    draw_detections(frame, detections_of((40, 30, 43, 33)), scale=1)
    assert not frame.any()


def test_a_scale_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="scale must be a whole number from 1 to 16, got 0"):
        draw_detections(np.zeros((4, 4), dtype=np.uint8), NOTHING, scale=0)
