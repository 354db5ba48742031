"""TIFFs whose pixels are packed: whole ones arrive, and no strip is less, or more work, than its pixels."""

from __future__ import annotations

import io
import time
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from loddis_server.decoding import decode_file, format_of
from loddis_server.images.unpacking import lzw_size, packbits_size
from loddis_server.problems import BAD_FRAME, ProblemError
from support.frame_files import spot_frame, tiff_file, tiff_from_strips

LZW, DEFLATE, PACKBITS = 5, 8, 32773
FRAMES = {
    "a spot": spot_frame((40, 30)),
    "one level": np.full((64, 96), 7, dtype=np.uint8),
    "noise": np.random.default_rng(1).integers(0, 256, (64, 96), dtype=np.uint8),
    "noise that fills the table of LZW": np.random.default_rng(2).integers(0, 256, (128, 192), dtype=np.uint8),
}


def decode(file: bytes) -> NDArray[np.generic]:
    return decode_file(file, format_of(file, "image/tiff"), max_pixels=2**20)


def refusal(file: bytes) -> str:
    with pytest.raises(ProblemError) as caught:
        decode(file)
    assert caught.value.kind is BAD_FRAME
    return caught.value.detail


def strips_of(file: bytes) -> list[bytes]:
    with tifffile.TiffFile(io.BytesIO(file)) as parsed:
        page = parsed.pages[0]
        places = zip(page.dataoffsets, page.databytecounts, strict=True)
        return [file[start : start + count] for start, count in places]


def lzw(*codes: int, width: int = 9) -> bytes:
    """Pack codes of one width."""
    bits = "".join(f"{code:0{width}b}" for code in codes)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


class TestLzw:
    @pytest.mark.parametrize("rows", [1, 16, 63])
    @pytest.mark.parametrize("name", FRAMES)
    def test_the_size_is_that_of_the_pixels(self, name: str, rows: int) -> None:
        frame = FRAMES[name]
        file = tiff_file(frame, compression="lzw", rowsperstrip=rows)
        height, width = frame.shape
        sizes = [lzw_size(strip, rows * width) for strip in strips_of(file)]
        assert sizes == [width * min(rows, height - start) for start in range(0, height, rows)]
        np.testing.assert_array_equal(decode(file), frame)

    @settings(max_examples=50)
    @given(st.integers(8, 200), st.integers(8, 200), st.integers(1, 256), st.integers(0, 99))
    def test_the_size_is_right_for_any_frame(self, height: int, width: int, levels: int, seed: int) -> None:
        frame = np.random.default_rng(seed).integers(0, levels, (height, width), dtype=np.uint8)
        (strip,) = strips_of(tiff_file(frame, compression="lzw"))
        assert lzw_size(strip, frame.size) == frame.size
        assert lzw_size(strip, frame.size - 1) is None

    @pytest.mark.parametrize(
        ("codes", "size"),
        [
            ((256, 257), 0),
            ((256, 7, 7, 257), 2),
            ((256, 7, 258, 259, 257), 6),  # each the string that it makes itself
            ((256, 7, 258, 256, 7, 257), 4),
            ((256, 7, 7), 2),  # no end: encoders may leave it out
            ((256, 7, 259), None),  # not in the table yet
            ((256, 258), None),
            ((7, 7, 257), None),  # no clear
            ((256, 7, 256, 7, 256, 7, 257), None),  # clear, and clear, and clear
        ],
    )
    def test_codes_are_counted(self, codes: tuple[int, ...], size: int | None) -> None:
        assert lzw_size(lzw(*codes), 100) == size

    @pytest.mark.parametrize("packed", [b"", b"\x80", bytes(100), b"\xff" * 100])
    def test_what_is_no_lzw_has_no_size(self, packed: bytes) -> None:
        assert lzw_size(packed, 100) is None

    @pytest.mark.parametrize("filling", [b"\0", b"\xff", b"\x80"])
    def test_damaged_pixels_are_no_empty_sky(self, filling: bytes) -> None:
        file = tiff_file(FRAMES["a spot"], compression="lzw", rowsperstrip=16)
        for strip in strips_of(file):
            middle = len(strip) // 3
            damaged = strip[:middle] + filling * (len(strip) - 2 * middle) + strip[-middle:]
            assert "does not unpack" in refusal(file.replace(strip, damaged))

    @pytest.mark.timeout(10)
    def test_clears_without_end_are_soon_refused(self) -> None:
        started = time.process_time()
        strip = lzw(*[256] * 8) * 20_000
        assert "does not unpack" in refusal(tiff_from_strips((512, 512), [strip], compression=LZW, rows=512))
        assert time.process_time() - started < 1


