"""JPEG as a row of segments: what the frame header says, and whether all of the picture is there. ITU-T T.81, annex B.

Decoders paint what is missing of a picture grey, or leave it blurred, and say nothing. So a file is walked to its end
before it is decoded, and a decoder gets it in a form in which missing data are an error, where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from loddis_runtime.errors import JpegError, TruncatedJpegError

__all__ = ["FrameHeader", "checked", "read_frame_header"]

Buffer = bytes | memoryview

START_OF_FRAME, START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN = 0xC0, 0xD8, 0xD9, 0xDA
FRAME_MARKERS = frozenset(range(START_OF_FRAME, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, of any process
SEQUENTIAL = frozenset({0xC0, 0xC1})  # baseline and extended, in Huffman codes
PROGRESSIVE = frozenset({0xC2, 0xCA})  # in Huffman and in arithmetic codes
COEFFICIENTS, ALL_BITS = 64, 16  # of a block; of a coefficient, at most
STANDALONE = frozenset({0x01, START_OF_IMAGE, *range(0xD0, 0xD8)})  # markers without a segment
MARKER = re.compile(rb"\xff[^\x00\xff]")
# In coded data 0xFF stands before a stuffed zero or a restart marker; before anything else, it begins a marker.
MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
MAX_SEGMENTS = 4096  # tables, comments, metadata in pieces of 64 KiB: a picture has dozens
MAX_SCANS = 24  # a progressive picture has about ten; each may go over all its pixels
# Ones, stuffed, as far as the decoder reads ahead. No code is all ones: they pass for the last block or two.
READ_AHEAD = b"\xff\x00" * 8


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What a JPEG says of its picture.

    Attributes:
        process: Number of the coding process: 0 baseline, 1 extended, 2 progressive, 3 lossless; others hardly occur.
        bits: Of one channel.
        height: Pixels.
        width: Pixels.
        channels: As they are stored; 4 are CMYK.
    """

    process: int
    bits: int
    height: int
    width: int
    channels: int


class _Segment(NamedTuple):
    marker: int
    start: int  # of its data
    end: int


def read_frame_header(data: Buffer) -> FrameHeader:
    """Find the start of frame; what stands behind it is not looked at.

    Raises:
        TruncatedJpegError: The file is cut off before it.
        JpegError: There is none, or it is too short.
    """
    for marker, start, end in _segments(data):
        if marker in (START_OF_SCAN, END_OF_IMAGE):
            break
        if marker in FRAME_MARKERS:
            if end - start < 6:
                raise JpegError("its frame header is too short")
            return FrameHeader(
                process=marker - START_OF_FRAME,
                bits=data[start],
                height=int.from_bytes(data[start + 1 : start + 3], "big"),
                width=int.from_bytes(data[start + 3 : start + 5], "big"),
                channels=data[start + 5],
            )
    raise JpegError("it has no frame header")


def checked(data: Buffer, *, strict: bool = True) -> Buffer:
    """Walk all segments and the coded data between them to the end of the image, and give what to hand to a decoder.

    Seen are a file without its end, and one that lacks scans: whole channels, or the finer levels of a progressive
    picture. How much coded data a scan has, only the decoder can tell: what they lack it makes up if it sees the end of
    the image, and waits for if it does not. So a picture of one scan goes without its end: only if it is whole it
    decodes. One of several scans would never do, nor one in arithmetic codes, which leave out zeros at their end.

    One gap is left: a JPEG that was cut off and closed again is taken if it lacks its last block or two, or only a part
    of the last scan of a progressive one.

    Args:
        data: The file. What follows the end of the image does not matter.
        strict: Refuse bytes between the segments before the first scan, and segments without a length, too. Decoders
            skip both. Behind the first scan bytes between the segments are always refused: they may be the rest of
            coded data that were broken up, or those of a scan whose head is damaged.

    Returns:
        The same `data`; of a picture of one sequential scan in Huffman codes, a copy that has what the decoder reads
        ahead in place of the end of the image.

    Raises:
        TruncatedJpegError: The file is cut off, or has not all of its scans.
        JpegError: It is damaged, has no frame header, no channels in that, no coded pixels, or more segments or scans
            than a picture needs.
    """
    process = scans = end_of_image = 0
    missing: dict[int, list[int]] = {}  # low bits of each coefficient that no scan has sent, by component
    for marker, start, end in _segments(data, strict=strict):
        if marker in FRAME_MARKERS:
            process = marker
            missing = {component: [ALL_BITS] * COEFFICIENTS for component in data[start + 6 : end : 3]}
        elif marker == START_OF_SCAN:
            scans += 1
            if scans > MAX_SCANS:
                raise JpegError(f"it has more than {MAX_SCANS} scans")
            _note_scan(data[start:end], missing, is_progressive=process in PROGRESSIVE)
        elif marker == END_OF_IMAGE:
            end_of_image = start - 2
    if not missing:
        raise JpegError("it has no frame header")
    if not scans:
        raise JpegError("it has no coded pixels")
    if any(any(bits) for bits in missing.values()):
        raise TruncatedJpegError(f"its {scans} scans do not send all there is of each channel")
    if scans == 1 and process in SEQUENTIAL:
        return b"".join((memoryview(data)[:end_of_image], READ_AHEAD))
    return data


def _note_scan(head: Buffer, missing: dict[int, list[int]], *, is_progressive: bool) -> None:
    """Strike out what a scan sends, by its head."""
    components = head[0] if head else 0
    if len(head) != 2 * components + 4:
        raise JpegError(f"the head of a scan of {components} channels has {len(head)} bytes")
    first, last, low_bit = head[-3:] if is_progressive else (0, COEFFICIENTS - 1, 0)
    for component in head[1:-3:2]:
        bits_left = missing.get(component, [0] * COEFFICIENTS)  # of no channel: the decoder will not have it
        for coefficient in range(first, min(last + 1, COEFFICIENTS)):
            bits_left[coefficient] = low_bit & 0xF


def _segments(data: Buffer, *, strict: bool = True) -> Iterator[_Segment]:
    """Give all segments up to and with the end of the image; raise if the data ends before it."""
    position = segments = 0
    skips = not strict  # bytes that belong to no segment; behind the first scan they may be coded data
    while True:
        segments += 1
        if segments > MAX_SEGMENTS:
            raise JpegError(f"it has more than {MAX_SEGMENTS} segments")
        if skips:
            following = MARKER.search(data, position)
            position = following.start() if following else len(data)
        if position + 2 > len(data):
            raise TruncatedJpegError(f"no end of image in {len(data)} bytes")
        if data[position] != 0xFF:
            raise JpegError(f"expected a marker at byte {position}")
        marker = data[position + 1]
        position += 1 if marker == 0xFF else 2  # any number of 0xFF may stand before a marker
        if marker == 0xFF or marker in STANDALONE:
            continue
        if marker == END_OF_IMAGE:
            yield _Segment(marker, position, position)
            return
        length = int.from_bytes(data[position : position + 2], "big")
        if position + max(length, 2) > len(data):
            raise TruncatedJpegError(f"a segment runs to byte {position + max(length, 2)}, the file has {len(data)}")
        if length < 2:
            if strict:
                raise JpegError(f"the segment at byte {position} has no length")
            length = 2
        yield _Segment(marker, position + 2, position + length)
        position += length
        if marker == START_OF_SCAN:
            skips = False
            following = MARKER_IN_SCAN.search(data, position)
            if following is None:
                raise TruncatedJpegError(f"no end of image in {len(data)} bytes")
            position = following.end() - 2
