"""Connections that do nothing cost next to nothing, and those that break off leave nothing behind."""

from __future__ import annotations

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
        assert not server.server.server_state.tasks
        assert detects(server)
