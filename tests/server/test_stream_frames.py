"""Frames in and answers out over a WebSocket."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from loddis_runtime.detector import Detector
from support.frame_files import png_file, spot_frame
from support.live_server import LiveServer, settings_for, wait_until
from support.moving import moving_spot

_names = itertools.count()
RAW = "?width=96&height=64&dtype=uint8"


@contextmanager
def opened(
    live: LiveServer, query: str = "", *, stream_id: str | None = None, **how: Any
) -> Iterator[ClientConnection]:
    name = stream_id or f"socket-{next(_names)}"
    url = f"{live.url.replace('http', 'ws')}/v1/streams/{name}/frames{query}"
    with connect(url, proxy=None, **how) as socket:
        yield socket
    httpx.delete(f"{live.url}/v1/streams/{name}", trust_env=False)


def answer(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(timeout=10))


def test_every_frame_is_answered_in_order(live: LiveServer) -> None:
    with opened(live, RAW) as socket:
        for frame in moving_spot(10):
            socket.send(frame.tobytes())
        found = [answer(socket) for _ in range(10)]
    assert [message["type"] for message in found] == ["frame"] * 10
    assert [message["frame_index"] for message in found] == list(range(10))
    assert sum(len(message["alarms"]["new"]) for message in found) == 1


def test_image_files_are_frames_too(live: LiveServer) -> None:
    with opened(live) as socket:
        socket.send(png_file(spot_frame((30, 20), dtype=np.uint16)))
        message = answer(socket)
    assert message["frame"] == {"width": 96, "height": 64, "dtype": "uint16"}
    assert len(message["detections"]) == 1


def test_a_note_gives_index_and_time_of_the_frame_that_follows(live: LiveServer) -> None:
    frames = [frame.tobytes() for frame in moving_spot(3)]
    with opened(live, RAW) as socket:
        socket.send(json.dumps({"frame_index": 70, "timestamp_s": 2.5}))
        socket.send(frames[0])
        socket.send(frames[1])
        socket.send(json.dumps({"frame_index": 75}))
        socket.send(frames[2])
        first, second, third = (answer(socket) for _ in range(3))
    assert (first["frame_index"], first["timestamp_s"]) == (70, 2.5)
    assert second["frame_index"] == 71
    assert (third["frame_index"], third["window"]["missing"]) == (75, 3)


def test_what_is_wrong_with_a_frame_is_answered_and_the_stream_goes_on(live: LiveServer) -> None:
    frames = [frame.tobytes() for frame in moving_spot(3)]
    with opened(live, RAW) as socket:
        socket.send(frames[0])
        socket.send(b"too short")
        socket.send("no json")
        socket.send('{"frame_index": -4}')
        socket.send('{"frame_index": 0}')
        socket.send(frames[1])
        socket.send(frames[2])
        found = [answer(socket) for _ in range(6)]
    kinds = [
        message.get("frame_index") if message["type"] == "frame" else message["problem"]["type"] for message in found
    ]
    assert kinds == [
        0,
        "/problems/bad-frame",
        "/problems/malformed-request",
        "/problems/bad-parameter",
        "/problems/late-frame",
        1,
    ]


def test_a_frame_that_is_too_large_closes_the_connection(live: LiveServer) -> None:
    with opened(live, RAW) as socket:
        socket.send(bytes(2**21 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize(
    ("query", "status"),
    [("?width=96", 422), ("?width=96&height=64&dtype=int8", 422), ("?colour=red", 422), ("?model=none", 404)],
)
def test_what_cannot_be_is_refused_before_the_connection_is_open(live: LiveServer, query: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(live, query):
        pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"")["status"] == status


def test_pages_of_other_origins_are_refused(live: LiveServer) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(live, origin="http://elsewhere.example"):
        pass
    assert refused.value.response.status_code == 403


def test_a_key_is_asked_for_where_there_is_one(repository: Path) -> None:
    with LiveServer(settings_for(repository, api_key="secret")) as server:
        with pytest.raises(InvalidStatus) as refused, opened(server, RAW):
            pass
        assert refused.value.response.status_code == 401
        with opened(server, RAW, additional_headers={"Authorization": "Bearer secret"}) as socket:
            socket.send(spot_frame((30, 20)).tobytes())
            assert answer(socket)["type"] == "frame"


def test_a_stream_outlives_its_connection(live: LiveServer) -> None:
    frames = [frame.tobytes() for frame in moving_spot(8)]
    url = f"{live.url.replace('http', 'ws')}/v1/streams/returning/frames{RAW}"
    with connect(url, proxy=None) as socket:
        for frame in frames[:4]:
            socket.send(frame)
            answer(socket)
    with connect(url, proxy=None) as socket:
        socket.send(frames[4])
        message = answer(socket)
    httpx.delete(f"{live.url}/v1/streams/returning", trust_env=False)
    assert message["frame_index"] == 4
    assert [track["hits"] for track in message["tracks"]] == [5]


def test_a_client_that_vanishes_leaves_nothing_behind(live: LiveServer) -> None:
    with connect(f"{live.url.replace('http', 'ws')}/v1/streams/vanishing/frames{RAW}", proxy=None) as socket:
        for frame in moving_spot(5):
            socket.send(frame.tobytes())
        answer(socket)
        socket.socket.shutdown(SHUT_RDWR)  # without a word
    stream = live.service.streams.find("vanishing")
    wait_until(lambda: live.service.admission.in_flight == 0)
    assert stream.frames <= 5
    httpx.delete(f"{live.url}/v1/streams/vanishing", trust_env=False)


def test_the_end_of_the_stream_closes_the_connection(live: LiveServer) -> None:
    with opened(live, RAW, stream_id="ending") as socket:
        socket.send(spot_frame().tobytes())
        answer(socket)
        httpx.delete(f"{live.url}/v1/streams/ending", trust_env=False)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


def test_the_last_frame_is_answered_before_the_connection_closes(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = live.service.models.find().detector
    infer, gate = Detector.infer, threading.Event()

    def gated(self: Detector, prepared: Any) -> Any:
        assert self is detector
        assert gate.wait(10)
        return infer(self, prepared)

    monkeypatch.setattr(Detector, "infer", gated)
    with opened(live, RAW, stream_id="leaving") as socket:
        stream = live.service.streams.find("leaving")
        socket.send(spot_frame((30, 20)).tobytes())
        wait_until(lambda: not stream.is_idle)
        url = f"{live.url}/v1/streams/leaving"
        deletion = threading.Thread(target=lambda: httpx.delete(url, trust_env=False), daemon=True)
        deletion.start()
        wait_until(lambda: stream.ended is not None)
        gate.set()
        message = answer(socket)
        assert (message["type"], len(message["detections"])) == ("frame", 1)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
        deletion.join(10)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "it was deleted")


def test_an_index_that_no_counter_holds_is_refused(live: LiveServer) -> None:
    with opened(live, RAW) as socket:
        socket.send(json.dumps({"frame_index": 10**18}))
        assert answer(socket)["problem"]["type"] == "/problems/bad-parameter"
        socket.send(json.dumps({"frame_index": 10**18 - 1}))
        socket.send(spot_frame().tobytes())
        assert answer(socket)["frame_index"] == 10**18 - 1
        socket.send(spot_frame().tobytes())
        assert answer(socket)["frame_index"] == 10**18
