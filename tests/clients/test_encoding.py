"""Frames become requests without numpy, and what cannot be sent says why before anything is sent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from loddis_client import FrameError
from loddis_client._encoding import encode_frame
from loddis_server.decoding import FORMATS, ImageFormat


def decoded(frame: Any) -> NDArray[Any]:
    encoded = encode_frame(frame)
    size = int(encoded.headers["X-Frame-Height"]), int(encoded.headers["X-Frame-Width"])
    return np.frombuffer(encoded.body, encoded.headers["X-Frame-Dtype"]).reshape(size)


@given(
    arrays.arrays(
        st.sampled_from([np.dtype(t) for t in ("u1", "<u2", ">u2", "<f4", ">f4")]),
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements={"allow_nan": False, "allow_infinity": False},
    ),
    st.booleans(),
)
def test_pixels_arrive_as_they_are_whatever_their_layout(frame: NDArray[Any], transposed: bool) -> None:
    wanted = frame.T if transposed else frame
    assert np.array_equal(decoded(wanted), wanted)


def test_float64_becomes_float32_and_one_or_three_grey_channels_become_one() -> None:
    grey = np.random.default_rng(0).random((5, 7))
    assert np.array_equal(decoded(grey), grey.astype(np.float32))
    for channels in (1, 3, 4):
        wide = (grey * 65535).astype(np.uint16)
        assert np.array_equal(decoded(np.repeat(wide[..., None], channels, axis=2)), wide)


def test_other_holders_of_pixels_are_taken(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(decoded(Image.fromarray(pixels)), pixels)
    assert np.array_equal(decoded(memoryview(pixels)), pixels)

    class Tensor:
        def __array__(self) -> NDArray[np.uint8]:
            return pixels

    assert np.array_equal(decoded(Tensor()), pixels)


def test_files_go_as_they_are(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for suffix, content_type in ((".png", "image/png"), (".jpg", "image/jpeg"), (".tiff", "image/tiff")):
        path = tmp_path / f"frame{suffix}"
        cv2.imwrite(str(path), pixels)
        for frame in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), memoryview(path.read_bytes())):
            encoded = encode_frame(frame)
            assert encoded.headers == {"Content-Type": content_type}
            assert encoded.body == path.read_bytes()
    np.save(tmp_path / "frame.npy", pixels)
    assert encode_frame(tmp_path / "frame.npy").headers == {"Content-Type": "application/x-npy"}


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
def test_every_file_that_the_server_takes_is_sent(known: ImageFormat) -> None:
    for magic in known.magics:
        assert encode_frame(magic + b"and more").headers == {"Content-Type": known.media_types[0]}


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((2, 3), np.int32), "got a buffer of format 'i'"),
        (np.zeros((2, 3), bool), r"got a buffer of format '\?'"),
        (np.zeros((2, 3, 2), np.uint8), r"got shape \(2, 3, 2\)"),
        (np.zeros(5, np.uint16), r"got shape \(5,\)"),
        (np.zeros((0, 3), np.uint8), r"must have pixels, got shape \(0, 3\)"),
        (np.random.default_rng(0).integers(0, 255, (4, 4, 3)).astype(np.uint8), "true colour is refused"),
        (b"", "there is nothing in it"),
        (b"GIF89a", "neither PNG, JPEG, TIFF, PGM or .npy"),
        (Path("/nowhere/frame.png"), "/nowhere/frame.png cannot be read: No such file"),
        ("/", "/ cannot be read: Is a directory"),
        (42, "got int"),
        (Image.new("I;16B", (3, 2)), "got >u2"),
    ],
)
def test_what_cannot_be_sent_says_why(frame: Any, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        encode_frame(frame)


def test_what_may_never_end_is_not_read(tmp_path: Path) -> None:
    pipe = tmp_path / "frame.png"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(FrameError, match="cannot be read: it is no file"):
            encode_frame(path)
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate(2**28 + 1)  # takes no room on disk
    with pytest.raises(FrameError, match="268435457 bytes, more than the 268435456 of any frame"):
        encode_frame(huge)


def test_the_client_does_not_need_numpy() -> None:
    code = "import sys; import loddis_client, loddis_client.cli; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
