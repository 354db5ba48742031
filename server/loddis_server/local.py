"""A server of one's own on a free loopback port, for as long as a context: for demos, benchmarks, tests of clients."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from loddis_runtime.errors import LoddisError

__all__ = ["RunningServer", "ServerFailedError", "running_server", "running_server_process"]

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.05


class ServerFailedError(LoddisError):
    """The server ended, or was not ready in time; the message says why."""


class RunningServer(NamedTuple):
    """A server that takes frames.

    Attributes:
        url: Its address.
        pid: Of its process.
    """

    url: str
    pid: int


@contextmanager
def running_server(
    model: str, *, repository: Path | None = None, settings: Mapping[str, str] | None = None, log: Path
) -> Iterator[str]:
    """Run `loddis-server` on a free loopback port until the context ends, whatever ends it.

    Args:
        model: To serve.
        repository: Folder of models besides the shipped ones.
        settings: Others of the server, by the names of their environment variables.
        log: File that takes what the server says.

    Yields:
        The server's address, once it takes frames.

    Raises:
        ServerFailedError: It ended, or was not ready in time.
    """
    with running_server_process(model, repository=repository, settings=settings, log=log) as server:
        yield server.url


@contextmanager
def running_server_process(
    model: str, *, repository: Path | None = None, settings: Mapping[str, str] | None = None, log: Path
) -> Iterator[RunningServer]:
    """Run a server as `running_server` does, for those who watch its process as well.

    Yields:
        Address and process, once it takes frames.

    Raises:
        ServerFailedError: As `running_server`.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    # -P: what lies in the current folder is none of its modules.
    command = [sys.executable, "-P", "-m", "loddis_server", "--host", "127.0.0.1", "--port", str(port)]
    # What this machine's operator has set for other servers, a key say, is not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LODDIS_")}
    environment |= {"LODDIS_MODELS": model, "LODDIS_DEFAULT_MODEL": model, **(settings or {})}
    if repository is not None:
        environment["LODDIS_MODEL_REPOSITORY"] = str(repository)
    server: subprocess.Popen[bytes] | None = None
    with tempfile.TemporaryDirectory(prefix="loddis-state-") as state:
        environment["STATE_DIRECTORY"] = state  # its events go with it
        try:
            with log.open("wb") as output, _undisturbed():
                # A session of its own: Ctrl-C reaches this process alone, which then ends the server in good order.
                server = subprocess.Popen(  # noqa: S603
                    command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                )
            _wait_until_ready(server, url, log)
            yield RunningServer(url, server.pid)
        finally:
            if server is not None:
                with _undisturbed():
                    _stop(server)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put requests to stop off until the context ends: no server is lost between its start and its name."""
    held: list[signal.Signals] = []
    before = {
        number: signal.signal(number, lambda number, _: held.append(signal.Signals(number)))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for first in held[:1]:
        signal.raise_signal(first)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to end; make it end if it does not."""
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until the server takes frames."""
    deadline = time.monotonic() + START_TIMEOUT_S
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({})
    )  # a proxy is not for this machine's own servers
    while not _is_ready(direct, url):
        if server.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise ServerFailedError(f"the server ended with status {server.returncode}: {' '.join(last)}")
        if time.monotonic() > deadline:
            raise ServerFailedError(f"the server was not ready after {START_TIMEOUT_S:.0f} s; see {log}")
        time.sleep(POLL_S)


def _is_ready(opener: urllib.request.OpenerDirector, url: str) -> bool:
    try:
        with opener.open(f"{url}/readyz", timeout=START_TIMEOUT_S):
            return True
    except OSError:  # not there yet, or it says 503
        return False
