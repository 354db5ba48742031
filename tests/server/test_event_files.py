"""The store of events in an SQLite file that is locked, full, damaged or no database at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from loddis_server.events import Event, EventFilter, EventSettings, EventStore, StoreUnavailableError
from support.events import make_event


def everything(store: EventStore) -> list[Event]:
    return store.query(EventFilter(), limit=10_000, order="oldest")


def sqlite_url(path: Path) -> URL:
    return EventSettings(database_url=f"sqlite:///{path}").url


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(b"this was a database once" * 1000)
    before = path.read_bytes()
    store = EventStore(sqlite_url(path))
    with pytest.raises(StoreUnavailableError, match="corrupt") as raised:
        store.open()
    assert raised.value.fault == "corrupt"
    store.close()
    assert path.read_bytes() == before


def test_a_damaged_page_is_told_from_a_missing_event(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    store = EventStore(sqlite_url(path))
    store.open()
    store.append([make_event(number) for number in range(200)])
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    store = EventStore(sqlite_url(path))
    with pytest.raises(StoreUnavailableError) as raised:  # noqa: PT012 - which of the two meets the damage is open
        store.open()
        everything(store)
    assert raised.value.fault == "corrupt"
    store.close()


def test_a_locked_database_is_waited_for_and_then_said_to_be_locked(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    store = EventStore(sqlite_url(path), lock_timeout_s=0.05)
    store.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError) as raised:
            store.append([make_event(1)])
        assert raised.value.fault == "locked"
        assert everything(store) == []  # readers do not wait for a writer
        other.execute("ROLLBACK")
    assert store.append([make_event(1)]) == 1
    store.close()


def test_a_full_database_keeps_what_it_has(tmp_path: Path) -> None:
    store = EventStore(sqlite_url(tmp_path / "events.db"))
    store.open()
    store.append([make_event(1)])
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # as many as there are
    large = make_event(2)
    with pytest.raises(StoreUnavailableError) as raised:
        store.append([large], {large.id: b"x" * 100_000})
    assert raised.value.fault == "full"
    assert [event.frame_index for event in everything(store)] == [1]
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    assert store.append([large], {large.id: b"x" * 100_000}) == 1
    store.close()


def test_commits_are_on_the_disk(tmp_path: Path) -> None:
    store = EventStore(sqlite_url(tmp_path / "events.db"))
    store.open()
    with store.engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "auto_vacuum", "foreign_keys")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "auto_vacuum": 2, "foreign_keys": 1}
    store.close()
