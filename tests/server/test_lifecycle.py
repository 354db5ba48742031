"""From start to end: real processes, real signals."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from loddis_runtime.errors import BundleError, ConfigError
from loddis_server import serving
from loddis_server.listening import listen
from loddis_server.serving import serve
from support.bundles import seal
from support.frame_files import png_file, spot_frame
from support.live_server import settings_for

TIMEOUT_S = 60.0
PNG = png_file(spot_frame((40, 30)))


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LODDIS_")}
    return {**kept, "LODDIS_THREADS": "1", "LODDIS_MODELS": "spot", **variables}


class ServerProcess:
    """`loddis-server` on a free port, its log read as it comes."""

    def __init__(self, *arguments: str, code: str | None = None, **variables: str) -> None:
        program = ["-m", "loddis_server"] if code is None else ["-c", code]
        self._process = subprocess.Popen(
            [sys.executable, *program, "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(**variables),
            text=True,
        )
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self.logged("listening")["url"].rpartition(":")[2])

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))

    def logged(self, message: str) -> dict[str, Any]:
        """Wait for a line of the log."""
        while (fields := self._lines.get(timeout=TIMEOUT_S))["message"] != message:
            pass
        return fields

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
        connection = self.connect()
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Wait for the end; give the exit status and what was on stderr."""
        status = self._process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        assert self._process.stderr is not None
        return status, self._process.stderr.read()


@pytest.fixture
def process(repository: Path) -> Iterator[ServerProcess]:
    with ServerProcess(LODDIS_MODEL_REPOSITORY=str(repository)) as process:
        yield process


@pytest.fixture
def connections() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def begin_upload(process: ServerProcess, connections: contextlib.ExitStack) -> http.client.HTTPConnection:
    """Send a request but for the last bytes of its body, and wait until the server has let it in."""
    connection = connections.enter_context(contextlib.closing(process.connect()))
    connection.putrequest("POST", "/v1/detect")
    connection.putheader("Content-Length", str(len(PNG)))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    assert connection.sock.recv(100).startswith(b"HTTP/1.1 100")
    connection.send(PNG[:-10])
    return connection


def test_sigterm_answers_what_is_under_way_and_exits_0(
    process: ServerProcess, connections: contextlib.ExitStack
) -> None:
    process.logged("ready")
    assert process.ask("GET", "/readyz") == (200, {"status": "ready"})
    upload = begin_upload(process, connections)
    process.signal(signal.SIGTERM)
    assert process.logged("draining")["under_way"] == 1
    assert process.ask("GET", "/readyz") == (503, {"status": "draining"})
    assert process.ask("GET", "/livez") == (200, {"status": "alive"})
    status, problem = process.ask("POST", "/v1/detect", PNG)
    assert (status, problem["type"]) == (503, "/problems/not-ready")
    assert "stopping" in problem["detail"]
    upload.send(PNG[-10:])
    response = upload.getresponse()
    assert response.status == 200
    assert len(json.loads(response.read())["detections"]) == 1
    assert process.end() == (0, "")
    process.logged("stopped")


def test_a_drain_has_an_end(repository: Path, connections: contextlib.ExitStack) -> None:
    with ServerProcess("--drain-timeout-s", "0.2", LODDIS_MODEL_REPOSITORY=str(repository)) as process:
        process.logged("ready")
        upload = begin_upload(process, connections)
        process.signal(signal.SIGTERM)
        assert process.logged("not drained in time")["under_way"] == 1
        response = upload.getresponse()
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
        assert json.loads(response.read())["type"] == "/problems/not-ready"
        assert process.end() == (0, "")


def test_a_second_signal_ends_it_at_once(process: ServerProcess, connections: contextlib.ExitStack) -> None:
    process.logged("ready")
    begin_upload(process, connections)
    process.signal(signal.SIGTERM)
    process.logged("draining")
    process.signal(signal.SIGTERM)
    status, _ = process.end()
    assert status == 0


def test_ctrl_c_drains_too_and_exits_130(process: ServerProcess) -> None:
    process.logged("ready")
    process.signal(signal.SIGINT)
    process.logged("draining")
    assert process.end() == (130, "")


STUCK = """
import sys, time
from loddis_server import bodies
from loddis_server.cli import main
bodies.decode_file = lambda *arguments, **options: time.sleep(600)
main()
"""


def test_a_decoder_that_hangs_does_not_keep_the_process(repository: Path) -> None:
    variables = {"LODDIS_MODEL_REPOSITORY": str(repository), "LODDIS_REQUEST_TIMEOUT_S": "0.3"}
    with ServerProcess(code=STUCK, **variables) as process:
        process.logged("ready")
        status, problem = process.ask("POST", "/v1/detect", PNG)
        assert (status, problem["type"]) == (504, "/problems/timeout")
        process.signal(signal.SIGTERM)
        process.logged("stopped")
        started = time.monotonic()
        assert process.end() == (0, "")
        assert time.monotonic() - started < 5


