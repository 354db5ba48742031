"""Which arrays are frames."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from loddis_runtime.errors import FrameError, LoddisError
from loddis_runtime.frames import as_frame, own_frame

FRAME_DTYPES = st.sampled_from(["u1", "<u2", ">u2", "<f4", ">f4"])


@given(
    hnp.arrays(
        FRAME_DTYPES,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements={"allow_nan": False, "allow_infinity": False},
    )
)
def test_values_and_bits_survive_in_any_byte_order(array: np.ndarray) -> None:
    frame = as_frame(array)
    assert frame.dtype == array.dtype.newbyteorder("=")
    assert frame.flags.c_contiguous
    np.testing.assert_array_equal(frame, array)
    np.testing.assert_array_equal(as_frame(array[..., None]), array)


def test_a_frame_is_not_copied() -> None:
    frame = np.zeros((4, 5), dtype=np.uint16)
    assert as_frame(frame) is frame


def test_strided_views_become_contiguous() -> None:
    view = np.arange(48, dtype=np.uint16).reshape(6, 8)[::2, ::-1]
    frame = as_frame(view)
    assert frame.flags.c_contiguous
    np.testing.assert_array_equal(frame, view)


def test_double_precision_becomes_single() -> None:
    frame = as_frame(np.full((2, 3), 0.1))
    assert frame.dtype == np.float32


def test_grey_in_three_channels_is_collapsed_at_full_depth() -> None:
    grey = np.arange(7_000, dtype=np.uint16).reshape(70, 100) * 9
    np.testing.assert_array_equal(as_frame(np.stack([grey] * 3, axis=2)), grey)


def test_alpha_is_not_looked_at() -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    alpha = np.full_like(grey, 255)
    np.testing.assert_array_equal(as_frame(np.stack([grey, grey, grey, alpha], axis=2)), grey)


def test_a_grey_picture_that_went_through_colour_jpeg_is_grey() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    ok, file = cv2.imencode(".jpg", cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert ok
    picture = cv2.imdecode(file, cv2.IMREAD_COLOR)
    assert picture is not None
    assert as_frame(picture).shape == (64, 64)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_one_coloured_pixel_is_true_colour(dtype: type[Any]) -> None:
    picture = np.zeros((8, 8, 3), dtype=dtype)
    picture[5, 2, 0] = 1 if dtype == np.float32 else np.iinfo(dtype).max // 20
    with pytest.raises(FrameError, match="true colour is refused"):
        as_frame(picture)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5, dtype=np.uint8), r"must be \(H, W\).*got shape \(5,\)"),
        (np.zeros((2, 3, 2), dtype=np.uint8), r"got shape \(2, 3, 2\)"),
        (np.zeros((1, 2, 3, 4), dtype=np.uint8), r"got shape \(1, 2, 3, 4\)"),
        (np.zeros((0, 4), dtype=np.uint8), r"must have pixels, got shape \(0, 4\)"),
        (np.zeros((4, 0, 3), dtype=np.uint8), r"must have pixels"),
        (np.zeros((4, 4), dtype=np.int32), r"got int32"),
        (np.zeros((4, 4), dtype=np.bool_), r"got bool"),
        (np.zeros((4, 4), dtype=np.float16), r"got float16"),
        (np.zeros((4, 4), dtype=np.complex64), r"got complex64"),
        ([[1, 2], [3]], r"must be an array"),
        (None, r"got shape \(\)"),
        ([["a", "b"]], r"got <U1"),
    ],
)
def test_what_is_no_frame_is_refused_by_name(array: object, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        as_frame(array)  # type: ignore[arg-type]


def test_an_own_frame_has_nothing_of_the_cameras_memory() -> None:
    memory = np.arange(12, dtype=np.uint16).reshape(3, 4)

    class Camera:
        def __array__(self, dtype: object = None, copy: object = None) -> NDArray[np.uint16]:
            return memory

    for shared in (memory, memory[:, :, None], memoryview(memory), Camera(), memory[:2], memory[:, ::2]):
        frame = own_frame(shared)
        assert not np.may_share_memory(frame, memory)
        np.testing.assert_array_equal(frame, as_frame(shared))
    with pytest.raises(FrameError, match="a frame must be an array"):
        own_frame([[1, 2], [3]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_is_refused_and_counted(value: float) -> None:
    frame = np.zeros((3, 4))
    frame[1, 2] = frame[0, 0] = value
    with pytest.raises(FrameError, match="got 2 values that are NaN or infinite"):
        as_frame(frame)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_nan_in_any_colour_channel_is_refused(channel: int) -> None:
    picture = np.zeros((3, 4, 3), dtype=np.float32)
    picture[1, 1, channel] = np.nan
    with pytest.raises(FrameError, match="finite"):
        as_frame(picture)


def test_a_frame_error_is_a_value_error_of_ours() -> None:
    assert issubclass(FrameError, ValueError)
    assert issubclass(FrameError, LoddisError)
