"""Telling systemd how the service is: ready, alive, stopping. A datagram to a socket, so no library is needed.

Protocol: sd_notify(3) and the watchdog of systemd.service(5).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import MutableMapping

__all__ = ["Notifier"]

logger = logging.getLogger(__name__)


class Notifier:
    """The way to the service manager that started this process.

    Args:
        address: Of its socket: a path, or `@` and an abstract name.
        watchdog_s: It wants to hear `alive` within this time, seconds; None if it does not watch.

    Attributes:
        interval_s: How often to say `alive`, seconds: twice as often as it must be; None if nobody watches.
    """

    def __init__(self, address: str, *, watchdog_s: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.interval_s = None if watchdog_s is None else watchdog_s / 2

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Notifier | None:
        """Give the way that the environment names, and take it out there: it is not for processes that we start.

        Returns:
            None if no service manager listens.
        """
        address = environment.pop("NOTIFY_SOCKET", "")
        watchdog_us = environment.pop("WATCHDOG_USEC", "")
        watched = environment.pop("WATCHDOG_PID", str(os.getpid()))
        if not address.startswith(("/", "@")):
            return None
        is_watched = watchdog_us.isdigit() and int(watchdog_us) > 0 and watched == str(os.getpid())
        return cls(address, watchdog_s=int(watchdog_us) / 1e6 if is_watched else None)

    def ready(self, status: str) -> None:
        """Say that the service is up, and in a few words what it does."""
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self, status: str) -> None:
        """Say that the service is about to end."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def alive(self) -> None:
        """Say that the service does its work."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        """Send a datagram; a manager that does not listen is no reason to stop serving."""
        try:
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)) as way:
                way.setblocking(False)
                way.sendto(message.encode(), self._address)
        except OSError as error:
            logger.warning("systemd was not told", extra={"told": message.partition("\n")[0], "cause": str(error)})
