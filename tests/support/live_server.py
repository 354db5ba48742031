"""A real server on a loopback port, on a thread of the test process."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from loddis_server.listening import listen
from loddis_server.service import Service
from loddis_server.serving import DetectionServer, build_server
from loddis_server.settings import ServerSettings
from loddis_server.systemd import Notifier

__all__ = ["LiveServer", "settings_for", "wait_until"]

START_TIMEOUT_S = 60.0


def settings_for(repository: Path, **settings: Any) -> ServerSettings:
    """Give settings of a small server that depend on nothing but the arguments."""
    database = repository.parent / f"events-{secrets.token_hex(4)}" / "events.db"
    defaults: dict[str, Any] = {
        "model_repository": repository,
        "models": ("spot",),
        "threads": 1,
        "decode_workers": 2,
        "events": {"database_url": f"sqlite:///{database}"},
    }
    return ServerSettings(**{**defaults, **settings})


class LiveServer:
    """uvicorn with the whole application, from `__enter__` to `__exit__`.

    Args:
        settings: Of the server; the port does not matter.
        notifier: As of `build_server`.
    """

    def __init__(self, settings: ServerSettings, *, notifier: Notifier | None = None) -> None:
        self.server: DetectionServer = build_server(settings, notifier=notifier)
        self.service: Service = self.server.config.app.state.service  # type: ignore[union-attr]
        self._started = threading.Event()
        on_started = self.service.on_started

        def started() -> None:
            on_started()
            self._started.set()

        self.service.on_started = started
        self._sockets = listen("127.0.0.1", 0)
        self.port: int = self._sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": self._sockets}, daemon=True)

    def __enter__(self) -> LiveServer:
        self._thread.start()
        assert self._started.wait(START_TIMEOUT_S), "the server did not start in time"
        assert self.service.failure is None, self.service.failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.should_exit = True
        self._thread.join(START_TIMEOUT_S)
        for listener in self._sockets:
            listener.close()


def wait_until(condition: Callable[[], bool], *, timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait for what another thread brings about and tells nobody."""
    limit = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.001)
