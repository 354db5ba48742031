"""What a child may say, and what its parent believes."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loddis_server.sources.wire import (
    PREFIX,
    Ended,
    Failed,
    FrameMessage,
    Message,
    Opened,
    Request,
    WireError,
    receive_message,
    receive_request,
    send_message,
    send_request,
)

MAX_PIXELS = 10_000


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    parent, child = socket.socketpair()
    parent.settimeout(10)
    with parent, child:
        yield parent, child


def test_a_request_arrives(ends: tuple[socket.socket, socket.socket]) -> None:
    request = Request(medium="file", media_fd=7, options={"a": "b"}, take_luma=True)
    send_request(ends[0], request)
    assert receive_request(ends[1]) == request


@pytest.mark.parametrize(
    "message", [Opened("matroska", "ffv1", 30.0), Opened("rtsp", "h264", None), Failed("lost", "gone"), Ended()]
)
def test_messages_arrive(ends: tuple[socket.socket, socket.socket], message: Message) -> None:
    send_message(ends[1], message)
    assert receive_message(ends[0], max_pixels=MAX_PIXELS) == message


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_frames_arrive(ends: tuple[socket.socket, socket.socket], dtype: type) -> None:
    image = np.arange(63, dtype=dtype).reshape(7, 9).T  # not contiguous
    send_message(ends[1], FrameMessage(image, 12.5, None, 3))
    message = receive_message(ends[0], max_pixels=MAX_PIXELS)
    assert isinstance(message, FrameMessage)
    assert np.array_equal(message.image, image)
    assert (message.image.dtype, message.captured_at, message.pts_s, message.damaged) == (dtype, 12.5, None, 3)


def test_an_end_in_the_middle_is_an_end(ends: tuple[socket.socket, socket.socket]) -> None:
    sender = threading.Thread(target=send_message, args=(ends[1], FrameMessage(np.zeros((9, 9), np.uint8), 0, 0, 0)))
    sender.start()
    sender.join()
    whole = ends[0].recv(10_000)
    first, second = socket.socketpair()
    with first, second:
        first.sendall(whole[:-1])
        first.close()
        assert receive_message(second, max_pixels=MAX_PIXELS) is None


FRAME = {"height": 4, "width": 4, "dtype": "uint8", "captured_at": 0.0, "pts_s": None, "damaged": 0}


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        (b"?", {}),
        (b"F", FRAME | {"height": 100_000, "width": 100_000}),
        (b"F", FRAME | {"height": 0}),
        (b"F", FRAME | {"height": -4, "width": -4}),
        (b"F", FRAME | {"height": True}),
        (b"F", FRAME | {"dtype": "object"}),
        (b"F", FRAME | {"captured_at": "now"}),
        (b"F", FRAME | {"pts_s": float("nan")}),
        (b"F", {}),
        (b"X", {"reason": "because", "cause": "x"}),
        (b"X", {"reason": ["lost"], "cause": "x"}),
        (b"X", {"reason": "lost", "cause": 3}),
        (b"O", {"container": None, "codec": "x"}),
        (b"O", {"container": "x", "codec": "x", "frame_rate_hz": 0}),
        (b"O", {"container": "x", "codec": "x", "frame_rate_hz": -25.0}),
        (b"O", []),
    ],
)
def test_nonsense_is_not_believed(ends: tuple[socket.socket, socket.socket], kind: bytes, head: Any) -> None:
    data = json.dumps(head).encode()
    ends[1].sendall(PREFIX.pack(kind, len(data)) + data + bytes(16))
    with pytest.raises(WireError):
        receive_message(ends[0], max_pixels=MAX_PIXELS)


def test_a_head_has_a_limit(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].sendall(PREFIX.pack(b"X", 2**31))
    with pytest.raises(WireError, match="expected a head of up to"):
        receive_message(ends[0], max_pixels=MAX_PIXELS)


def test_a_cause_is_one_line(ends: tuple[socket.socket, socket.socket]) -> None:
    send_message(ends[1], Failed("lost", "one\ntwo\x1b[31m" + "x" * 5000))
    message = receive_message(ends[0], max_pixels=MAX_PIXELS)
    assert isinstance(message, Failed)
    assert message.cause.isprintable()
    assert len(message.cause) <= 1000


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_an_end_or_an_error(data: bytes) -> None:
    parent, child = socket.socketpair()
    with parent, child:
        child.sendall(data)
        child.close()
        parent.settimeout(5)
        with contextlib.suppress(WireError):
            assert receive_message(parent, max_pixels=MAX_PIXELS) in (None, Ended())
