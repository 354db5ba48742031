"""The letterbox and its way back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from loddis_runtime.errors import ConfigError
from loddis_runtime.letterbox import FILL, LetterboxTransform, letterbox

SIDES = st.integers(1, 20_000)
NET_SIDES = st.integers(8, 2_048)
SMALL = st.integers(1, 90)


@given(frame_hw=st.tuples(SIDES, SIDES), net_hw=st.tuples(NET_SIDES, NET_SIDES), data=st.data())
def test_boxes_come_back_to_a_hundredth_of_a_pixel(
    frame_hw: tuple[int, int], net_hw: tuple[int, int], data: st.DataObject
) -> None:
    height, width = frame_hw
    x, y = st.floats(0, width), st.floats(0, height)
    boxes = np.array(data.draw(st.lists(st.tuples(x, y, x, y), min_size=1, max_size=4)))
    transform = LetterboxTransform.fit(frame_hw, net_hw)
    assert np.abs(transform.to_frame(transform.to_network(boxes)) - boxes).max() < 0.01
    # also through the single precision that the network speaks
    single = transform.to_network(boxes).astype(np.float32)
    rounding = float(np.finfo(np.float32).eps) * max(net_hw) / transform.scale
    assert np.abs(transform.to_frame(single) - boxes).max() < 0.01 + rounding


@given(frame_hw=st.tuples(SIDES, SIDES), net_hw=st.tuples(NET_SIDES, NET_SIDES))
def test_the_frame_is_whole_centred_and_as_large_as_it_goes(frame_hw: tuple[int, int], net_hw: tuple[int, int]) -> None:
    transform = LetterboxTransform.fit(frame_hw, net_hw)
    assert transform.scale == min(net_hw[0] / frame_hw[0], net_hw[1] / frame_hw[1])
    frame_box = np.array([[0, 0, frame_hw[1], frame_hw[0]]])
    left, top, right, bottom = transform.to_network(frame_box)[0]
    # rounding to whole pixels moves an edge by one at the most
    assert min(left, top) >= 0
    assert right <= net_hw[1] + 1
    assert bottom <= net_hw[0] + 1
    assert abs(left - (net_hw[1] - right)) <= 2
    assert abs(top - (net_hw[0] - bottom)) <= 2
    assert min(abs(right - left - net_hw[1]), abs(bottom - top - net_hw[0])) < 1e-6


@given(frame_hw=st.tuples(SMALL, SMALL), net_hw=st.tuples(st.integers(8, 90), st.integers(8, 90)))
def test_any_frame_fills_its_place_and_nothing_else(frame_hw: tuple[int, int], net_hw: tuple[int, int]) -> None:
    picture = letterbox(np.ones(frame_hw, dtype=np.float32), net_hw)
    assert picture.shape == net_hw
    assert picture.dtype == np.float32
    rows, columns = np.nonzero(picture == 1)
    transform = LetterboxTransform.fit(frame_hw, net_hw)
    assert (columns.min(), rows.min()) == (transform.pad_x, transform.pad_y)
    assert abs(columns.max() + 1 - transform.pad_x - max(1, frame_hw[1] * transform.scale)) <= 0.5 + 1e-9
    assert abs(rows.max() + 1 - transform.pad_y - max(1, frame_hw[0] * transform.scale)) <= 0.5 + 1e-9
    filled = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
    assert filled == len(rows)
    assert np.count_nonzero(picture == FILL) == picture.size - filled


@given(
    frame_hw=st.tuples(st.integers(40, 160), st.integers(40, 160)),
    net_hw=st.tuples(st.integers(40, 160), st.integers(40, 160)),
    place=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
)
def test_pixels_land_where_the_transform_says(
    frame_hw: tuple[int, int], net_hw: tuple[int, int], place: tuple[float, float]
) -> None:
    centre = np.array([[place[0] * frame_hw[1], place[1] * frame_hw[0]]])
    transform = LetterboxTransform.fit(frame_hw, net_hw)
    sigma = max(2.0, 1.5 / transform.scale)
    picture = letterbox(_spot(frame_hw, centre[0], sigma), net_hw)
    picture = np.where(picture == FILL, 0, picture)
    rows, columns = np.mgrid[: net_hw[0], : net_hw[1]] + 0.5
    found = np.array([(columns * picture).sum(), (rows * picture).sum()]) / picture.sum()
    expected = transform.to_network(centre)[0]
    reach = 4 * sigma * transform.scale  # a spot that its frame cuts has its mean elsewhere
    inner = [(0 + reach, side * transform.scale - reach) for side in (frame_hw[1], frame_hw[0])]
    offset = expected - (transform.pad_x, transform.pad_y)
    assume(all(low <= value <= high for (low, high), value in zip(inner, offset, strict=True)))
    assert np.abs(found - expected).max() < 0.05


def test_a_frame_of_the_networks_size_is_copied_bit_by_bit() -> None:
    frame = np.random.default_rng(3).random((24, 32), dtype=np.float32)
    picture = letterbox(frame, (24, 32))
    np.testing.assert_array_equal(picture, frame)
    assert not np.shares_memory(picture, frame)


def test_scale_one_with_padding_copies_pixels() -> None:
    frame = np.random.default_rng(3).random((24, 32), dtype=np.float32)
    picture = letterbox(frame, (24, 64))
    np.testing.assert_array_equal(picture[:, 16:48], frame)
    assert np.all(picture[:, :16] == FILL)
    assert np.all(picture[:, 48:] == FILL)


def test_writes_where_it_is_told() -> None:
    frame = np.random.default_rng(3).random((30, 20), dtype=np.float32)
    batch = np.full((2, 16, 16), np.nan, dtype=np.float32)
    assert letterbox(frame, (16, 16), out=batch[1]).base is batch
    np.testing.assert_array_equal(batch[1], letterbox(frame, (16, 16)))
    assert np.isnan(batch[0]).all()


@pytest.mark.parametrize("frame_hw", [(1, 1), (1, 20_000), (20_000, 1), (2, 19_999)])
def test_extreme_frames_fit(frame_hw: tuple[int, int]) -> None:
    picture = letterbox(np.full(frame_hw, 0.25, dtype=np.float32), (64, 96))
    assert np.count_nonzero(picture == 0.25) >= 64
    assert math.isclose(float(picture.min()), 0.25)


@pytest.mark.parametrize(("frame_hw", "net_hw"), [((0, 5), (8, 8)), ((5, 5), (8, 0)), ((-1, 5), (8, 8))])
def test_sizes_without_pixels_are_refused(frame_hw: tuple[int, int], net_hw: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1 x 1"):
        LetterboxTransform.fit(frame_hw, net_hw)


def _spot(size_hw: tuple[int, int], centre_xy: NDArray[np.float64], sigma_px: float) -> NDArray[np.float32]:
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    square = (columns - centre_xy[0]) ** 2 + (rows - centre_xy[1]) ** 2
    return np.asarray(np.exp(-square / (2 * sigma_px**2)), dtype=np.float32)
