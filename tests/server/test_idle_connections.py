"""Connections that do nothing cost next to nothing, and those that break off leave nothing behind."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from loddis_server.local import RunningServer, running_server_process
from support.benchmark_modules import benchmark_module
from support.frame_files import raw_headers, spot_frame
from support.live_server import LiveServer, settings_for, wait_until

IDLE = 1000
TIMEOUT_S = 20.0
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10  # opcodes of WebSocket messages
GOING_AWAY = 1001
ALIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process, and so its server, open as many files as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * IDLE + 200:
        pytest.skip(f"this system lets a process open {hard} files, {2 * IDLE + 200} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 65_536, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)) for _ in range(count)
        ]


def detects(server: RunningServer | LiveServer) -> bool:
    frame = spot_frame((40, 30), dtype=np.uint16)
    answer = httpx.post(f"{server.url}/v1/detect", content=frame.tobytes(), headers=raw_headers(frame), trust_env=False)
    return answer.status_code == 200


@pytest.mark.usefixtures("many_files")
def test_a_thousand_idle_connections_are_cheap(repository: Path, tmp_path: Path) -> None:
    sample_process = benchmark_module("process_watch").sample_process
    with running_server_process("spot", repository=repository, log=tmp_path / "log") as server:
        assert detects(server)
        before = sample_process(server.pid)
        with connections(httpx.URL(server.url).port or 0, IDLE) as idle:
            for connection in idle:  # each has had an answer, and is kept open for the next
                connection.sendall(ALIVE)
            for connection in idle:
                assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            during = sample_process(server.pid)
            assert during.files >= IDLE
            assert during.threads <= before.threads + 1
            assert during.resident_bytes - before.resident_bytes < IDLE * 32 * 1024
            settled_s = time.monotonic()
            assert detects(server)
            wait_until(lambda: time.monotonic() - settled_s > 1.0)
            after = sample_process(server.pid)
            # They are looked at only when something comes: no more than the one frame and the loop's own timers.
            assert after.processor_s - during.processor_s < 0.5
            assert sum(connection_is_open(connection) for connection in idle) == IDLE
        wait_until(lambda: sample_process(server.pid).files <= before.files)
        assert detects(server)


@pytest.mark.usefixtures("many_files")
def test_a_thousand_idle_websockets_are_cheap_and_are_told_of_the_end(repository: Path, tmp_path: Path) -> None:
    sample_process = benchmark_module("process_watch").sample_process
    frame = spot_frame((40, 30), dtype=np.uint16)
    with ExitStack() as stack:
        with running_server_process("spot", repository=repository, log=tmp_path / "log") as server:
            port = httpx.URL(server.url).port or 0
            first = stack.enter_context(websocket(port, "camera"))
            assert answers(first, frame)
            before = sample_process(server.pid)
            idle = [stack.enter_context(websocket(port, "camera")) for _ in range(IDLE)]
            during = sample_process(server.pid)
            assert during.files >= IDLE
            assert during.threads <= before.threads
            assert during.resident_bytes - before.resident_bytes < IDLE * 96 * 1024
            assert answers(first, frame)
            assert answers(idle[-1], frame)
        assert [close_code(connection) for connection in (first, *idle)] == [GOING_AWAY] * (IDLE + 1)


def websocket(port: int, stream_id: str) -> socket.socket:
    """Open a WebSocket by hand: a thousand clients of a library would measure that."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    connection.sendall(
        f"GET /v1/streams/{stream_id}/frames?width=96&height=64&dtype=uint16 HTTP/1.1\r\nHost: localhost\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 101")
    return connection


def masked(opcode: int, content: bytes) -> bytes:
    """Give a message as a client sends it; the mask of zeros leaves the content as it is."""
    if len(content) < 126:
        return struct.pack("!BB4x", 0x80 | opcode, 0x80 | len(content)) + content
    return struct.pack("!BBQ4x", 0x80 | opcode, 0x80 | 127, len(content)) + content


def received(connection: socket.socket) -> tuple[int, bytes]:
    """Give opcode and content of the next message."""
    opcode, length = exactly(connection, 2)
    if length > 125:
        layout = struct.Struct("!H" if length == 126 else "!Q")
        (length,) = layout.unpack(exactly(connection, layout.size))
    content = exactly(connection, length)
    if opcode & 0x0F == PING:
        connection.sendall(masked(PONG, content))
        return received(connection)
    return opcode & 0x0F, content


