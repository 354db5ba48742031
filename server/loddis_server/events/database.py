"""Connections to SQLite or PostgreSQL that keep what they confirm."""

from __future__ import annotations

import math
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from loddis_runtime.command_names import one_line
from loddis_runtime.errors import ConfigError

__all__ = ["connect", "connect_to_read", "writing"]

CONNECT_TIMEOUT_S = 5
WAL_RETRY_S = 0.01
WAL_KEPT_BYTES = 16 * 2**20  # of the write-ahead log after a checkpoint


def connect(url: URL, *, lock_timeout_s: float) -> Engine:
    """Make an engine; nothing is opened yet.

    Args:
        url: Of `sqlite` with an absolute path, or of `postgresql+psycopg`.
        lock_timeout_s: How long to wait for others' locks, seconds.

    Raises:
        ConfigError: The driver of PostgreSQL is not installed.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, lock_timeout_s=lock_timeout_s)
    try:
        return _postgresql(url, lock_timeout_s=lock_timeout_s)
    except ImportError as error:  # also raised by a driver that lacks its own library
        cause = f"{error.name} is not installed" if error.name else one_line(str(error))
        raise ConfigError(
            f"events.database_url is of PostgreSQL, but {cause}; pip install 'loddis[postgresql]' brings its driver"
        ) from None


def connect_to_read(url: URL, *, lock_timeout_s: float) -> Engine:
    """Make an engine that changes nothing, not even the files beside a database; otherwise as `connect`.

    Args:
        url: As for `connect`; the file of SQLite must be there.
        lock_timeout_s: How long to wait for others' locks, seconds.
    """
    if url.get_backend_name() != "sqlite":
        return connect(url, lock_timeout_s=lock_timeout_s).execution_options(postgresql_readonly=True)
    file = Path(url.database or "")
    # Without a log beside it nobody has it open, and to read it as what does not change makes no log either.
    mode = "mode=ro" if Path(f"{file}-wal").exists() else "mode=ro&immutable=1"
    return create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(f"{file.as_uri()}?{mode}", uri=True, timeout=lock_timeout_s),
        poolclass=NullPool,
        hide_parameters=True,
    )


def _postgresql(url: URL, *, lock_timeout_s: float) -> Engine:
    milliseconds = math.ceil(lock_timeout_s * 1000)
    return create_engine(
        url,
        pool_pre_ping=True,  # the server may have been restarted since
        pool_timeout=lock_timeout_s,
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "loddis-server",
            # Whatever the server's defaults are: what was committed is on its disk, and no statement waits for ever.
            "options": f"-c synchronous_commit=on -c lock_timeout={milliseconds} -c statement_timeout=60000",
        },
    )


def writing(engine: Engine) -> Engine:
    """Give the same engine for transactions that write.

    In SQLite they take the write lock at once: one that read first would be refused in the middle, without waiting,
    if another had written since.
    """
    return engine.execution_options(loddis_writes=True)


def _sqlite(url: URL, *, lock_timeout_s: float) -> Engine:
    engine = create_engine(
        url,
        pool_timeout=lock_timeout_s,
        hide_parameters=True,
        connect_args={"timeout": lock_timeout_s},
    )

    @event.listens_for(engine, "do_connect")
    def make_folder(*_: Any) -> None:
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # else the driver begins transactions as it sees fit
        cursor = connection.cursor()
        # Counts only in a file that is still empty, and only before it is put into WAL mode.
        cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _use_wal(cursor, timeout_s=lock_timeout_s)
        cursor.execute("PRAGMA synchronous = FULL")  # NORMAL loses the last commits when the power fails
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        is_writing = connection.get_execution_options().get("loddis_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")

    return engine


def _use_wal(cursor: Any, *, timeout_s: float) -> None:
    """Put a file into WAL mode. Where two do so at once, SQLite refuses one of them instead of letting it wait."""
    deadline = time.monotonic() + timeout_s
    while cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            cursor.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(WAL_RETRY_S)
