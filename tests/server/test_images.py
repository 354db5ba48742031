"""Every file format: exact pixels from whole files; an error that names the cause from all others."""

from __future__ import annotations

import contextlib
import io
import resource
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from loddis_server.decoding import decode_file, format_of
from loddis_server.problems import BAD_FRAME, FRAME_TOO_LARGE, ProblemError
from support.frame_files import (
    jpeg_file,
    npy_file,
    pgm_file,
    png_chunk,
    png_file,
    png_from_rows,
    spot_frame,
    tiff_file,
)

MAX_PIXELS = 2**20
NOISE = np.random.default_rng(7)
NOISE8 = NOISE.integers(0, 256, (17, 23), dtype=np.uint8)
NOISE16 = NOISE.integers(0, 65536, (17, 23), dtype=np.uint16)
NOISE32 = NOISE.random((17, 23), dtype=np.float32)


def decode(data: bytes, declared: str | None = None) -> NDArray[Any]:
    return decode_file(data, format_of(data, declared), max_pixels=MAX_PIXELS)


def refusal(data: bytes, declared: str | None = None) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        decode(data, declared)
    return caught.value


LOSSLESS: dict[str, tuple[Callable[..., bytes], dict[str, Any], NDArray[Any]]] = {
    "png 8": (png_file, {}, NOISE8),
    "png 16": (png_file, {}, NOISE16),
    "pgm 8": (pgm_file, {}, NOISE8),
    "pgm 16": (pgm_file, {"comment": "a camera"}, NOISE16),
    "npy 8": (npy_file, {}, NOISE8),
    "npy 16": (npy_file, {}, NOISE16),
    "npy 16, big-endian": (npy_file, {}, NOISE16.astype(">u2")),
    "npy 32": (npy_file, {}, NOISE32),
    "npy 16, columns first": (npy_file, {}, np.asfortranarray(NOISE16)),
    "npy 8, one channel": (npy_file, {}, NOISE8[..., None]),
    "tiff 8": (tiff_file, {}, NOISE8),
    "tiff 16": (tiff_file, {}, NOISE16),
    "tiff 32": (tiff_file, {}, NOISE32),
    "tiff 16, big-endian": (tiff_file, {"byteorder": ">"}, NOISE16),
    "tiff 16, BigTIFF": (tiff_file, {"bigtiff": True}, NOISE16),
    "tiff 16, tiles": (tiff_file, {"tile": (16, 16)}, NOISE16),
    "tiff 32, Deflate, strips": (tiff_file, {"compression": "zlib", "rowsperstrip": 4}, NOISE32),
    "tiff 16, LZW": (tiff_file, {"compression": "lzw"}, NOISE16),
    "tiff 8, PackBits, strips": (tiff_file, {"compression": "packbits", "rowsperstrip": 5}, NOISE8),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_pixels_arrive_as_they_were_sent(name: str) -> None:
    encode, options, frame = LOSSLESS[name]
    decoded = decode(encode(frame, **options))
    assert decoded.dtype == frame.dtype.newbyteorder("=")
    np.testing.assert_array_equal(decoded, frame.reshape(17, 23))


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_comes_within_its_rounding(progressive: bool) -> None:
    frame = spot_frame((40, 30))
    decoded = decode(jpeg_file(frame, progressive=progressive))
    assert np.abs(decoded.astype(int) - frame).max() <= 3


def test_grey_in_three_channels_is_one(subtests: pytest.Subtests) -> None:
    grey = np.repeat(NOISE8[..., None], 3, axis=2)
    smooth = np.repeat(spot_frame((40, 30))[..., None], 3, axis=2)
    for name, data, expected in (
        ("png", png_file(grey), NOISE8),
        ("png with alpha", png_file(np.dstack([grey, np.full((17, 23), 9, np.uint8)])), NOISE8),
        ("tiff", tiff_file(grey, photometric="rgb"), NOISE8),
        ("npy", npy_file(grey), NOISE8),
        ("jpeg", jpeg_file(smooth), None),
    ):
        with subtests.test(name):
            decoded = decode(data)
            assert decoded.ndim == 2
            if expected is not None:
                np.testing.assert_array_equal(decoded, expected)


def test_palettes_are_judged_by_their_colours() -> None:
    rows = b"".join(b"\0" + bytes([row % 2] * 16) for row in range(16))
    grey = png_from_rows(16, 16, rows, colour=3, extra=png_chunk(b"PLTE", bytes([10, 10, 10, 200, 200, 200])))
    coloured = png_from_rows(16, 16, rows, colour=3, extra=png_chunk(b"PLTE", bytes([10, 10, 10, 200, 0, 0])))
    assert decode(grey)[:2, 0].tolist() == [10, 200]
    assert refusal(coloured).kind.slug == "true-colour"


def test_a_grey_palette_in_tiff_is_grey() -> None:
    colormap = np.repeat((np.arange(256, dtype=np.uint16) * 257)[None], 3, axis=0)
    np.testing.assert_array_equal(decode(tiff_file(NOISE8, photometric="palette", colormap=colormap)), NOISE8)


WHOLE: dict[str, bytes] = {
    "png 8": png_file(NOISE8),
    "png 16": png_file(NOISE16),
    "jpeg": jpeg_file(NOISE8),
    "progressive jpeg": jpeg_file(NOISE8, progressive=True),
    "tiff, header first": tiff_file(NOISE16),
    "tiff, header last": tiff_file(NOISE16, compression="lzw"),
    "tiff, Deflate": tiff_file(NOISE32, compression="zlib"),
    "BigTIFF": tiff_file(NOISE16, bigtiff=True),
    "pgm": pgm_file(NOISE16, comment="a camera"),
    "npy": npy_file(NOISE32),
}
DECLARED = {"png": "image/png", "jpeg": "image/jpeg", "tiff": "image/tiff", "pgm": "image/x-portable-graymap"}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_off_anywhere_is_truncated(name: str) -> None:
    data = WHOLE[name]
    declared = next((media for word, media in DECLARED.items() if word in name.lower()), "application/x-npy")
    decode(data, declared)
    cuts = {*range(1, min(len(data), 64)), *range(64, len(data), 29), len(data) - 1}
    wrong = {}
    for cut in sorted(cuts):
        error = refusal(data[:cut], declared)
        if error.kind.slug != "truncated-image":
            wrong[cut] = str(error)
    assert not wrong


@pytest.mark.parametrize("name", WHOLE)
def test_any_mutation_gives_a_frame_or_a_problem(name: str) -> None:
    data = WHOLE[name]

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), min_size=1, max_size=4))
    def mutate(changes: list[tuple[int, int]]) -> None:
        mutated = bytearray(data)
        for position, value in changes:
            mutated[position] = value
        try:
            frame = decode(bytes(mutated))
        except ProblemError:
            return
        assert frame.ndim == 2
        assert frame.size <= MAX_PIXELS

    mutate()


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"P5\n", b"\x93NUMPY\x01\0"]),
    st.binary(max_size=300),
)
def test_noise_behind_a_magic_number_is_a_problem(magic: bytes, noise: bytes) -> None:
    with pytest.raises(ProblemError):
        decode(magic + noise)


