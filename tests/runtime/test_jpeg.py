"""JPEG files: what their header says, whether all of the picture is there, and what a decoder gets of them."""

from __future__ import annotations

import re
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from loddis_runtime.errors import JpegError, TruncatedJpegError
from loddis_runtime.jpeg import READ_AHEAD, FrameHeader, checked, read_frame_header
from support.frame_files import jpeg_file, jpeg_in_scans, spot_frame

END_OF_IMAGE, START_OF_SCAN, START_OF_FRAME = b"\xff\xd9", b"\xff\xda", b"\xff\xc0"
FRAME = spot_frame((40, 30), (70, 40))
COLOUR = np.dstack([FRAME, FRAME[::-1], FRAME[:, ::-1]])
WHOLE = {
    "grey": jpeg_file(FRAME),
    "colour": jpeg_file(COLOUR),
    "progressive": jpeg_file(FRAME, progressive=True),
    "colour, progressive": jpeg_file(COLOUR, progressive=True),
    "scans of channels": jpeg_in_scans(np.moveaxis(COLOUR, 2, 0)),
}
GREY = WHOLE["grey"]


def decoded(data: bytes | memoryview) -> NDArray[np.uint8] | None:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def damage(data: bytes, *, strict: bool = True) -> str:
    """Give the message for a file that is all there and makes no sense."""
    with pytest.raises(JpegError) as caught:
        checked(data, strict=strict)
    assert not isinstance(caught.value, TruncatedJpegError)
    return str(caught.value)


def with_number_of_channels(channels: int) -> bytes:
    at = GREY.index(START_OF_FRAME) + 9
    return GREY[:at] + bytes([channels]) + GREY[at + 1 :]


@pytest.mark.parametrize(
    ("data", "process", "channels"),
    [
        (GREY, 0, 1),
        (WHOLE["colour"], 0, 3),
        (WHOLE["progressive"], 2, 1),
        (with_number_of_channels(4), 0, 4),
        (GREY.replace(START_OF_FRAME, b"\xff\xc3"), 3, 1),
    ],
)
def test_the_frame_header_is_read(data: bytes, process: int, channels: int) -> None:
    expected = FrameHeader(process=process, bits=8, height=64, width=96, channels=channels)
    assert read_frame_header(data) == expected
    assert read_frame_header(memoryview(data)[: data.index(START_OF_SCAN)]) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xd8\xff\xd9", "it has no frame header"),
        (b"\xff\xd8" + GREY[GREY.index(START_OF_SCAN) :], "it has no frame header"),
        (b"\xff\xd8\xff\xc0\x00\x04abc", "its frame header is too short"),
        (b"\xff\xd8abc", "expected a marker at byte 2"),
    ],
)
def test_a_file_without_a_frame_header_is_damaged(data: bytes, message: str) -> None:
    with pytest.raises(JpegError, match=message) as caught:
        read_frame_header(data)
    assert not isinstance(caught.value, TruncatedJpegError)


def test_a_file_that_ends_before_its_frame_header_is_truncated() -> None:
    with pytest.raises(TruncatedJpegError, match="no end of image in 2 bytes"):
        read_frame_header(GREY[:2])


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_decodes_as_it_would_alone(name: str, strict: bool) -> None:
    expected = decoded(WHOLE[name])
    for data in (WHOLE[name], WHOLE[name] + b"what a camera appends", memoryview(WHOLE[name])):
        np.testing.assert_array_equal(decoded(checked(data, strict=strict)), expected)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_off_anywhere_is_truncated(name: str, strict: bool) -> None:
    data = WHOLE[name]
    for size in range(2, len(data), 3):
        with pytest.raises(TruncatedJpegError):
            checked(data[:size], strict=strict)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["grey", "colour"])
def test_one_scan_that_was_cut_off_and_closed_does_not_decode(name: str, share: float) -> None:
    data = WHOLE[name]
    start = data.index(START_OF_SCAN) + 14
    closed = data[: start + int(share * (len(data) - start))] + END_OF_IMAGE
    assert decoded(checked(closed)) is None
    assert decoded(closed) is not None  # why this module is there


@pytest.mark.parametrize("marker", [b"\xff\xc2", b"\xff\xca"], ids=["Huffman", "arithmetic"])
@pytest.mark.parametrize("name", ["progressive", "colour, progressive"])
def test_a_progressive_picture_needs_all_its_scans(name: str, marker: bytes) -> None:
    data = WHOLE[name].replace(b"\xff\xc2", marker)
    checked(data)
    scans = data.count(START_OF_SCAN)
    assert scans > 4
    at = len(data)
    for sent in range(scans - 1, 0, -1):
        at = data.rindex(START_OF_SCAN, 0, at)
        with pytest.raises(TruncatedJpegError, match=f"its {sent} scans do not send all"):
            checked(data[:at] + END_OF_IMAGE)


