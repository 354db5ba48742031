"""Events, a receiver of webhooks that misbehaves as told, and the real services that events go to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from loddis_server.events import Event, WebhookSettings

__all__ = [
    "SECRET",
    "START",
    "WebhookServer",
    "make_event",
    "needs_program",
    "running_postgresql",
    "webhook_settings",
]

START = datetime(2025, 11, 2, 4, 0, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
POSTGRESQL_PROGRAMS = Path("/usr/lib/postgresql")


def make_event(number: int = 0, **fields: Any) -> Event:
    """Give a valid event, `number` seconds after `START`; `fields` replace the defaults."""
    defaults: dict[str, Any] = {
        "kind": "track.confirmed",
        "stream_id": "north-mast",
        "occurred_at": START + timedelta(seconds=number),
        "frame_index": number,
        "score": 0.9,
        "payload": {"track_id": number},
    }
    return Event(**{**defaults, **fields})


def webhook_settings(url: str, **fields: Any) -> WebhookSettings:
    """Give settings of a receiver that is tried again at once; `fields` replace the defaults."""
    defaults: dict[str, Any] = {
        "name": "hook",
        "url": url,
        "secrets": (SECRET,),
        "timeout_s": 5,
        "retry_min_s": 0.01,
        "retry_max_s": 0.05,
    }
    return WebhookSettings(**{**defaults, **fields})


@dataclass(frozen=True)
class Delivered:
    """A request that the receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)["data"]
        return event


class WebhookServer:
    """A receiver of webhooks on loopback.

    Args:
        answer: Gives the status for a request, and may take its time.
        headers: That go with each answer.
        port: To listen on; a free one if 0.
    """

    def __init__(
        self,
        answer: Callable[[Delivered], int] = lambda _: 204,
        *,
        headers: Sequence[tuple[str, str]] = (),
        port: int = 0,
    ) -> None:
        self.requests: list[Delivered] = []
        received = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = Delivered(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                received.append(request)
                self.send_response(answer(request))
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # whoever breaks off a slow answer

        self._server = Server(("127.0.0.1", port), Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def ids(self) -> list[str]:
        """Ids of the events that came, in that order, each time that they came."""
        return [request.headers["webhook-id"] for request in self.requests]

    def __enter__(self) -> WebhookServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def needs_program(name: str, *folders: Path) -> str:
    """Give the path of a program that a test cannot do without.

    Where it is missing the test is skipped, or fails if LODDIS_REQUIRE_SERVICES is set.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *map(str, folders)])
    found = shutil.which(name, path=path)
    if found is None:
        if os.environ.get("LODDIS_REQUIRE_SERVICES"):
            pytest.fail(f"not installed: {name}")
        pytest.skip(f"not installed: {name}")
    return found


@contextmanager
def running_postgresql(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL cluster of its own, reached by a socket in its folder; gives the URL of its database."""
    initdb = needs_program("initdb", *sorted(POSTGRESQL_PROGRAMS.glob("*/bin"), reverse=True))
    programs = Path(initdb).parent
    prefix: list[str] = []
    if os.geteuid() == 0:  # it refuses to run as root
        shutil.chown(folder, "nobody", "nogroup")
        prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    data = folder / "data"

    def run(*command: str | Path) -> None:
        subprocess.run([*prefix, *command], check=True, capture_output=True, timeout=60, cwd=folder)

    run(initdb, "--pgdata", data, "--username", "loddis", "--auth", "trust", "--no-sync", "--encoding", "UTF8")
    options = f"-c listen_addresses= -c unix_socket_directories={folder}"
    run(programs / "pg_ctl", "start", "--pgdata", data, "--wait", "--log", folder / "log", "--options", options)
    try:
        yield f"postgresql://loddis@/postgres?host={folder}"
    finally:
        run(programs / "pg_ctl", "stop", "--pgdata", data, "--mode", "immediate")