def test_it_can_be_stopped_while_it_starts(process: ServerProcess) -> None:
    process.signal(signal.SIGTERM)
    assert process.end() == (0, "")


def refusal_to_start(*arguments: str, **variables: str) -> tuple[int, str]:
    completed = subprocess.run(
        [sys.executable, "-m", "loddis_server", "--port", "0", *arguments],
        capture_output=True,
        env=environment(**variables),
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert completed.stderr.count("\n") == 1, completed.stderr
    assert completed.stderr.startswith("loddis-server: error: ")
    return completed.returncode, completed.stderr


@pytest.fixture
def own_bundle(repository: Path, tmp_path: Path) -> Path:
    """Give a bundle that may be broken, in a repository of its own."""
    shutil.copytree(repository, tmp_path / "models")
    return tmp_path / "models" / "spot" / "1"


def test_a_damaged_bundle_keeps_it_from_starting(own_bundle: Path) -> None:
    graph = own_bundle / "model.fp32.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    status, complaint = refusal_to_start(LODDIS_MODEL_REPOSITORY=str(own_bundle.parents[1]))
    assert status == 1
    assert f"{graph} is damaged or was changed" in complaint


def test_a_graph_that_is_none_keeps_it_from_starting(own_bundle: Path) -> None:
    (own_bundle / "model.fp32.onnx").write_bytes(b"no graph")
    seal(own_bundle)
    status, complaint = refusal_to_start(LODDIS_MODEL_REPOSITORY=str(own_bundle.parents[1]))
    assert status == 1
    assert "is not a usable ONNX graph" in complaint


def test_others_may_reach_it_only_with_a_key(repository: Path) -> None:
    status, complaint = refusal_to_start("--host", "0.0.0.0", LODDIS_MODEL_REPOSITORY=str(repository))
    assert status == 2
    assert "without an API key" in complaint


class TestInProcess:
    """The same paths on this process, where coverage sees them."""

    @pytest.fixture(autouse=True)
    def _logs_as_they_were(self) -> Iterator[None]:
        root, uvicorn_logger = logging.getLogger(), logging.getLogger("uvicorn")
        before = root.handlers[:], root.level, uvicorn_logger.level
        yield
        root.handlers[:], root.level, uvicorn_logger.level = before
        logging.captureWarnings(capture=False)

    @pytest.fixture
    def signalled_when_ready(self, monkeypatch: pytest.MonkeyPatch) -> list[signal.Signals]:
        """Send this process the signals of the list, once the server is ready."""
        signals: list[signal.Signals] = []
        build = serving.build_server

        def build_and_signal(*arguments: Any, **options: Any) -> serving.DetectionServer:
            server = build(*arguments, **options)
            end_if_failed = server._service.on_started

            def on_started() -> None:
                end_if_failed()
                for number in signals:
                    signal.raise_signal(number)

            server._service.on_started = on_started
            return server

        monkeypatch.setattr(serving, "build_server", build_and_signal)
        return signals

    def test_it_serves_until_sigterm(
        self, repository: Path, signalled_when_ready: list[signal.Signals], capsys: pytest.CaptureFixture[str]
    ) -> None:
        signalled_when_ready.append(signal.SIGTERM)
        serve(settings_for(repository, port=0, log_format="json"))
        messages = [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]
        chosen = next(message for message in messages if "runs in fp32 on ONNX Runtime" in message)
        # The models are loaded while the sockets are opened: which is done first is chance.
        assert messages.index("listening") < messages.index("draining")
        messages.remove("listening")
        assert messages == [chosen, "model loaded", "ready", "draining", "stopped"]

    def test_it_serves_until_ctrl_c(self, repository: Path, signalled_when_ready: list[signal.Signals]) -> None:
        signalled_when_ready.append(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            serve(settings_for(repository, port=0))

    def test_it_raises_what_keeps_it_from_starting(self, own_bundle: Path) -> None:
        (own_bundle / "model.fp32.onnx").write_bytes(b"no graph")
        seal(own_bundle)
        with pytest.raises(BundleError, match="not a usable ONNX graph"):
            serve(settings_for(own_bundle.parents[1], port=0))

    def test_what_nobody_foresaw_keeps_it_from_starting_too(
        self, repository: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_: object) -> None:
            raise ZeroDivisionError("by zero")

        monkeypatch.setattr("loddis_server.models.ModelStore.load_initial", fail)
        with pytest.raises(serving.StartupError, match="cannot be loaded: ZeroDivisionError: by zero"):
            serve(settings_for(repository, port=0))


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            listen("127.0.0.1", port)


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 203\.0\.113\.1:80: Cannot assign requested address"):
        listen("203.0.113.1", 80)


def test_all_addresses_of_a_host_share_a_free_port() -> None:
    listeners = listen("localhost", 0)
    assert len({listener.getsockname()[1] for listener in listeners}) == 1
    for listener in listeners:
        listener.close()
