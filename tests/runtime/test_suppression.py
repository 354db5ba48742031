"""Suppression against a slow and obvious reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from loddis_runtime.suppression import average_boxes, suppress

OPEN: dict[str, Any] = {"iou_threshold": 1.0, "centre_distance_px": 0.0, "max_detections": 100}


@st.composite
def candidates(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    # small whole numbers: many overlaps, and many ties of score
    row = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(0, 8)] * 2, st.integers(0, 6), st.integers(0, 2))
    rows = np.array(draw(st.lists(row, max_size=14)), dtype=np.float32).reshape(-1, 6)
    rows[:, 2:4] += rows[:, :2]
    return rows[:, :4], rows[:, 4] / np.float32(6), rows[:, 5].astype(np.int32)


@given(candidates(), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.sampled_from([0.0, 1.5, 4.0]), st.integers(1, 20))
def test_agrees_with_the_obvious_way(
    found: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]],
    iou_threshold: float,
    centre_distance_px: float,
    max_detections: int,
) -> None:
    kept = suppress(
        *found,
        iou_threshold=iou_threshold,
        centre_distance_px=centre_distance_px,
        max_detections=max_detections,
    )
    assert kept.tolist() == _reference(*found, iou_threshold, centre_distance_px, max_detections)


def test_duplicates_of_a_tiny_target_go_by_distance_where_overlap_misses_them() -> None:
    boxes = np.array([[10.0, 10, 13, 13], [12, 12, 15, 15], [30, 30, 33, 33]])
    scores, classes = np.array([0.8, 0.9, 0.5]), np.zeros(3, dtype=np.int32)
    assert suppress(boxes, scores, classes, **{**OPEN, "iou_threshold": 0.5}).tolist() == [1, 0, 2]
    assert suppress(boxes, scores, classes, **{**OPEN, "centre_distance_px": 3.0}).tolist() == [1, 2]


def test_classes_do_not_suppress_each_other() -> None:
    boxes = np.array([[10.0, 10, 20, 20]] * 3)
    kept = suppress(
        boxes,
        np.array([0.5, 0.7, 0.6]),
        np.array([0, 1, 0]),
        iou_threshold=0.5,
        centre_distance_px=3.0,
        max_detections=9,
    )
    assert kept.tolist() == [1, 2]


def test_a_suppressed_candidate_suppresses_none() -> None:
    # a chain: the middle one overlaps both, the ends do not overlap each other
    boxes = np.array([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
    scores, classes = np.array([0.9, 0.8, 0.7]), np.zeros(3, dtype=np.int32)
    assert suppress(boxes, scores, classes, **{**OPEN, "iou_threshold": 0.3}).tolist() == [0, 2]


def test_nothing_in_nothing_out() -> None:
    assert suppress(np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=np.int32), **OPEN).tolist() == []


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"boxes \(N, 4\).*got \(3, 4\), \(2,\)"):
        suppress(np.zeros((3, 4)), np.zeros(2), np.zeros(3), **OPEN)


def test_a_box_is_the_weighted_mean_of_those_that_mean_its_target() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [2, 0, 12, 10], [0, 1, 10, 11], [40, 40, 50, 50], [1, 0, 11, 10]])
    scores = np.array([0.6, 0.3, 0.1, 0.9, 0.5])
    classes = np.array([0, 0, 0, 0, 1])
    kept = [3, 0]
    averaged = average_boxes(boxes[kept], classes[kept], boxes, scores, classes, iou_threshold=0.5)
    np.testing.assert_allclose(averaged[0], boxes[3])  # nothing overlaps it but itself
    np.testing.assert_allclose(averaged[1], 0.6 * boxes[0] + 0.3 * boxes[1] + 0.1 * boxes[2], rtol=1e-6)
    alone = average_boxes(boxes[kept], classes[kept], boxes, scores, classes, iou_threshold=0.9)
    np.testing.assert_allclose(alone, boxes[kept])


@given(candidates(), st.sampled_from([0.1, 0.5, 1.0]))
def test_a_mean_box_lies_among_the_boxes_that_it_is_of(
    found: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]], iou_threshold: float
) -> None:
    boxes, scores, classes = found
    averaged = average_boxes(boxes, classes, boxes, scores, classes, iou_threshold=iou_threshold)
    assert averaged.shape == boxes.shape
    for box, mean, label in zip(boxes, averaged, classes, strict=True):
        same = [
            other
            for other, kind in zip(boxes, classes, strict=True)
            if kind == label and _iou(box.tolist(), other.tolist()) >= iou_threshold
        ] or [box]
        assert np.all(mean >= np.min(same, axis=0) - 1e-5)
        assert np.all(mean <= np.max(same, axis=0) + 1e-5)


def _reference(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.int32],
    iou_threshold: float,
    centre_distance_px: float,
    max_detections: int,
) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        rivals = [other for other in kept if classes[other] == classes[index]]
        overlaps = any(_iou(boxes[index].tolist(), boxes[other].tolist()) > iou_threshold for other in rivals)
        close = any(_distance(boxes[index].tolist(), boxes[other].tolist()) < centre_distance_px for other in rivals)
        if not overlaps and not close:
            kept.append(index)
    return kept[:max_detections]


def _iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union else 0.0


def _distance(a: list[float], b: list[float]) -> float:
    return math.hypot((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2)
