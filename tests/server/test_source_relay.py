"""What a camera's RTSP answers become before FFmpeg sees them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loddis_server.sources.media_error import MediaError
from loddis_server.sources.relay import ReplyFilter

ANSWER = b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Base: rtsp://x/\r\nContent-Length: 5\r\n\r\nv=0\r\n"
PACKET = b"$\x00\x00\x04abcd"


def test_answers_and_packets_pass() -> None:
    passed = ReplyFilter().feed(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n" + PACKET + ANSWER + PACKET)
    assert passed == b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n" + PACKET + ANSWER + PACKET


@given(st.lists(st.integers(1, 40)))
def test_pieces_do_not_matter(sizes: list[int]) -> None:
    data = ANSWER + PACKET + b"\r\n" + PACKET + ANSWER
    reply_filter, passed = ReplyFilter(), b""
    for size in [*sizes, len(data)]:
        passed += reply_filter.feed(data[:size])
        data = data[size:]
    assert passed == ANSWER + PACKET + PACKET + ANSWER


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"305 Use Proxy"])
def test_a_redirect_ends_the_connection(status: bytes) -> None:
    with pytest.raises(MediaError, match="which sends to another address") as caught:
        ReplyFilter().feed(b"RTSP/1.0 " + status + b"\r\nLocation: rtsp://169.254.169.254/\r\n\r\n")
    assert caught.value.reason == "refused"


def test_a_location_is_left_out_of_any_answer() -> None:
    passed = ReplyFilter().feed(b"RTSP/1.0 400 Bad\r\nLOCATION : rtsp://other/\r\nCSeq: 1\r\n\r\n")
    assert passed == b"RTSP/1.0 400 Bad\r\nCSeq: 1\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 302 Found\r\n\r\n",
        b"RTSP/1.0 302\x00\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n$\x00\x00\x04: 1\r\n\r\n",  # FFmpeg would read a packet here
        b"RTSP/1.0 200 OK\r\nno header\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nLoca\rtion: x\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"a" * 70_000,
    ],
)
def test_what_is_no_rtsp_ends_the_connection(data: bytes) -> None:
    with pytest.raises(MediaError):
        ReplyFilter().feed(data)
