"""One server at a time delivers to a receiver, where several share a database: else each event would go out by each.

The lock is the operating system's or PostgreSQL's own, so that a killed process holds none: another takes over.
"""

from __future__ import annotations

import fcntl
from contextlib import suppress
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from loddis_server.events.errors import translated_errors
from loddis_server.events.store import EventStore

__all__ = ["ReceiverLock"]

LOCK_CLASS = 0x10DD15  # tells these advisory locks of PostgreSQL from those of other programs


class ReceiverLock:
    """The right to deliver to a receiver.

    Args:
        store: With the outbox.
        receiver: Name of the receiver.
    """

    def __init__(self, store: EventStore, receiver: str) -> None:
        self._engine = store.engine
        self._receiver = receiver
        self._file: IO[bytes] | None = None
        self._connection: Connection | None = None

    def acquire(self) -> bool:
        """Take the lock, or make sure that it is still held; never waits for another holder.

        Returns:
            Whether it is held.

        Raises:
            StoreUnavailableError: The database does not work now; the lock is not held.
        """
        with translated_errors():
            return self._lock_file() if self._engine.dialect.name == "sqlite" else self._lock_session()

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                self._connection.invalidate()  # ends the session, and its locks with it
                self._connection.close()
            self._connection = None

    def _lock_file(self) -> bool:
        """Lock a file beside the database: the database's own lock is needed for writing."""
        if self._file is not None:
            return True
        file = Path(f"{self._engine.url.database}-{self._receiver}.lock").open("ab")  # noqa: SIM115 - held
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def _lock_session(self) -> bool:
        """Take an advisory lock, which lasts as long as its session."""
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))
                return True
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            statement = text("SELECT pg_try_advisory_lock(:class, hashtext(:receiver))")
            is_held = self._connection.scalar(statement, {"class": LOCK_CLASS, "receiver": self._receiver})
        except SQLAlchemyError:
            self.release()
            raise
        if not is_held:
            self.release()
        return bool(is_held)