@pytest.mark.parametrize("position", range(8, len(WHOLE["png 8"]) - 4, 41))
def test_a_png_with_a_flipped_bit_is_refused(position: int) -> None:
    data = bytearray(WHOLE["png 8"])
    data[position] ^= 0x10
    assert refusal(bytes(data)).kind.slug in ("bad-frame", "truncated-image", "frame-too-large")


def test_a_png_with_too_little_content_is_refused() -> None:
    assert refusal(png_from_rows(32, 32, b"\0" * 200)).kind.slug == "bad-frame"


HUGE: dict[str, bytes] = {
    "png": png_from_rows(20_000, 20_000, b"\0" * 1000),
    "pgm": b"P5 20000 20000 255\n" + bytes(100),
    "npy": npy_file(np.zeros((9, 9), np.uint8)).replace(b"(9, 9), }        ", b"(20000, 20000), }"),
    "tiff": tiff_file(np.zeros((9, 9), np.uint8)),
    "jpeg": jpeg_file(np.zeros((9, 9), np.uint8)),
}
HUGE["jpeg"] = HUGE["jpeg"].replace(struct.pack(">BHH", 8, 9, 9), struct.pack(">BHH", 8, 20_000, 20_000))
for tag in (256, 257):  # width and height, as tifffile writes them: one LONG
    HUGE["tiff"] = HUGE["tiff"].replace(
        struct.pack("<HHI", tag, 4, 1) + b"\x09\0\0\0", struct.pack("<HHII", tag, 4, 1, 20_000)
    )