RUN = st.one_of(
    st.just(b"\x80"),
    st.integers(1, 127).map(lambda repeats: bytes([256 - repeats, 7])),
    st.integers(0, 127).map(lambda more: bytes([more]) + bytes(more + 1)),
)


class TestPackBits:
    @settings(max_examples=100)
    @given(st.lists(RUN), st.lists(RUN, min_size=1), st.integers(0, 400))
    def test_the_size_is_that_of_the_runs(self, runs: list[bytes], short: list[bytes], repeats: int) -> None:
        packed = b"".join([*runs, *short * repeats])
        size = sum(_unpacked(run) for run in runs) + repeats * sum(_unpacked(run) for run in short)
        assert packbits_size(packed, size) == size
        assert size == 0 or packbits_size(packed, size - 1) is None

    @pytest.mark.parametrize("run", [b"\xff\0", b"\x01ab"])
    @pytest.mark.parametrize("times", [1, 50_000])
    def test_a_run_that_is_cut_off_has_no_size(self, run: bytes, times: int) -> None:
        assert packbits_size(run * times, 10**6) == 2 * times
        assert packbits_size((run * times)[:-1], 10**6) is None

    @pytest.mark.timeout(20)
    def test_runs_of_nothing_are_not_walked_one_by_one(self) -> None:
        packed = b"\x80" * 2**22
        started = time.thread_time()
        assert packbits_size(packed, 1) == 0
        assert time.thread_time() - started < 60e-9 * len(packed)  # half of what it takes one by one


def _unpacked(run: bytes) -> int:
    """Give the bytes of a whole run."""
    return 0 if run == b"\x80" else run[0] + 1 if run[0] < 128 else 257 - run[0]


class TestStripsThatAreNotTheirPixels:
    @pytest.mark.parametrize("compression", [1, LZW, DEFLATE, PACKBITS])
    def test_only_the_last_may_be_short(self, compression: int) -> None:
        row = {1: bytes(32), LZW: lzw(256, *[0] * 32, 257), DEFLATE: zlib.compress(bytes(32)), PACKBITS: b"\xe1\0"}
        rows = {
            1: bytes(320),
            LZW: strips_of(tiff_file(np.zeros((10, 32), np.uint8), compression="lzw"))[0],
            DEFLATE: zlib.compress(bytes(320)),
            PACKBITS: b"\xe1\0" * 10,
        }
        one, ten = row[compression], rows[compression]
        whole = tiff_from_strips((21, 32), [ten, ten, one], compression=compression, rows=10)
        assert decode(whole).shape == (21, 32)
        holed = [ten, one, ten + ten] if compression == 1 else [ten, one, ten]
        assert "does not unpack" in refusal(tiff_from_strips((21, 32), holed, compression=compression, rows=10))

    @pytest.mark.parametrize("compression", [1, LZW, DEFLATE, PACKBITS])
    def test_strips_that_share_their_bytes_are_refused(self, compression: int) -> None:
        (strip,) = strips_of(tiff_file(np.zeros((8, 8), np.uint8), compression="lzw"))
        packed = {1: bytes(64), LZW: strip, DEFLATE: zlib.compress(bytes(64)), PACKBITS: b"\x3f" + bytes(64)}[
            compression
        ]
        file = tiff_from_strips((8000, 8), [packed] * 1000, compression=compression, rows=8, shared=True)
        assert "overlap" in refusal(file)

    @pytest.mark.parametrize(
        ("compression", "filling", "end"),
        [
            (PACKBITS, b"\x80", b"\xc1\0"),
            (DEFLATE, b"\0\0\0\xff\xff", b"\x01\x40\0\xbf\xff" + bytes(64) + (64 << 16 | 1).to_bytes(4, "big")),
        ],
        ids=["PackBits", "Deflate"],
    )
    def test_filling_is_refused_and_some_is_not(self, compression: int, filling: bytes, end: bytes) -> None:
        start = b"\x78\x01" if compression == DEFLATE else b""

        def file(times: int) -> bytes:
            return tiff_from_strips((8, 8), [start + filling * times + end], compression=compression, rows=8)

        assert not decode(file(100)).any()
        assert "is too much for the 64" in refusal(file(2000))

    def test_a_hundred_thousand_strips_are_refused(self) -> None:
        file = tiff_from_strips((100_000, 8), [bytes(8)] * 100_000, compression=1, rows=1)
        assert "100000 strips or tiles, more than the 32768" in refusal(file)
