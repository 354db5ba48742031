"""Running the application under uvicorn: listen, tell when ready, and end without dropping a request."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType

import cv2
import uvicorn
from prometheus_client import disable_created_metrics

from loddis_runtime.errors import LoddisError
from loddis_server.app import create_app
from loddis_server.heap import limit_arenas
from loddis_server.listening import listen, url_of
from loddis_server.logs import configure_logs
from loddis_server.protocol import LimitedHttpProtocol
from loddis_server.service import Service
from loddis_server.settings import ServerSettings
from loddis_server.systemd import Notifier
from loddis_server.websocket_protocol import LimitedWebSocketProtocol

__all__ = ["DetectionServer", "build_server", "serve"]

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 30
INTERRUPTED = 130  # exit status after SIGINT
CLOSE_TIMEOUT_S = 1  # for answers on their way out, after the drain


class StartupError(LoddisError):
    """The server could not start."""


class DetectionServer(uvicorn.Server):
    """uvicorn's server, which answers while it drains.

    On SIGTERM or SIGINT it is not ready any more and refuses new frames, but still listens, so that probes and clients
    are told; once the requests under way are answered, or `drain_timeout_s` is over, it ends. A second signal ends it
    at once.

    Args:
        config: Of uvicorn.
        service: What drains.
        notifier: Tells systemd how the service is, if it was started by it.

    Attributes:
        on_ready: Called once the models are loaded.
    """

    def __init__(self, config: uvicorn.Config, service: Service, *, notifier: Notifier | None = None) -> None:
        super().__init__(config)
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None
        self._notifier = notifier
        self._draining: asyncio.Task[None] | None = None
        self._watchdog: asyncio.Task[None] | None = None
        self.interrupted = False
        self.on_ready: Callable[[], None] = lambda: None
        service.on_started = self._on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say where."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        for listener in sockets or []:
            logger.info("listening", extra={"url": url_of(listener)})
        if self._notifier is not None and self._notifier.interval_s is not None:
            self._watchdog = asyncio.ensure_future(self._say_alive(self._notifier, self._notifier.interval_s))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End; whatever the reason, systemd is told."""
        if self._notifier is not None:
            self._notifier.stopping("stopping")
        await super().shutdown(sockets=sockets)
        if self._watchdog is not None:
            self._watchdog.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; the second time, end at once."""
        del frame
        self.interrupted = self.interrupted or sig == signal.SIGINT
        if self._loop is not None and self._service.state != "draining":
            # In a context of its own: the signal may come in the middle of a request, whose id this is not about.
            self._loop.call_soon_threadsafe(self._drain, context=contextvars.Context())
        else:
            self.force_exit = True
            self._end()

    @property
    def is_finished(self) -> bool:
        """Whether no thread of the service is at work any more."""
        return self._service.is_finished

    def raise_failure(self) -> None:
        """Raise what kept the server from starting, if anything did.

        Raises:
            LoddisError: Why.
        """
        failure = self._service.failure
        if isinstance(failure, LoddisError):
            raise failure
        if failure is not None:
            raise StartupError(f"the models cannot be loaded: {type(failure).__name__}: {failure}") from failure

    def _drain(self) -> None:
        self._service.begin_drain()
        self._draining = asyncio.ensure_future(self._end_when_drained())

    async def _end_when_drained(self) -> None:
        timeout_s = self._service.settings.drain_timeout_s
        under_way = self._service.admission.in_flight
        if self._notifier is not None:
            self._notifier.stopping(f"draining, {under_way} requests under way")
        logger.info("draining", extra={"under_way": under_way, "timeout_s": timeout_s})
        if not await self._service.drained(timeout_s=timeout_s):
            logger.warning("not drained in time", extra={"under_way": self._service.admission.in_flight})
        self._end()

    def _on_started(self) -> None:
        """Say that the models are loaded, or end if they could not be."""
        if self._service.state == "failed":
            self._end()
            return
        self.on_ready()
        if self._notifier is not None and self._service.state == "ready":
            names = ", ".join(model.reference for model in self._service.models)
            self._notifier.ready(f"serving {names}")

    async def _say_alive(self, notifier: Notifier, interval_s: float) -> None:
        """Tell systemd that the service does its work; a loop or a thread that hangs falls silent, and is restarted."""
        while True:
            if self._service.is_alive:
                notifier.alive()
            await asyncio.sleep(interval_s)

    def _end(self) -> None:
        self.should_exit = True


def build_server(settings: ServerSettings, *, notifier: Notifier | None = None) -> DetectionServer:
    """Make a server that is ready to `run(sockets=…)`.

    Args:
        settings: Of the server.
        notifier: Tells systemd how the service is.

    Raises:
        LoddisError: A model cannot be served.
        OSError: The model repository cannot be read.
    """
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        http=LimitedHttpProtocol,
        ws=LimitedWebSocketProtocol,
        ws_max_size=settings.max_body_bytes,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=CLOSE_TIMEOUT_S,
    )
    return DetectionServer(config, app.state.service, notifier=notifier)


def serve(settings: ServerSettings) -> None:
    """Serve until told to stop, in a process of its own.

    Args:
        settings: Of the server.

    Raises:
        KeyboardInterrupt: It was stopped by SIGINT, after all was answered.
        LoddisError: It could not start: the address is taken, a model cannot be served.
        OSError: The model repository cannot be read.
    """
    limit_arenas()
    configure_logs(settings.log_level, settings.log_format)
    cv2.setNumThreads(1)  # frames are worked on side by side; OpenCV's own threads would only be in their way
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what does not decode is answered, not logged
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody asks for
    server = build_server(settings, notifier=Notifier.from_environment())
    server.on_ready = _settle_memory
    server.run(sockets=listen(settings.host, settings.port))
    server.raise_failure()
    logger.info("stopped")
    if not server.is_finished:
        # A decoder in the middle of a file cannot be interrupted, and the interpreter would wait for it: every request
        # has its answer, so nothing is lost.
        logging.shutdown()
        os._exit(INTERRUPTED if server.interrupted else 0)
    if server.interrupted:
        raise KeyboardInterrupt


def _settle_memory() -> None:
    """Leave all that is there for good to itself: the collector would look through it again and again, and in vain."""
    gc.collect()
    gc.freeze()
