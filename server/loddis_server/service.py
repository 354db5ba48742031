"""The server's life: starting, ready, draining. Everything a request needs hangs here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Literal

from loddis_server.admission import Admission
from loddis_server.events import EventLog
from loddis_server.keys import KeyRing
from loddis_server.metrics import Metrics
from loddis_server.models import ModelStore
from loddis_server.oip.statistics import Statistics
from loddis_server.pace import Pace
from loddis_server.pipeline import Pipeline, decode_workers
from loddis_server.settings import ServerSettings
from loddis_server.streams.collector import StreamCollector
from loddis_server.streams.registry import StreamRegistry
from loddis_server.streams.reporting import StreamReporter
from loddis_server.tracing import flush, open_tracing

__all__ = ["STALL_LIMIT_S", "Service", "State"]

logger = logging.getLogger(__name__)

State = Literal["starting", "ready", "draining", "failed"]
STALL_LIMIT_S = 60.0  # a run of the network that takes longer hangs: the server is then alive no more
STOP_TIMEOUT_S = 2.0


class Service:
    """Models, threads, admission and events of one server.

    Args:
        settings: Of the server.

    Attributes:
        state: Where in its life it is.
        failure: Why it could not start.
        on_started: Called once the models are loaded, or could not be.

    Raises:
        BundleError: A model cannot be served, as `ModelStore`.
        ConfigError: Packages of tracing or of the event database are not installed, or certificates cannot be used.
        OSError: The repository cannot be read.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.keys = KeyRing(settings.keys)
        self.tracing = None
        if settings.tracing_endpoint is not None:
            self.tracing = open_tracing(settings.tracing_endpoint, sample_ratio=settings.tracing_sample_ratio)
        self.models = ModelStore(settings)
        self.statistics = Statistics()
        pace = Pace(workers=decode_workers(settings), lanes=settings.inference_lanes)
        self.admission = Admission(settings.queue_capacity, self.metrics, pace=pace, max_slowdown=settings.max_slowdown)
        self.pipeline = Pipeline(settings, self.admission, pace, self.metrics)
        self.events = EventLog(settings.events, self.metrics)
        self.streams = StreamRegistry(
            settings.streams,
            allow=settings.sources,
            models=self.models,
            pipeline=self.pipeline,
            reporter=StreamReporter(self.metrics, self.events),
        )
        self.metrics.registry.register(StreamCollector(self.streams))
        self.state: State = "starting"
        self.failure: Exception | None = None
        self._loader: threading.Thread | None = None
        self.on_started: Callable[[], None] = lambda: None
        self._started = asyncio.Event()
        self._streams_stopped: asyncio.Task[None] | None = None
        self._publishing = threading.Lock()
        self.models.on_change = self._publish_models
        self.metrics.ready.set_function(lambda: self.state == "ready")

    def start(self) -> None:
        """Begin to load the models, on a thread of its own; requests are refused until that is done."""
        loop = asyncio.get_running_loop()

        def load() -> None:
            failure: Exception | None = None
            try:
                self.models.load_initial()
                self.events.start()
            except Exception as error:
                failure = error
            try:
                loop.call_soon_threadsafe(self._loaded, failure)
            except RuntimeError:  # the event loop has ended: nobody waits for the models any more
                self.models.close()
                self.events.stop(timeout_s=STOP_TIMEOUT_S)

        self._loader = threading.Thread(target=load, name="loddis-loader", daemon=True)
        self._loader.start()

    async def started(self) -> State:
        """Wait until the models are loaded, or failed to; give the state then."""
        await self._started.wait()
        return self.state

    def begin_drain(self) -> None:
        """Say that the server is not ready any more, and let no request in; those under way go on."""
        if self.state in ("starting", "ready"):
            self.state = "draining"
        self.admission.close("the server is stopping")
        if self._streams_stopped is None:
            self._streams_stopped = asyncio.get_running_loop().create_task(self.streams.stop())

    async def drained(self, *, timeout_s: float) -> bool:
        """Wait for the requests under way and the ends of all streams.

        Returns:
            Whether all were answered in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self.admission.idle()
                if self._streams_stopped is not None:
                    await asyncio.shield(self._streams_stopped)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """End the threads and give back the models; what does not end in time shows in `is_finished`."""
        self.begin_drain()
        if self._loader is not None:
            await asyncio.to_thread(self._loader.join, STOP_TIMEOUT_S)
        if self._streams_stopped is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._streams_stopped), STOP_TIMEOUT_S)
        await asyncio.to_thread(self.pipeline.stop, timeout_s=STOP_TIMEOUT_S)
        await asyncio.to_thread(self.events.stop, timeout_s=STOP_TIMEOUT_S)
        self.models.close()
        if self.tracing is not None:
            await asyncio.to_thread(flush, self.tracing, timeout_s=STOP_TIMEOUT_S)

    @property
    def is_alive(self) -> bool:
        """Whether it does its work or may yet do so: the inference thread is there, and no thread hangs."""
        if self.state == "ready":
            return self.pipeline.batcher.alive and self.pipeline.busy_s < STALL_LIMIT_S
        return self.state != "failed"

    @property
    def is_finished(self) -> bool:
        """Whether no thread is at work any more."""
        is_loading = self.models.is_loading or (self._loader is not None and self._loader.is_alive())
        return not is_loading and self.pipeline.busy_s == 0 and self.events.is_finished

    def _loaded(self, failure: Exception | None) -> None:
        """Open for requests, or give up."""
        self.failure = failure
        if failure is not None:
            self.state = "failed"
            self.admission.close("the server could not start")
        elif self.state == "starting":
            self.pipeline.start()
            self.streams.start()
            self.state = "ready"
            self.admission.open()
            logger.info("ready", extra={"models": [f"{model.name}:{model.version}" for model in self.models]})
        self._started.set()
        self.on_started()

    def _publish_models(self) -> None:
        """Tell Prometheus what is served."""
        with self._publishing:  # models change on several threads; the last to come here sees the newest state
            self.metrics.model_info.clear()
            self._publish_each()

    def _publish_each(self) -> None:
        for model in self.models:
            self.metrics.model_info.labels(
                model.name,
                model.version,
                model.detector.manifest.variant,
                model.detector.precision,
                model.detector.device,
                str(self.models.is_default(model)).lower(),
            ).set(1)