@pytest.mark.parametrize("name", HUGE)
def test_size_is_read_from_the_header(name: str) -> None:
    error = refusal(HUGE[name])
    assert error.kind.slug == "frame-too-large"
    assert "20000 x 20000 are 400000000 pixels, this server takes up to 1048576" in error.detail


@pytest.mark.parametrize("size_hw", [(1, 1), (7, 100), (100, 7)])
def test_frames_without_room_for_a_target_are_refused(size_hw: tuple[int, int]) -> None:
    error = refusal(png_file(np.zeros(size_hw, np.uint8)))
    assert error.kind.slug == "bad-frame"
    assert f"at least 8 pixels on each side, got {size_hw[1]} x {size_hw[0]}" in error.detail


def _jpeg_with(old: bytes, new: bytes) -> bytes:
    data = jpeg_file(NOISE8)
    assert old in data
    return data.replace(old, new, 1)


SOF0 = b"\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 17, 23)
REFUSED: dict[str, tuple[bytes, str, str]] = {
    "colour png": (png_file(np.dstack([NOISE8, NOISE8.T.reshape(17, 23), NOISE8])), "true-colour", "channels differ"),
    "colour jpeg": (
        jpeg_file(np.dstack([spot_frame((10, 10)), spot_frame((80, 50)), spot_frame((40, 30))])),
        "true-colour",
        "channels differ",
    ),
    "colour npy": (npy_file(NOISE.random((16, 16, 3), dtype=np.float32)), "true-colour", "channels differ"),
    "CMYK jpeg": (_jpeg_with(SOF0 + b"\x01", SOF0 + b"\x04"), "true-colour", "CMYK"),
    "CMYK tiff": (tiff_file(np.dstack([NOISE8] * 4), photometric="separated"), "true-colour", "CMYK"),
    "12-bit jpeg": (_jpeg_with(SOF0, SOF0.replace(b"\x0b\x08", b"\x0b\x0c")), "bad-frame", "12 bits"),
    "lossless jpeg": (_jpeg_with(SOF0, SOF0.replace(b"\xff\xc0", b"\xff\xc3")), "bad-frame", "process 3"),
    "jpeg without a frame": (b"\xff\xd8\xff\xd9", "bad-frame", "no frame header"),
    "jpeg without pixels": (jpeg_file(NOISE8).partition(b"\xff\xda")[0] + b"\xff\xd9", "bad-frame", "no coded pixels"),
    "jpeg with a segment of no length": (
        b"\xff\xd8\xff\xfe\x00\x00abc",
        "bad-frame",
        "segment at byte 4 has no length",
    ),
    "jpeg with a short frame header": (b"\xff\xd8\xff\xc0\x00\x04abc", "bad-frame", "frame header is too short"),
    "jpeg without a marker": (b"\xff\xd8\xff\xfe\x00\x02abc", "bad-frame", "expected a marker at byte 6"),
    "animated png": (
        png_from_rows(16, 16, bytes(16 * 17), extra=png_chunk(b"acTL", bytes(8))),
        "bad-frame",
        "animation",
    ),
    "png of an unknown kind": (png_from_rows(16, 16, bytes(16 * 17), bits=3), "bad-frame", "colour type 0 of 3 bits"),
    "png without header": (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IDAT", bytes(40)) + png_chunk(b"IEND", b""),
        "bad-frame",
        "does not begin with its header",
    ),
    "several pages": (tiff_file(np.stack([NOISE16] * 3), photometric="minisblack"), "bad-frame", "several pages"),
    "white is zero": (tiff_file(NOISE8, photometric="miniswhite"), "bad-frame", "black-is-zero"),
    "grey and alpha": (
        tiff_file(
            np.dstack([NOISE8] * 2), photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig"
        ),
        "bad-frame",
        "got 2 of photometric kind 1",
    ),
    "signed tiff": (tiff_file(NOISE16.astype(np.int16)), "bad-frame", "16-bit signed integers"),
    "double tiff": (tiff_file(NOISE32.astype(np.float64)), "bad-frame", "64-bit floats"),
    "turned tiff": (tiff_file(NOISE8, extratags=[(274, "H", 1, 6, True)]), "bad-frame", "orientation is 6"),
    "NaN in tiff": (tiff_file(np.full((16, 16), np.nan, np.float32)), "bad-frame", "256 values that are NaN"),
    "NaN in npy": (npy_file(np.where(NOISE32 > 0.5, np.nan, NOISE32)), "bad-frame", "NaN"),
    "infinity in npy": (npy_file(np.full((9, 9), np.inf, np.float32)), "bad-frame", "NaN or infinite"),
    "NaN in colour": (npy_file(np.full((9, 9, 3), np.nan, np.float32)), "bad-frame", "NaN"),
    "integers in npy": (npy_file(NOISE8.astype(np.int32)), "bad-frame", "'<i4'"),
    "booleans in npy": (npy_file(NOISE8 > 9), "bad-frame", "'|b1'"),
    "objects in npy": (npy_file(np.array([[{}] * 9] * 9)), "bad-frame", "'|O'"),
    "records in npy": (npy_file(np.zeros((9, 9), dtype=[("a", "u1")])), "bad-frame", "plain array"),
    "video in npy": (npy_file(np.zeros((9, 9, 9), np.uint8)), "bad-frame", "got shape (9, 9, 9)"),
    "vector in npy": (npy_file(np.zeros(99, np.uint8)), "bad-frame", "got shape (99,)"),
    "empty npy": (npy_file(np.zeros((0, 9), np.uint8)), "bad-frame", "got shape (0, 9)"),
    "npy that goes on": (npy_file(NOISE8) + b"more", "bad-frame", "goes on for 4 bytes"),
    "npy of the future": (b"\x93NUMPY\x09\x00" + bytes(100), "bad-frame", "version 9"),
    "npy with a huge header": (b"\x93NUMPY\x01\x00\xff\xff" + b" " * 70_000, "bad-frame", "header has 65535 bytes"),
    "two pgm": (pgm_file(NOISE8) * 2, "bad-frame", "send one frame a request"),
    "pgm of 24 bits": (b"P5 16 16 70000\n" + bytes(1000), "bad-frame", "levels up to 70000"),
    "pgm without numbers": (b"P5 wide high 255\n" + bytes(100), "bad-frame", "in its header"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_refusal_names_the_cause(name: str) -> None:
    data, slug, cause = REFUSED[name]
    error = refusal(data)
    assert error.kind.slug == slug
    assert cause in error.detail


def _tiff_with(tag: int, value: int, kind: int = 3) -> bytes:
    """Give a TIFF with another value in a tag that tifffile wrote as one number."""
    data = bytearray(tiff_file(NOISE16))
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    for entry in range(start + 2, start + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", data, entry)[0] == tag:
            struct.pack_into("<HII", data, entry + 2, kind, 1, value)
            return bytes(data)
    raise AssertionError(f"no tag {tag}")


TIFF_FAULTS: dict[str, tuple[int, int, str, str]] = {
    "compression": (259, 50_000, "bad-frame", "one of none, LZW, Deflate, PackBits, got number 50000"),
    "old JPEG inside": (259, 6, "bad-frame", "got number 6"),
    "width": (256, 0, "bad-frame", "0 x 17 pixels"),
    "bits": (258, 1, "bad-frame", "1-bit unsigned integers"),
    "strip beyond the end": (273, 10**9, "truncated-image", "its pixels run to byte 1000000000"),
    "two huge numbers": (273, 2**32 - 1, "truncated-image", "its pixels run to byte 4294967295"),
    "strip too short": (279, 100, "truncated-image", "its pixels need 782 bytes, it holds 100"),
    "empty strip": (279, 0, "bad-frame", "strip or tile is empty"),
    "more strips": (278, 1, "bad-frame", "expected 17 strips or tiles, got 1 with 1 lengths"),
}


@pytest.mark.parametrize("name", TIFF_FAULTS)
def test_a_tiff_is_held_against_its_directory(name: str) -> None:
    tag, value, slug, cause = TIFF_FAULTS[name]
    error = refusal(_tiff_with(tag, value, kind=4))
    assert error.kind.slug == slug
    assert cause in error.detail


def test_tiles_beyond_all_measure_are_not_allocated() -> None:
    data = bytearray(tiff_file(NOISE16, tile=(16, 16)))
    for tag in (322, 323):
        entry = data.index(struct.pack("<H", tag) + b"\x04\x00\x01\x00\x00\x00\x10")
        struct.pack_into("<HII", data, entry + 2, 4, 1, 2**20)
    assert f"its strips or tiles have {2**40} pixels" in refusal(bytes(data)).detail


def test_fill_bytes_before_a_marker_are_skipped() -> None:
    data = jpeg_file(NOISE8)
    np.testing.assert_array_equal(decode(data.replace(b"\xff\xda", b"\xff\xff\xff\xda")), decode(data))


def test_a_png_of_a_million_chunks_is_refused() -> None:
    data = png_from_rows(16, 16, bytes(16 * 17), extra=png_chunk(b"tEXt", b"") * 70_000)
    assert "more than 65536 chunks" in refusal(data).detail


def test_a_jpeg_with_thousands_of_scans_is_refused() -> None:
    data = jpeg_file(NOISE8)
    scan = data.index(b"\xff\xda")
    error = refusal(data[:scan] + data[scan:-2] * 300 + b"\xff\xd9")
    assert "more than 24 scans" in error.detail


MISLABELLED = [
    ("image/png", jpeg_file(NOISE8), "says image/png, the body is JPEG"),
    ("image/jpeg", png_file(NOISE8), "says image/jpeg, the body is PNG"),
    ("image/tiff", b"GIF89a" + bytes(20), "says image/tiff, the body is GIF"),
    ("application/x-npy", b"PK\x03\x04" + bytes(20), "the body is a ZIP archive, or .npz"),
    ("image/x-portable-graymap", b"P2\n1 1\n255\n7\n", "the body is a PGM of text"),
    ("image/png", b"hello, world", "begins with 68 65 6c 6c 6f 2c 20 77"),
    (None, b'{"frame": 1}', "the body is JSON; expected PNG, JPEG, TIFF, PGM, .npy, or raw pixels with X-Frame-Width"),
]


@pytest.mark.parametrize(("declared", "data", "cause"), MISLABELLED)
def test_the_content_counts_and_the_label_must_agree(declared: str | None, data: bytes, cause: str) -> None:
    error = refusal(data, declared)
    assert error.kind.slug == "unsupported-media"
    assert cause in error.detail


class TestFilesThatWouldKeepTheServerBusy:
    """Small bodies that once took a decoder, or a pattern, minutes or gigabytes."""

    @pytest.mark.timeout(10)
    def test_blanks_between_the_fields_of_an_npy(self) -> None:
        text = ("{" + f"'descr':'<u1'{' ' * 1200}" * 3 + "X").encode()
        error = refusal(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
        assert "not that of a plain array" in error.detail

    @pytest.mark.timeout(10)
    def test_numbers_of_an_npy_are_not_cut_in_two(self) -> None:
        text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000100,), }"
        assert "shape" in refusal(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text).detail

    @pytest.mark.timeout(10)
    def test_a_run_of_fill_bytes_in_a_jpeg(self) -> None:
        whole = jpeg_file(NOISE8)
        start = whole.index(b"\xff\xda")
        with contextlib.suppress(ProblemError):  # damaged or not: it must end
            decode(whole[: start + 14] + b"\xff" * 2_000_000 + b"\x00\xff\xd9")

    @pytest.mark.timeout(10)
    def test_comments_without_end_in_a_jpeg(self) -> None:
        whole = jpeg_file(NOISE8)
        assert "segments" in refusal(whole[:2] + b"\xff\xfe\x00\x02" * 100_000 + whole[2:]).detail

    @pytest.mark.timeout(20)
    def test_texts_of_a_png_are_not_unpacked(self) -> None:
        text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(8_000_000), 9))
        whole = png_file(NOISE8)
        cut = 8 + 25  # signature and IHDR
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        np.testing.assert_array_equal(decode(whole[:cut] + text * 100 + whole[cut:]), NOISE8)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB; it was 800 MB

    @pytest.mark.parametrize("in_one_chunk", [True, False])
    def test_rows_of_a_png_are_held_once(self, in_one_chunk: bool) -> None:
        frame = np.random.default_rng(3).integers(0, 65536, (1024, 1024)).astype(np.uint16)
        rows = b"".join(b"\0" + row.tobytes() for row in frame.astype(">u2"))
        data = png_from_rows(1024, 1024, rows, bits=16) if in_one_chunk else png_file(frame)
        tracemalloc.start()
        try:
            decoded = decode(data)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        np.testing.assert_array_equal(decoded, frame)
        assert peak < 2.5 * frame.nbytes  # its pixels among them

    @pytest.mark.parametrize("chunk", [b"acTL", b"fcTL", b"fdAT"])
    def test_animations_are_refused_by_any_of_their_chunks(self, chunk: bytes) -> None:
        whole = png_file(NOISE8)
        assert "animation" in refusal(whole[:33] + png_chunk(chunk, bytes(26)) + whole[33:]).detail

    def test_a_colour_picture_counts_all_its_channels(self) -> None:
        frame = np.zeros((600, 700, 3), dtype=np.uint8)  # 420,000 pixels, 1.26 million values
        error = refusal(png_file(frame))
        assert error.kind is FRAME_TOO_LARGE
        assert "3 channels" in error.detail


