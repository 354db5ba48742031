"""Limits below the application: heads, slow uploads, endless bodies, what is no HTTP. Over real sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.websockets import WebSocket

from loddis_server import endless, protocol, websocket_protocol
from support.frame_files import png_file, spot_frame
from support.live_server import LiveServer, settings_for, wait_until

PNG = png_file(spot_frame((40, 30)))
TIMEOUT_S = 20.0


class RawConnection:
    """A client that sends whatever it likes."""

    def __init__(self, server: LiveServer) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S)
        self._reader = self._socket.makefile("rb")

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, Any]]:
        """Read an answer of JSON; give its status and document."""
        status = int(self._reader.readline().split()[1])
        length = 0
        while (line := self._reader.readline().strip().lower()) != b"":
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return status, json.loads(self._reader.read(length))

    def is_closed_by_server(self) -> bool:
        """Wait for the end of the connection."""
        try:
            return self._reader.read(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture(scope="module")
def strict(repository: Path) -> Iterator[LiveServer]:
    """Give a server of little patience."""
    with LiveServer(settings_for(repository, request_timeout_s=0.3, max_body_bytes=100_000)) as server:
        yield server


def still_detects(server: LiveServer) -> bool:
    return httpx.post(f"{server.url}/v1/detect", content=PNG, trust_env=False).status_code == 200


def head(**headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode()


def test_a_slow_upload_is_ended(strict: LiveServer) -> None:
    with RawConnection(strict) as connection:
        connection.send(head(Content_Length=str(len(PNG))) + PNG[:100])
        status, problem = connection.answer()
    assert status == 408
    assert problem["type"] == "/problems/upload-timeout"
    assert "not here 0.3 s after the head" in problem["detail"]
    assert still_detects(strict)


def test_an_upload_that_stalls_leaves_its_place_to_others(strict: LiveServer) -> None:
    with RawConnection(strict) as connection:
        connection.send(head(Content_Length=str(len(PNG))))
        connection.answer()
        assert strict.service.admission.in_flight == 0


def test_an_oversized_body_without_a_length_is_cut_off(strict: LiveServer) -> None:
    with RawConnection(strict) as connection:
        connection.send(head(Transfer_Encoding="chunked"))
        chunk = b"2000\r\n" + bytes(0x2000) + b"\r\n"
        for _ in range(13):  # 106,496 bytes, and no end
            connection.send(chunk)
        status, problem = connection.answer()
    assert status == 413
    assert problem["type"] == "/problems/body-too-large"
    assert "up to 100000 bytes" in problem["detail"]
    assert still_detects(strict)


def test_an_oversized_length_is_refused_before_the_body(strict: LiveServer) -> None:
    with RawConnection(strict) as connection:
        connection.send(head(Content_Length="100001"))
        status, problem = connection.answer()
    assert status == 413
    assert "got 100001" in problem["detail"]


def test_a_connection_serves_on_after_a_refusal_if_the_body_ends(strict: LiveServer) -> None:
    with RawConnection(strict) as connection:
        connection.send(head(Content_Length="100001"))
        assert connection.answer()[0] == 413
        connection.send(bytes(100_001) + head(Content_Length=str(len(PNG))) + PNG)
        assert connection.answer()[0] == 200


def test_a_body_that_never_ends_is_not_read_for_ever(strict: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LINGER_S", 0.1)
    with RawConnection(strict) as connection:
        connection.send(head(Content_Length="100001"))
        assert connection.answer()[0] == 413
        connection.send(b"x")
        assert connection.is_closed_by_server()


def test_a_head_without_an_end_is_refused_by_size(strict: LiveServer) -> None:
    with RawConnection(strict) as connection:
        connection.send(b"GET / HTTP/1.1\r\n")

        def flood() -> None:
            try:
                for number in range(100_000):
                    connection.send(f"X-{number}: {'x' * 1000}\r\n".encode())
            except OSError:
                return

        flooding = threading.Thread(target=flood, daemon=True)
        flooding.start()
        assert connection.is_closed_by_server() or connection.answer()[0] == 431
        flooding.join(TIMEOUT_S)
        assert not flooding.is_alive()
    assert still_detects(strict)


@pytest.mark.parametrize("where", ["header", "path"])
def test_a_huge_head_is_refused(strict: LiveServer, where: str) -> None:
    filler = "x" * (protocol.MAX_HEAD_BYTES + 1)
    path, header = (f"/{filler}", "a") if where == "path" else ("/", filler)
    with RawConnection(strict) as connection:
        connection.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Long: {header}\r\n\r\n".encode())
        status, problem = connection.answer()
        assert connection.is_closed_by_server()
    assert status == 431
    assert problem["type"] == "/problems/head-too-large"


def test_a_connection_that_sends_no_head_is_closed_and_half_a_head_answered(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.1)
    with LiveServer(settings_for(repository)) as server:
        with RawConnection(server) as silent, RawConnection(server) as slow:
            slow.send(b"GET / HTT")
            assert silent.is_closed_by_server()
            status, problem = slow.answer()
            assert (status, problem["type"]) == (408, "/problems/head-timeout")
            assert "not here 0.1 s after it began" in problem["detail"]
            assert slow.is_closed_by_server()
        with RawConnection(server) as reused:
            reused.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert reused.answer()[0] == 200
            reused.send(b"GET /livez HT")
            assert reused.answer()[0] == 408
            assert reused.is_closed_by_server()


@pytest.mark.parametrize("noise", [b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_gets_a_problem_document(strict: LiveServer, noise: bytes) -> None:
    with RawConnection(strict) as connection:
        connection.send(noise + b"\r\n\r\n")
        status, problem = connection.answer()
        assert connection.is_closed_by_server()
    assert status == 400
    assert problem["type"] == "/problems/malformed-request"
    assert still_detects(strict)


def test_pipelined_requests_are_answered_in_order(strict: LiveServer) -> None:
    with RawConnection(strict) as connection:
        connection.send(head(Content_Length=str(len(PNG))) + PNG + b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert "detections" in connection.answer()[1]
        assert connection.answer() == (200, {"status": "alive"})


def test_a_client_that_expects_to_be_asked_is_asked(strict: LiveServer) -> None:
    with RawConnection(strict) as connection:
        connection.send(head(Content_Length=str(len(PNG)), Expect="100-continue"))
        assert connection._reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        connection._reader.readline()
        connection.send(PNG)
        assert connection.answer()[0] == 200


@pytest.mark.parametrize("in_pieces", [False, True])
def test_an_offer_to_upgrade_is_overlooked(strict: LiveServer, in_pieces: bool) -> None:
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2_Settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
    message = head(**offer, Content_Length=str(len(PNG))) + PNG
    with RawConnection(strict) as connection:
        for _ in range(2):  # the connection serves on
            for part in (message[:30], message[30:400], message[400:]) if in_pieces else (message,):
                connection.send(part)
            status, document = connection.answer()
            assert status == 200
            assert len(document["detections"]) == 1
        connection.send(head(**offer, Transfer_Encoding="chunked") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(PNG), PNG))
        assert connection.answer()[0] == 200


def test_trailers_are_not_kept(strict: LiveServer) -> None:
    body = b"%x\r\n%s\r\n0\r\n" % (len(PNG), PNG)
    with RawConnection(strict) as connection:
        connection.send(head(Transfer_Encoding="chunked") + body + b"X-Checksum: 1\r\nX-Request-Id: trailing\r\n\r\n")
        status, document = connection.answer()
        assert status == 200
        assert document["request_id"] != "trailing"
        connection.send(head(Content_Length=str(len(PNG))) + PNG)
        assert connection.answer()[0] == 200


@pytest.mark.parametrize("line", [b"X-T: " + b"v" * 90 + b"\r\n", b"v" * 97])
def test_trailers_without_end_are_cut_off(strict: LiveServer, line: bytes) -> None:
    with RawConnection(strict) as connection:
        connection.send(head(Transfer_Encoding="chunked") + b"%x\r\n%s\r\n0\r\nX-Long: " % (len(PNG), PNG))
        sent = 0
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while sent < 64 * 2**20:
                connection.send(line * 100)
                sent += len(line) * 100
        assert sent < 16 * 2**20  # what the sockets buffer, and some
    assert still_detects(strict)


def test_an_answer_that_nobody_reads_is_given_up(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "UNREAD_S", 0.3)
    with LiveServer(settings_for(repository, max_body_bytes=2**23)) as server:
        frame = np.random.default_rng(0).integers(0, 256, (1000, 1000), dtype=np.uint8)
        raw = {"X_Frame_Width": "1000", "X_Frame_Height": "1000", "X_Frame_Dtype": "uint8"}
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", server.port))
            message = head(**raw, Content_Length=str(frame.size)).replace(b"/v1/detect", b"/v1/detect?return=image")
            deaf.sendall(message + frame.tobytes())
            connections = server.server.server_state.connections
            wait_until(lambda: server.service.admission.in_flight == 0 and bool(connections))
            wait_until(lambda: not connections)


HANDSHAKE = (
    b"GET /v1/streams/wire/frames HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def test_a_websocket_does_not_open_in_the_midst_of_another_answer(strict: LiveServer) -> None:
    with RawConnection(strict) as connection:
        connection.send(head(Content_Length=str(len(PNG))) + PNG + HANDSHAKE + b"\r\n")
        status, document = connection.answer()
        assert (status, document["frame"]["width"]) == (200, 96)
        assert connection.is_closed_by_server()
    assert not any(stream.stream_id == "wire" for stream in strict.service.streams)


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n\r\nabcde", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"])
def test_a_websockets_handshake_has_no_body(strict: LiveServer, framing: bytes) -> None:
    with RawConnection(strict) as connection:
        connection.send(HANDSHAKE + framing)
        status, document = connection.answer()
        assert (status, document["type"]) == (400, "/problems/malformed-request")
        assert connection.is_closed_by_server()


LONG = b"x" * 9000


@pytest.mark.parametrize(
    ("handshake", "status"),
    [
        (HANDSHAKE + b"Cookie: " + LONG + b"\r\n", 431),
        (HANDSHAKE + b"Sec-WebSocket-Protocol: " + LONG + b"\r\n", 431),
        (HANDSHAKE + b"".join(b"X-%d: a\r\n" % number for number in range(130)), 431),
        (HANDSHAKE.replace(b"/frames", b"/frames?" + LONG), 431),
        (HANDSHAKE.replace(b"/wire/", b"/w\xc3\xa4r/"), 400),
    ],
    ids=["cookie", "subprotocol", "headers", "path", "bytes"],
)
def test_a_handshake_that_cannot_be_read_is_answered_and_closed(
    strict: LiveServer, handshake: bytes, status: int
) -> None:
    with RawConnection(strict) as connection:
        connection.send(handshake + b"\r\n")
        answered, problem = connection.answer()
        assert connection.is_closed_by_server()
    assert (answered, problem["status"]) == (status, status)
    wait_until(lambda: not strict.server.server_state.connections)


def test_a_handshake_that_gets_no_answer_is_ended(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(websocket: WebSocket, **_: object) -> None:
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass

    monkeypatch.setattr(websocket_protocol, "HANDSHAKE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(WebSocket, "accept", hang)
    with LiveServer(settings_for(repository)) as server:
        with RawConnection(server) as connection:
            connection.send(HANDSHAKE + b"\r\n")
            status, problem = connection.answer()
            assert (status, problem["type"]) == (504, "/problems/timeout")
            assert connection.is_closed_by_server()
        wait_until(lambda: not server.server.server_state.connections)


def test_half_a_handshake_has_the_time_of_a_head(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.1)
    with LiveServer(settings_for(repository)) as server, RawConnection(server) as connection:
        connection.send(HANDSHAKE)
        assert connection.answer()[0] == 408
        assert connection.is_closed_by_server()


def test_a_websocket_that_is_open_outlives_the_time_of_its_handshake(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_protocol, "HANDSHAKE_TIMEOUT_S", 0.05)
    with LiveServer(settings_for(repository)) as server, RawConnection(server) as connection:
        connection.send(HANDSHAKE + b"\r\n")
        assert connection._reader.readline().startswith(b"HTTP/1.1 101")
        began_s = time.monotonic()
        wait_until(lambda: time.monotonic() - began_s > 0.2)
        assert server.server.server_state.connections


def create_stream(**headers: str) -> bytes:
    return head(Content_Type="application/json", **headers).replace(b"/v1/detect", b"/v1/streams")


def test_a_description_of_a_stream_has_limits_of_time_and_size(strict: LiveServer) -> None:
    with RawConnection(strict) as connection:
        connection.send(create_stream(Content_Length="100") + b"{")
        assert connection.answer()[0] == 408
    with RawConnection(strict) as connection:
        connection.send(create_stream(Content_Length="100000"))
        assert connection.answer()[0] == 413


def test_who_may_not_create_streams_is_told_before_the_body_comes(repository: Path) -> None:
    with LiveServer(settings_for(repository, api_key="secret")) as server, RawConnection(server) as connection:
        connection.send(create_stream(Content_Length="100"))
        assert connection.answer()[0] == 401


@pytest.mark.parametrize("path", ["detections", "preview"])
def test_a_listener_that_does_not_read_is_let_go(repository: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(endless, "UNREAD_S", 0.3)
    with LiveServer(settings_for(repository)) as server, httpx.Client(base_url=server.url, trust_env=False) as http:
        frame = np.random.default_rng(0).integers(0, 256, (400, 400), dtype=np.uint8)
        headers = {"X-Stream-Id": "busy", "X-Frame-Width": "400", "X-Frame-Height": "400", "X-Frame-Dtype": "uint8"}

        def send() -> None:
            assert http.post("/v1/detect", content=frame.tobytes(), headers=headers).status_code == 200

        send()
        stream = server.service.streams.find("busy")
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", server.port))
            query = "?fps=30&scale=4" if path == "preview" else ""
            deaf.sendall(f"GET /v1/streams/busy/{path}{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            wait_until(lambda: len(stream.hub) == 1)
            deadline = time.monotonic() + TIMEOUT_S
            while len(stream.hub) and time.monotonic() < deadline:
                send()
            assert len(stream.hub) == 0
            wait_until(lambda: len(server.server.server_state.connections) == 1)  # that of the sender


def test_a_websocket_whose_answers_nobody_reads_is_let_go(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endless, "UNREAD_S", 0.3)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96), dtype=np.uint8).tobytes()
    frame = b"\x82\xfe" + len(pixels).to_bytes(2, "big") + bytes(4) + pixels  # masked with zeros
    query = b"/frames?width=96&height=64&dtype=uint8&score_threshold=0"
    with LiveServer(settings_for(repository)) as server, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(TIMEOUT_S)
        deaf.connect(("127.0.0.1", server.port))
        deaf.sendall(HANDSHAKE.replace(b"/frames", query) + b"\r\n")
        assert deaf.recv(4096).startswith(b"HTTP/1.1 101")
        with pytest.raises(ConnectionError):  # it goes on to send, and is thrown out all the same
            deaf.sendall(frame * 5000)
        wait_until(lambda: not server.server.server_state.connections)
        wait_until(lambda: not server.server.server_state.tasks)
