"""JPEG: 8 bits, grey, or colour that may turn out to be grey. ITU-T T.81, annex B."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loddis_server.images.header import Buffer, ImageHeader, damaged, decode_with_opencv, truncated
from loddis_server.problems import TRUE_COLOUR, ProblemError

__all__ = ["check_complete", "decode", "read_header"]

NAME = "JPEG"
START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN = 0xD8, 0xD9, 0xDA
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, of any process
PROGRESSIVE = 0xC2
DECODABLE = frozenset({0xC0, 0xC1, PROGRESSIVE})  # baseline, extended, progressive; Huffman coded
COEFFICIENTS, ALL_BITS = 64, 16  # of a block; of a coefficient, at most
STANDALONE = frozenset({0x01, START_OF_IMAGE, *range(0xD0, 0xD8)})  # markers without a segment
# In coded data 0xFF stands before a stuffed zero or a restart marker; before anything else, it begins a marker.
MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
MAX_SEGMENTS = 4096  # tables, comments, metadata in pieces of 64 KiB: a picture has dozens
MAX_SCANS = 24  # a progressive picture has about ten; each may go over all its pixels
# Ones, stuffed, as far as the decoder reads ahead. No code is all ones: they pass for hardly a pixel.
READ_AHEAD = b"\xff\x00" * 8


class _Segment(NamedTuple):
    marker: int
    start: int  # of its data
    end: int


def read_header(data: Buffer) -> ImageHeader:
    """Find the start of frame.

    Raises:
        ProblemError: It is cut off before, or of a kind that cannot be decoded.
    """
    for marker, start, end in _segments(data):
        if marker in (START_OF_SCAN, END_OF_IMAGE):
            break
        if marker in FRAME_MARKERS:
            if end - start < 6:
                raise damaged(NAME, "its frame header is too short")
            bits, height, width, channels = (
                data[start],
                int.from_bytes(data[start + 1 : start + 3], "big"),
                int.from_bytes(data[start + 3 : start + 5], "big"),
                data[start + 5],
            )
            if channels == 4:
                raise ProblemError(TRUE_COLOUR, "the JPEG is CMYK; send one infrared channel")
            if marker not in DECODABLE or bits != 8 or channels not in (1, 3) or not width or not height:
                raise damaged(
                    NAME,
                    "expected 8 bits in 1 or 3 channels, baseline or progressive, "
                    f"got {bits} bits in {channels}, process {marker - 0xC0}, {width} x {height} pixels",
                )
            return ImageHeader(width, height, channels, "uint8")
    raise damaged(NAME, "it has no frame header")


def check_complete(data: Buffer) -> None:
    """Walk all segments and the coded data between them to the end of the image.

    Raises:
        ProblemError: The file is cut off, has no picture in it, or not all of its scans.
    """
    scans = 0
    is_progressive = False
    missing: dict[int, list[int]] = {}  # low bits of each coefficient that no scan has sent, by component
    for marker, start, end in _segments(data):
        if marker in FRAME_MARKERS:
            is_progressive = marker == PROGRESSIVE
            missing = {component: [ALL_BITS] * COEFFICIENTS for component in data[start + 6 : end : 3]}
        scans += marker == START_OF_SCAN
        if scans > MAX_SCANS:
            raise damaged(NAME, f"it has more than {MAX_SCANS} scans")
        if marker == START_OF_SCAN:
            _note_scan(data[start:end], missing, is_progressive=is_progressive)
    if not scans:
        raise damaged(NAME, "it has no coded pixels")
    if any(any(bits) for bits in missing.values()):
        raise truncated(NAME, f"its {scans} scans do not send all there is of each channel")


def decode(data: Buffer, header: ImageHeader) -> NDArray[np.generic]:
    """Decode a file that `read_header` and `check_complete` accepted; an orientation in EXIF is not looked at.

    What coded data lack, the decoder makes up if it sees the end of the image, and waits for if it does not. So a
    picture of one scan goes without its end: only if it is whole it decodes. One of several scans would never do.
    """
    segments = list(_segments(data))
    scans = sum(marker == START_OF_SCAN for marker, _, _ in segments)
    if scans == 1 and not any(marker == PROGRESSIVE for marker, _, _ in segments):
        data = bytes(data[: segments[-1].start - 2]) + READ_AHEAD
    return decode_with_opencv(data, header, NAME, fault="its coded pixels end too early, or do not decode")


def _note_scan(head: Buffer, missing: dict[int, list[int]], *, is_progressive: bool) -> None:
    """Strike out what a scan sends, by its head."""
    components = head[0] if head else 0
    if len(head) != 2 * components + 4:
        raise damaged(NAME, f"the head of a scan of {components} channels has {len(head)} bytes")
    first, last, low_bit = head[-3:] if is_progressive else (0, COEFFICIENTS - 1, 0)
    for component in head[1:-3:2]:
        bits_left = missing.get(component, [0] * COEFFICIENTS)  # of no channel: the decoder will not have it
        for coefficient in range(first, min(last + 1, COEFFICIENTS)):
            bits_left[coefficient] = low_bit & 0xF


def _segments(data: Buffer) -> Iterator[_Segment]:
    """Give all segments up to and with the end of the image; raise if the data ends before it."""
    position = segments = 0
    while True:
        segments += 1
        if segments > MAX_SEGMENTS:
            raise damaged(NAME, f"it has more than {MAX_SEGMENTS} segments")
        if position + 2 > len(data):
            raise truncated(NAME, f"no end of image in {len(data)} bytes")
        if data[position] != 0xFF:
            raise damaged(NAME, f"expected a marker at byte {position}")
        marker = data[position + 1]
        position += 1 if marker == 0xFF else 2  # any number of 0xFF may stand before a marker
        if marker == 0xFF or marker in STANDALONE:
            continue
        if marker == END_OF_IMAGE:
            yield _Segment(marker, position, position)
            return
        length = int.from_bytes(data[position : position + 2], "big")
        if position + max(length, 2) > len(data):
            raise truncated(NAME, f"a segment runs to byte {position + max(length, 2)}, the file has {len(data)}")
        if length < 2:
            raise damaged(NAME, f"the segment at byte {position} has no length")
        yield _Segment(marker, position + 2, position + length)
        position += length
        if marker == START_OF_SCAN:
            following = MARKER_IN_SCAN.search(data, position)
            if following is None:
                raise truncated(NAME, f"no end of image in {len(data)} bytes")
            position = following.end() - 2