def exactly(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        more = connection.recv(count - len(content))
        assert more, "the connection has ended"
        content += more
    return content


def answers(connection: socket.socket, frame: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bool:
    connection.sendall(masked(BINARY, frame.tobytes()))
    return bool(json.loads(received(connection)[1])["type"] == "frame")


def close_code(connection: socket.socket) -> int:
    opcode, content = received(connection)
    assert opcode == CLOSE
    return int(struct.unpack("!H", content[:2])[0])


def test_a_websocket_that_never_reads_is_let_go_and_slows_nobody(repository: Path) -> None:
    frame = spot_frame((40, 30), dtype=np.uint16)
    server = LiveServer(settings_for(repository))
    server.server.config.ws_ping_interval = server.server.config.ws_ping_timeout = 3.0
    with server, websocket(server.port, "deaf") as deaf:
        deaf.settimeout(0.1)
        with websocket(server.port, "other") as other:
            send_until_held_back(deaf, masked(TEXT, b"no note") * 1000)
            wait_until(
                lambda: answers(other, frame) and len(server.server.server_state.connections) == 1,
                timeout_s=TIMEOUT_S,
            )
        wait_until(lambda: server.service.admission.in_flight == 0)
        wait_until(lambda: not server.server.server_state.tasks)


def send_until_held_back(connection: socket.socket, content: bytes) -> None:
    """Send what is answered at length: the answers fill TCP, which then takes no more of what they are answers to."""
    with contextlib.suppress(TimeoutError):
        while True:
            connection.sendall(content)


def test_a_websocket_that_vanishes_in_half_a_frame_leaves_nothing(repository: Path) -> None:
    frame = spot_frame((40, 30), dtype=np.uint16)
    with LiveServer(settings_for(repository)) as server:
        for resets in (False, True):
            with websocket(server.port, "camera") as connection:
                assert answers(connection, frame)
                connection.sendall(masked(BINARY, frame.tobytes())[:3000])
                if resets:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until(lambda: not server.server.server_state.connections)
        wait_until(lambda: not server.server.server_state.tasks)
        assert server.service.streams.find("camera").frames == 2
        assert server.service.admission.in_flight == 0


def test_a_flood_of_notes_is_read_and_forgotten(repository: Path) -> None:
    frame = spot_frame((40, 30), dtype=np.uint16)
    note = json.dumps({"frame_index": 7, "timestamp_s": 1.5}).encode()
    notes = masked(TEXT, note) * (2**20 // len(note))
    with LiveServer(settings_for(repository)) as server, websocket(server.port, "camera") as connection:
        connection.sendall(notes)
        connection.sendall(masked(TEXT, b'{"frame_index": 9}') + masked(BINARY, frame.tobytes()))
        message = json.loads(received(connection)[1])
        assert (message["type"], message["frame_index"], message["timestamp_s"]) == ("frame", 9, None)
        connection.sendall(masked(TEXT, b" " * 2**20))
        assert json.loads(received(connection)[1])["problem"]["type"] == "/problems/malformed-request"
        assert answers(connection, frame)


def connection_is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True


@pytest.mark.parametrize("resets", [False, True])
def test_clients_that_vanish_mid_upload_leave_no_place_taken(repository: Path, resets: bool) -> None:
    frame = spot_frame((40, 30), dtype=np.uint16)
    described = "".join(f"{name}: {value}\r\n" for name, value in raw_headers(frame).items())
    head = f"POST /v1/detect HTTP/1.1\r\nHost: a\r\n{described}Content-Length: {frame.nbytes}\r\n\r\n".encode()
    with LiveServer(settings_for(repository, queue_capacity=8)) as server:
        admission = server.service.admission
        for _ in range(5):
            with connections(server.port, 8) as uploading:
                for connection in uploading:
                    connection.sendall(head + frame.tobytes()[:3000])
                wait_until(lambda: admission.in_flight == 8)
                refused = httpx.post(f"{server.url}/v1/detect", content=b"x", trust_env=False)
                assert refused.status_code == 503
                if resets:
                    for connection in uploading:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wait_until(lambda: admission.in_flight == 0)
        assert admission.at_work == 0
        assert admission.on_the_way == 0
        wait_until(lambda: not server.server.server_state.tasks)
        assert detects(server)
