"""Delivery to all receivers, at least once: an event loop on a thread of its own, apart from that of the requests."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from loddis_server.events.courier import Courier, ReceiverStatus
from loddis_server.events.exclusive import ReceiverLock
from loddis_server.events.mqtt import MqttReceiver
from loddis_server.events.outbox import Outbox
from loddis_server.events.receiver import Receiver
from loddis_server.events.settings import EventSettings, MqttSettings, WebhookSettings
from loddis_server.events.store import EventStore
from loddis_server.events.webhook import WebhookReceiver
from loddis_server.metrics import Metrics

__all__ = ["Delivery", "make_receiver"]

logger = logging.getLogger(__name__)

CANCEL_TIMEOUT_S = 1.0


def make_receiver(settings: WebhookSettings | MqttSettings) -> Receiver:
    """Make what events are delivered to; nothing is connected yet.

    Raises:
        ConfigError: Its certificates cannot be used.
    """
    return MqttReceiver(settings) if isinstance(settings, MqttSettings) else WebhookReceiver(settings)


class Delivery:
    """Delivers what is in the outbox of a store.

    Args:
        store: To deliver from; while it is not open, couriers wait.
        settings: With the receivers.
        metrics: To count in.

    Raises:
        ConfigError: Certificates of a receiver cannot be used.
    """

    def __init__(self, store: EventStore, settings: EventSettings, metrics: Metrics) -> None:
        self._database = ThreadPoolExecutor(max_workers=2, thread_name_prefix="loddis-outbox")
        self._outbox = outbox = Outbox(store)
        self._couriers: list[Courier] = []
        for each in settings.receivers:
            lock = ReceiverLock(store, each.name)
            courier = Courier(make_receiver(each), each, outbox, lock=lock, database=self._database, metrics=metrics)
            self._couriers.append(courier)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._running = threading.Event()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="loddis-delivery", daemon=True)

    def start(self) -> None:
        """Start to deliver."""
        if self._couriers and not self._is_stopped:
            self._thread.start()
            self._running.wait()

    def wake(self) -> None:
        """Say that there is something new to deliver; may be called by any thread."""
        self._call(self._wake_all)

    def retry(self, receiver: str | None = None) -> int:
        """Let events that were set aside wait again, and try at once; waits for the database.

        Args:
            receiver: Name of one of the receivers; all of them if None.

        Returns:
            How many wait again.

        Raises:
            StoreUnavailableError: The database does not work now; some may wait again all the same.
        """
        number = 0
        for courier in self._couriers:
            if receiver in (None, courier.name):
                try:
                    put_back = self._outbox.put_back(courier.name)
                finally:
                    self._call(courier.hurry)
                logger.info("tried again on request", extra={"receiver": courier.name, "put_back": put_back})
                number += put_back
        return number

    def stop(self, *, timeout_s: float) -> None:
        """End after the deliveries under way. What is left in the outbox is delivered after the next start.

        Args:
            timeout_s: For the deliveries under way, seconds; those that take longer are broken off.
        """
        self._is_stopped = True
        if self._thread.ident is not None:
            self._call(self._stop_all)
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                self._call(self._cancel)
                self._thread.join(CANCEL_TIMEOUT_S)
        self._database.shutdown(wait=False)

    @property
    def is_finished(self) -> bool:
        """Whether no thread is at work any more."""
        return not self._thread.is_alive()

    @property
    def status(self) -> tuple[ReceiverStatus, ...]:
        """How it goes, receiver by receiver."""
        return tuple(courier.status for courier in self._couriers)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            runner.run(self._deliver())
        for courier in self._couriers:
            courier.close()

    async def _deliver(self) -> None:
        self._tasks = [asyncio.create_task(courier.run(), name=courier.name) for courier in self._couriers]
        self._running.set()
        await asyncio.wait(self._tasks)

    def _call(self, function: Callable[[], None]) -> None:
        """Call something on the event loop, if it still runs."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function)

    def _wake_all(self) -> None:
        for courier in self._couriers:
            courier.wake()

    def _stop_all(self) -> None:
        for courier in self._couriers:
            courier.stop()

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
