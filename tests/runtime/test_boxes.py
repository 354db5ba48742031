"""Arithmetic on boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from loddis_runtime.boxes import box_centres, clip_boxes, pairwise_centre_distance, pairwise_iou


@st.composite
def boxes(draw: st.DrawFn) -> NDArray[np.float64]:
    corners = st.tuples(*[st.floats(-100, 100)] * 2, *[st.floats(0, 50)] * 2)
    rows = draw(st.lists(corners, max_size=6))
    array = np.array(rows, dtype=np.float64).reshape(-1, 4)
    array[:, 2:] += array[:, :2]
    return array


def test_iou_of_boxes_counted_by_hand() -> None:
    a = np.array([[0.0, 0, 4, 4], [10, 10, 12, 12]])
    b = np.array([[2.0, 2, 6, 6], [0, 0, 4, 4], [4, 0, 8, 4]])
    np.testing.assert_allclose(pairwise_iou(a, b), [[4 / 28, 1.0, 0.0], [0.0, 0.0, 0.0]])


@given(boxes(), boxes())
def test_iou_is_symmetric_and_bounded(a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    iou = pairwise_iou(a, b)
    assert iou.shape == (len(a), len(b))
    assert np.all((iou >= 0) & (iou <= 1 + 1e-12))
    np.testing.assert_allclose(iou, pairwise_iou(b, a).T)


@given(boxes())
def test_boxes_with_area_are_themselves(a: NDArray[np.float64]) -> None:
    area = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    np.testing.assert_allclose(np.diag(pairwise_iou(a, a)), np.where(area > 0, 1.0, 0.0))


def test_boxes_without_area_overlap_nothing() -> None:
    flat = np.array([[3.0, 3, 3, 3], [5, 5, 4, 9]])
    assert not pairwise_iou(flat, np.array([[0.0, 0, 10, 10], [3, 3, 3, 3]])).any()


@given(boxes(), boxes())
def test_distance_is_between_centres(a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    distance = pairwise_centre_distance(a, b)
    for i, one in enumerate(box_centres(a)):
        for j, other in enumerate(box_centres(b)):
            assert distance[i, j] == pytest.approx(np.linalg.norm(one - other))


def test_clipping_keeps_what_is_inside() -> None:
    clipped = clip_boxes(np.array([[-3.0, 2, 5, 100], [700, 3, 720, 9]]), (48, 64))
    np.testing.assert_array_equal(clipped, [[0, 2, 5, 48], [64, 3, 64, 9]])


@pytest.mark.parametrize("shape", [(3, 5), (4,), (2, 2, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(N, 4\), got"):
        pairwise_iou(np.zeros(shape), np.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"boxes_xyxy must be \(N, 4\), got"):
        box_centres(np.zeros(shape))