def test_a_picture_needs_the_scans_of_all_channels() -> None:
    data = WHOLE["scans of channels"]
    for sent in (1, 2):
        kept = START_OF_SCAN.join(data.split(START_OF_SCAN)[: sent + 1])
        assert decoded(kept + END_OF_IMAGE) is not None
        with pytest.raises(TruncatedJpegError, match=f"its {sent} scans do not send all"):
            checked(kept + END_OF_IMAGE)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (GREY[:20] + b"abc" + GREY[20:], "expected a marker at byte 20"),  # behind JFIF
        (GREY[:20] + b"\xff\0\0\0" + GREY[20:], "the segment at byte 22 has no length"),
        (GREY[:20] + b"\xff" * 5000 + GREY[20:], "it has more than 4096 segments"),
        (GREY[:2] + b"\xff\xfe\0\0" + GREY[2:], "the segment at byte 4 has no length"),
    ],
    ids=["stray bytes", "a stuffed zero", "filling", "no length"],
)
def test_what_decoders_skip_is_damage_to_a_strict_reader(data: bytes, message: str) -> None:
    assert damage(data) == message
    np.testing.assert_array_equal(decoded(checked(data, strict=False)), decoded(GREY))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("marker", [b"\xff\x01", b"\xff\xd8", b"\xff\xfe\0\2"])
def test_coded_data_that_are_broken_up_are_damaged(marker: bytes, strict: bool) -> None:
    middle = (GREY.index(START_OF_SCAN) + len(GREY)) // 2
    assert GREY[middle - 1] != 0xFF
    assert "expected a marker at byte" in damage(GREY[:middle] + marker + GREY[middle:], strict=strict)


@pytest.mark.parametrize("name", ["progressive", "colour, progressive"])
def test_a_scan_whose_head_is_damaged_is_not_skipped(name: str) -> None:
    """Behind a table it looks like stray bytes, and a finer scan of the same coefficients may follow."""
    heads = [match.end() - 2 for match in re.finditer(START_OF_SCAN, WHOLE[name])]
    tables = [match.start() for match in re.finditer(b"\xff\xc4", WHOLE[name])]
    behind_tables = [head for before, head in pairwise(heads) if any(before < table < head for table in tables)]
    assert len(behind_tables) > 3
    for head in behind_tables:
        data = WHOLE[name][:head] + b"\0" + WHOLE[name][head + 1 :]
        assert decoded(data) is not None
        assert damage(data, strict=False) == f"expected a marker at byte {head}"


def test_a_file_of_more_than_a_picture_needs_is_refused() -> None:
    assert "more than 4096 segments" in damage(GREY[:2] + b"\xff\xfe\x00\x02" * 5000 + GREY[2:])
    scan = GREY.index(START_OF_SCAN)
    assert "more than 24 scans" in damage(GREY[:scan] + GREY[scan:-2] * 25 + END_OF_IMAGE)


@pytest.mark.parametrize("strict", [True, False])
def test_a_file_without_a_frame_header_or_channels_is_not_taken(strict: bool) -> None:
    frame, scan = GREY.index(START_OF_FRAME), GREY.index(START_OF_SCAN)
    no_channels = START_OF_FRAME + b"\0\x08" + GREY[frame + 4 : frame + 9] + b"\0"
    behind = frame + 2 + int.from_bytes(GREY[frame + 2 : frame + 4], "big")
    for header in (b"", no_channels):
        for coded in (GREY[behind:], GREY[behind:scan] + END_OF_IMAGE):
            assert damage(GREY[:frame] + header + coded, strict=strict) == "it has no frame header"


def test_a_file_without_coded_data_or_with_a_wrong_scan_is_damaged() -> None:
    scan = GREY.index(START_OF_SCAN)
    assert damage(GREY[:scan] + END_OF_IMAGE) == "it has no coded pixels"
    channels = scan + 4
    assert damage(GREY[:channels] + b"\x03" + GREY[channels + 1 :]) == "the head of a scan of 3 channels has 6 bytes"


@given(st.binary(max_size=64), st.integers(0, len(GREY)), st.booleans())
def test_other_bytes_are_refused_or_walked_through(noise: bytes, at: int, strict: bool) -> None:
    for data in (noise, GREY[:at] + noise + GREY[at:]):
        try:
            read_frame_header(data)
            given_on = bytes(checked(data, strict=strict))
        except JpegError:
            continue
        kept = given_on.removesuffix(READ_AHEAD)
        assert given_on == data or (data.startswith(kept + END_OF_IMAGE) and given_on == kept + READ_AHEAD)