def with_second_tag(file: bytes, tag: int, value: int, *, kind: int = 4) -> bytes:
    """Put another entry of a tag before that of a little-endian TIFF, in a directory at the end of the file."""
    (start,) = struct.unpack_from("<I", file, 4)
    (count,) = struct.unpack_from("<H", file, start)
    entries = file[start + 2 : start + 2 + 12 * count]
    directory = struct.pack("<H", count + 1) + struct.pack("<HHII", tag, kind, 1, value) + entries + bytes(4)
    return file[:4] + struct.pack("<I", len(file)) + file[8:] + directory


class TestTiffsThatAreNotWhatTheySay:
    """The decoder leaves black what does not unpack, and reads the first of two tags."""

    @pytest.mark.parametrize("kind", [4, 9])
    def test_a_tag_twice_is_refused(self, kind: int) -> None:
        error = refusal(with_second_tag(tiff_file(NOISE16), 256, 30_000, kind=kind))
        assert error.kind is BAD_FRAME

    def test_a_size_in_signed_numbers_is_refused(self) -> None:
        file = bytearray(tiff_file(NOISE16))
        (start,) = struct.unpack_from("<I", file, 4)
        (count,) = struct.unpack_from("<H", file, start)
        width = next(
            start + 2 + 12 * i for i in range(count) if file[start + 2 + 12 * i : start + 4 + 12 * i] == b"\0\1"
        )
        struct.pack_into("<H", file, width + 2, 9)  # SLONG
        assert "no unsigned integer" in refusal(bytes(file)).detail

    @pytest.mark.parametrize("compression", ["zlib", "packbits"])
    def test_pixels_that_do_not_unpack_are_no_empty_sky(self, compression: str) -> None:
        frame = spot_frame((40, 30))
        whole = tiff_file(frame, compression=compression, rowsperstrip=16)
        np.testing.assert_array_equal(decode(whole), frame)
        with tifffile.TiffFile(io.BytesIO(whole)) as parsed:
            starts, counts = parsed.pages[0].dataoffsets, parsed.pages[0].databytecounts
        for start, count in zip(starts, counts, strict=True):
            emptied = whole[:start] + bytes(count) + whole[start + count :]
            assert refusal(emptied).kind is BAD_FRAME

    def test_every_damaged_byte_of_deflate_is_noticed(self) -> None:
        whole = tiff_file(spot_frame((40, 30)), compression="zlib", rowsperstrip=16)
        with tifffile.TiffFile(io.BytesIO(whole)) as parsed:
            (start, *_), (count, *_) = parsed.pages[0].dataoffsets, parsed.pages[0].databytecounts
        for position in range(start, start + count):
            damaged = bytearray(whole)
            damaged[position] ^= 0x5A
            assert refusal(bytes(damaged)).kind is BAD_FRAME

    def test_tiles_far_larger_than_the_picture_are_refused(self) -> None:
        file = tiff_file(NOISE16, tile=(4096, 4096), compression="zlib")
        assert "needs at most" in refusal(file).detail
