"""From FFmpeg's pixel formats to one channel."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_server.sources.media_error import MediaError
from loddis_server.sources.pixels import is_in_colour, to_gray

HEIGHT, WIDTH = 16, 50  # a width that FFmpeg pads


def frame_of(pix_fmt: str, planes: list[NDArray[Any]]) -> av.VideoFrame:
    """Make a frame of its planes, whose lines are padded as FFmpeg wants."""
    frame = av.VideoFrame(WIDTH, HEIGHT, pix_fmt)
    for plane, values in zip(frame.planes, planes, strict=True):
        lines = np.full((plane.buffer_size // plane.line_size, plane.line_size), 0xA5, np.uint8)
        data = np.ascontiguousarray(values).view(np.uint8)
        lines[: data.shape[0], : data.shape[1]] = data
        plane.update(lines.tobytes())
    return frame


def ramp(dtype: str, top: int) -> NDArray[Any]:
    return np.linspace(0, top, HEIGHT * WIDTH).astype(dtype).reshape(HEIGHT, WIDTH)


def chroma(dtype: str, value: int, shape: tuple[int, int]) -> NDArray[Any]:
    return np.full(shape, value, dtype)


@pytest.mark.parametrize(
    ("pix_fmt", "dtype", "top"),
    [
        ("gray", "u1", 255),
        ("gray10le", "<u2", 1023),
        ("gray12le", "<u2", 4095),
        ("gray14le", "<u2", 16383),
        ("gray16le", "<u2", 65535),
        ("gray16be", ">u2", 65535),
    ],
)
def test_grey_keeps_its_values(pix_fmt: str, dtype: str, top: int) -> None:
    values = ramp(dtype, top)
    image = to_gray(frame_of(pix_fmt, [values]), check_colour=True, take_luma=False)
    assert np.array_equal(image, values)
    assert image.dtype == (np.uint8 if dtype == "u1" else np.uint16)
    assert image.flags.c_contiguous


HALF = (HEIGHT // 2, WIDTH // 2)


@pytest.mark.parametrize(
    ("pix_fmt", "dtype", "top", "shapes"),
    [
        ("yuv420p", "u1", 235, [HALF, HALF]),
        ("yuvj420p", "u1", 255, [HALF, HALF]),
        ("yuv444p", "u1", 235, [(HEIGHT, WIDTH)] * 2),
        ("yuv420p10le", "<u2", 940, [HALF, HALF]),
        ("nv12", "u1", 235, [(HEIGHT // 2, WIDTH)]),
    ],
)
def test_luma_is_taken_if_chroma_is_neutral(pix_fmt: str, dtype: str, top: int, shapes: list[tuple[int, int]]) -> None:
    luma, neutral = ramp(dtype, top), 128 if dtype == "u1" else 512
    grey = frame_of(pix_fmt, [luma, *(chroma(dtype, neutral + neutral // 32, shape) for shape in shapes)])
    assert np.array_equal(to_gray(grey, check_colour=True, take_luma=False), luma)
    colour = frame_of(pix_fmt, [luma, *(chroma(dtype, neutral + neutral // 2, shape) for shape in shapes)])
    with pytest.raises(MediaError, match="in colour") as caught:
        to_gray(colour, check_colour=True, take_luma=False)
    assert caught.value.reason == "true_colour"
    assert np.array_equal(to_gray(colour, check_colour=True, take_luma=True), luma)
    assert np.array_equal(to_gray(colour, check_colour=False, take_luma=False), luma)


@pytest.mark.parametrize(("pix_fmt", "luma_at"), [("yuyv422", 0), ("uyvy422", 1)])
def test_packed_luma_is_unpacked(pix_fmt: str, luma_at: int) -> None:
    luma = ramp("u1", 235)
    packed = np.full((HEIGHT, 2 * WIDTH), 128, np.uint8)
    packed[:, luma_at::2] = luma
    assert np.array_equal(to_gray(frame_of(pix_fmt, [packed]), check_colour=True, take_luma=False), luma)
    packed[:, 1 - luma_at :: 2] = 30
    with pytest.raises(MediaError, match="in colour"):
        to_gray(frame_of(pix_fmt, [packed]), check_colour=True, take_luma=False)


def test_grey_in_three_channels_is_one() -> None:
    values = ramp("u1", 255)
    grey = av.VideoFrame.from_ndarray(np.repeat(values[..., None], 3, axis=2), format="rgb24")
    assert np.array_equal(to_gray(grey, check_colour=True, take_luma=False), values)


def test_a_coloured_clock_in_the_corner_is_no_colour_picture() -> None:
    plane = np.full((100, 100), 128, np.uint8)
    plane[:10, :12] = 220
    assert not is_in_colour(plane, neutral=128)
    plane[:30] = 220
    assert is_in_colour(plane, neutral=128)


@pytest.mark.parametrize("pix_fmt", ["grayf32le", "monow", "rgb48le", "p010le"])
def test_other_formats_are_refused(pix_fmt: str) -> None:
    with pytest.raises(MediaError, match="pixel format is") as caught:
        to_gray(av.VideoFrame(WIDTH, HEIGHT, pix_fmt), check_colour=True, take_luma=False)
    assert caught.value.reason == "unsupported"
