"""PNG and JPEG whose structure is whole and whose coded pixels are not: too few, too many, too often."""

from __future__ import annotations

import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from loddis_server.decoding import decode_file, format_of
from loddis_server.problems import ProblemError
from support.frame_files import jpeg_file, png_chunk, png_file, png_from_rows, spot_frame

END_OF_IMAGE = b"\xff\xd9"
START_OF_SCAN = b"\xff\xda"
SMOOTH = spot_frame((40, 30), (70, 40), size_hw=(128, 192), sigma_px=4)
NOISE = np.random.default_rng(3).integers(0, 256, (100, 117), dtype=np.uint8)
# Of Adam7: first column and row of each pass, and the steps to the next.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def decode(data: bytes) -> NDArray[np.generic]:
    return decode_file(data, format_of(data, None), max_pixels=2**24)


def refusal(data: bytes) -> str:
    with pytest.raises(ProblemError) as caught:
        decode(data)
    assert caught.value.kind.status == 422
    return caught.value.detail


class TestPng:
    @settings(max_examples=50)
    @given(st.integers(8, 40), st.integers(8, 40), st.sampled_from([np.uint8, np.uint16]))
    def test_interlaced_pixels_arrive_as_they_were_sent(self, height: int, width: int, dtype: type[np.uint16]) -> None:
        frame = np.random.default_rng(height * width).integers(0, np.iinfo(dtype).max, (height, width), dtype=dtype)
        big_endian = frame.astype(frame.dtype.newbyteorder(">"))
        passes = (big_endian[row::step_y, column::step_x] for column, row, step_x, step_y in PASSES)
        rows = b"".join(b"\0" + line.tobytes() for lines in passes for line in lines)
        bits = 8 * frame.itemsize
        np.testing.assert_array_equal(decode(png_from_rows(width, height, rows, bits=bits, interlaced=True)), frame)
        assert "unpacks to" in refusal(png_from_rows(width, height, rows + b"\0", bits=bits, interlaced=True))
        assert "unpacks to" in refusal(png_from_rows(width, height, rows[:-1], bits=bits, interlaced=True))

    @pytest.mark.parametrize("bits", [1, 2, 4])
    def test_pixels_of_a_few_bits_fill_their_bytes(self, bits: int) -> None:
        rows = (b"\0" + b"\xff" * -(-9 * bits // 8)) * 8
        assert (decode(png_from_rows(9, 8, rows, bits=bits)) == 255).all()
        assert "unpacks to more" in refusal(png_from_rows(9, 8, rows + b"\0", bits=bits))

    def test_content_in_many_chunks_is_one(self) -> None:
        whole = png_file(NOISE)
        start = whole.index(b"IDAT") - 4
        packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in NOISE))
        chunks = b"".join(png_chunk(b"IDAT", packed[at : at + 100]) for at in range(0, len(packed), 100))
        np.testing.assert_array_equal(decode(whole[:start] + chunks + png_chunk(b"IEND", b"")), NOISE)

    @pytest.mark.timeout(10)
    @pytest.mark.parametrize("interlaced", [False, True])
    def test_a_surplus_of_gigabytes_is_not_unpacked(self, interlaced: bool) -> None:
        packer = zlib.compressobj(9)
        part = packer.compress(bytes(4_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
        again = packer.compress(bytes(4_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
        header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 320, 256, 8, 0, 0, 0, int(interlaced)))
        content = png_chunk(b"IDAT", part + again * 500) + png_chunk(b"IEND", b"")  # 2 GB
        started = time.process_time()
        assert "bytes, it unpacks to more" in refusal(b"\x89PNG\r\n\x1a\n" + header + content)
        assert time.process_time() - started < 1


class TestJpeg:
    @pytest.mark.parametrize("restart_interval", [0, 1, 5])
    @pytest.mark.parametrize("quality", [30, 95])
    @pytest.mark.parametrize("name", ["smooth", "noise", "grey in colour"])
    def test_a_part_of_the_coded_data_is_no_picture(self, name: str, quality: int, restart_interval: int) -> None:
        frame = {"smooth": SMOOTH, "noise": NOISE, "grey in colour": np.dstack([SMOOTH] * 3)}[name]
        options = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, restart_interval)
        whole = cv2.imencode(".jpg", frame, options)[1].tobytes()
        pixels = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert np.abs(decode(whole).astype(int) - pixels).max() <= 1  # as it comes with its end
        scan = whole.index(START_OF_SCAN)
        length = struct.unpack_from(">H", whole, scan + 2)[0]
        start = scan + 2 + length
        for share in np.linspace(0, 0.95, 20):
            cut = start + int(share * (len(whole) - start))
            assert "end too early" in refusal(whole[:cut] + END_OF_IMAGE)

    def test_what_follows_the_end_does_not_matter(self) -> None:
        whole = jpeg_file(SMOOTH)
        np.testing.assert_array_equal(decode(whole + b"trailer" * 9), decode(whole))
        np.testing.assert_array_equal(decode(whole[:-2] + b"\xff\xff" + END_OF_IMAGE), decode(whole))

    def test_a_progressive_picture_needs_all_its_scans(self) -> None:
        whole = jpeg_file(SMOOTH, progressive=True)
        assert decode(whole).shape == SMOOTH.shape
        scans = whole.count(START_OF_SCAN)
        at = len(whole)
        for sent in range(scans - 1, 0, -1):
            at = whole.rindex(START_OF_SCAN, 0, at)
            assert f"its {sent} scans do not send all" in refusal(whole[:at] + END_OF_IMAGE)

    @pytest.mark.timeout(10)
    def test_a_picture_of_many_scans_is_soon_refused(self) -> None:
        whole = jpeg_file(np.full((2000, 2000), 100, np.uint8), progressive=True)
        last = whole[whole.rindex(START_OF_SCAN) : -2]
        started = time.process_time()
        assert "more than 24 scans" in refusal(whole[:-2] + last * 100 + END_OF_IMAGE)
        assert time.process_time() - started < 0.5
