"""Small boxes that do not overlap find each other, and pairs are the best there are."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from loddis_runtime.boxes import pairwise_iou
from loddis_server.tracking.association import assign, buffered_iou


def boxes_at(*left_tops: tuple[float, float], size_px: float = 5.0) -> NDArray[np.float64]:
    return np.array([(x, y, x + size_px, y + size_px) for x, y in left_tops])


def test_boxes_that_moved_by_more_than_their_size_overlap_once_enlarged() -> None:
    before, after = boxes_at((10, 10)), boxes_at((22, 10))
    assert pairwise_iou(before, after)[0, 0] == 0
    # 25 x 25 px each, 13 px of the width in common
    assert buffered_iou(before, after, buffer_px=10)[0, 0] == pytest.approx(13 * 25 / (2 * 25 * 25 - 13 * 25))


def test_without_a_buffer_it_is_plain_iou() -> None:
    a, b = boxes_at((0, 0), (3, 1)), boxes_at((1, 1), (2, 4), (40, 40))
    np.testing.assert_array_equal(buffered_iou(a, b, buffer_px=0), pairwise_iou(a, b))


def test_the_nearer_of_two_boxes_overlaps_more() -> None:
    near, far = buffered_iou(boxes_at((10, 10)), boxes_at((16, 10), (10, 20)), buffer_px=10)[0]
    assert near > far > 0


@given(
    arrays(np.float64, (3, 4), elements=st.floats(0, 1)),
    arrays(np.bool_, (3, 4)),
)
def test_pairs_are_allowed_as_many_as_can_be_and_worth_most(
    worth: NDArray[np.float64], allowed: NDArray[np.bool_]
) -> None:
    rows, columns = assign(worth, allowed)
    assert allowed[rows, columns].all()
    assert len(set(rows.tolist())) == len(rows) == len(set(columns.tolist()))
    choices = []
    for chosen in permutations(range(4), 3):
        pairs = [(row, column) for row, column in enumerate(chosen) if allowed[row, column]]
        choices.append((len(pairs), sum(worth[pair] for pair in pairs)))
    count, most = max(choices)
    assert len(rows) == count
    assert worth[rows, columns].sum() == pytest.approx(most, abs=1e-6)
