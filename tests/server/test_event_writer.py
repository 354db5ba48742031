"""Events on their way to the disk, while the disk does not want them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy.event
from prometheus_client import generate_latest

from loddis_server.events import Event, EventFilter, EventLog, EventSettings, SchemaError, StoreUnavailableError
from loddis_server.metrics import Metrics
from support.events import make_event
from support.live_server import wait_until

LOCK_TIMEOUT_S = 0.05

Opener = Callable[..., EventLog]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def start_log(path: Path, metrics: Metrics) -> Iterator[Opener]:
    with ExitStack() as stack:

        def started(**settings: Any) -> EventLog:
            fields = {"database_url": f"sqlite:///{path}", "lock_timeout_s": LOCK_TIMEOUT_S, **settings}
            log = EventLog(EventSettings(**fields), metrics)
            stack.callback(log.stop, timeout_s=5)
            log.start()
            return log

        yield started


def lock(path: Path) -> sqlite3.Connection:
    """Take the write lock of a database, as another process might."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def stored(log: EventLog) -> list[int | None]:
    return [event.frame_index for event in log.store.query(EventFilter(), limit=100_000, order="oldest")]


def shown(metrics: Metrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def test_listeners_are_told_of_what_is_durable(start_log: Opener, path: Path, metrics: Metrics) -> None:
    log = start_log()
    told: list[Event] = []
    durable: list[bool] = []

    def listener(events: Any) -> None:
        with closing(sqlite3.connect(path)) as other:
            ids = {row[0] for row in other.execute("SELECT id FROM events")}
        durable.append({event.id for event in events} <= ids)
        told.extend(events)

    log.on_stored = listener
    events = [make_event(number) for number in range(50)]
    for event in events:
        log.record(event, b"png" if event.frame_index == 7 else None)
    wait_until(lambda: len(told) == len(events))
    assert told == events
    assert all(durable)
    assert log.store.thumbnail(events[7].id) == b"png"
    assert shown(metrics)['loddis_events_stored_total{kind="track.confirmed"}'] == 50


def test_a_listener_that_fails_does_not_end_the_storing(start_log: Opener) -> None:
    log = start_log()

    def listener(_: object) -> None:
        raise RuntimeError("a defect")

    log.on_stored = listener
    log.record(make_event(1))
    wait_until(lambda: stored(log) == [1])
    log.record(make_event(2))
    wait_until(lambda: stored(log) == [1, 2])


def test_whoever_hands_an_event_over_can_wait_until_it_is_durable(start_log: Opener, path: Path) -> None:
    log = start_log()
    log.record(make_event(0)).result(timeout=5)
    assert stored(log) == [0]
    with closing(lock(path)):
        waiting, given_up = log.record(make_event(1)), log.record(make_event(2))
        with pytest.raises(TimeoutError):
            waiting.result(timeout=3 * LOCK_TIMEOUT_S)
        given_up.cancel()
    waiting.result(timeout=5)
    wait_until(lambda: stored(log) == [0, 1, 2])  # also the one that nobody waited for any more


def test_a_locked_database_holds_no_stream_up_and_loses_nothing(
    start_log: Opener, path: Path, metrics: Metrics
) -> None:
    log = start_log(lock_timeout_s=30)
    other = lock(path)
    began = time.monotonic()
    for number in range(1000):
        log.record(make_event(number))
    assert time.monotonic() - began < 5  # the lock alone would take 30 s
    assert log.status.store.waiting == 1000
    assert shown(metrics)["loddis_events_waiting"] == 1000
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: log.status.store.waiting == 0)
    assert stored(log) == list(range(1000))
    assert log.status.store.waiting_bytes == 0


def test_a_fault_is_shown_while_it_lasts(start_log: Opener, path: Path, metrics: Metrics) -> None:
    log = start_log()
    assert log.status.store.state == "ok"
    assert shown(metrics)["loddis_events_store_ok"] == 1
    with closing(lock(path)):
        log.record(make_event(1))
        wait_until(lambda: log.status.store.state == "locked")
        assert "locked" in (log.status.store.cause or "")
        assert shown(metrics)["loddis_events_store_ok"] == 0
    wait_until(lambda: log.status.store.state == "ok")
    assert log.status.store.cause is None
    assert stored(log) == [1]


def test_a_full_disk_is_waited_out(start_log: Opener) -> None:
    log = start_log()
    pages = [1]

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages[0]}")

    sqlalchemy.event.listen(log.store.engine, "checkout", limit)
    event = make_event(1)
    log.record(event, b"x" * 200_000)
    wait_until(lambda: log.status.store.state == "full")
    pages[0] = 1_000_000
    wait_until(lambda: log.status.store.state == "ok")
    assert stored(log) == [1]
    assert log.store.thumbnail(event.id) == b"x" * 200_000


def test_a_full_database_makes_room_by_its_retention(start_log: Opener) -> None:
    log = start_log(retention={"max_age_days": 1.5 / 86_400, "interval_s": 0.02})
    for number in range(100):
        log.record(make_event(number), b"x" * 16_000)
    wait_until(lambda: log.status.store.waiting == 0)
    told: list[int | None] = []
    log.on_stored = lambda events: told.extend(event.frame_index for event in events)
    sqlalchemy.event.listen(  # no page more than there are
        log.store.engine, "checkout", lambda connection, *_: connection.execute("PRAGMA max_page_count = 1")
    )
    log.record(make_event(100), b"x" * 400_000)
    wait_until(lambda: told == [100])


def test_beyond_the_bound_the_oldest_are_dropped_and_counted(start_log: Opener, path: Path, metrics: Metrics) -> None:
    log = start_log(memory_max_bytes=2**20)
    with closing(lock(path)):
        log.record(make_event(0))
        wait_until(lambda: log.status.store.state == "locked")  # from here on nothing is under way for long
        for number in range(1, 40):
            log.record(make_event(number), b"x" * 100_000)
        wait_until(lambda: log.status.store.waiting_bytes <= 2**20)
        status = log.status.store
        assert status.dropped > 0
        assert status.waiting + status.dropped == 40
    wait_until(lambda: log.status.store.waiting == 0)
    dropped = log.status.store.dropped
    kept = stored(log)
    assert len(kept) == 40 - dropped
    assert kept[-1] == 39
    assert shown(metrics)['loddis_events_dropped_total{reason="memory_full"}'] == dropped


def test_an_event_that_the_database_refuses_is_dropped_alone(start_log: Opener, path: Path) -> None:
    log = start_log()
    with closing(lock(path)):  # so that they are stored together
        for number in range(9):
            event = make_event(number)
            log.record(event.model_copy(update={"kind": None}) if number == 4 else event)
    wait_until(lambda: log.status.store.waiting == 0)
    assert stored(log) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert log.status.store.dropped == 1
    assert log.status.store.state == "ok"


def test_the_end_stores_what_was_handed_over(start_log: Opener, path: Path, metrics: Metrics) -> None:
    log = start_log()
    for number in range(500):
        log.record(make_event(number))
    assert log.stop(timeout_s=10)
    assert log.is_finished
    log.record(make_event(500))
    assert shown(metrics)['loddis_events_dropped_total{reason="stopped"}'] == 1
    assert stored(start_log()) == list(range(500))


def test_what_comes_after_the_end_is_not_waited_for(start_log: Opener) -> None:
    log = start_log()
    assert log.stop(timeout_s=5)
    assert log.record(make_event(0)).done()


def test_the_end_does_not_wait_for_ever(start_log: Opener, path: Path) -> None:
    log = start_log()
    with closing(lock(path)):
        log.record(make_event(1))
        log.record(make_event(2))
        began = time.monotonic()
        assert not log.stop(timeout_s=0.3)
        assert time.monotonic() - began < 5
        assert log.status.store.dropped == 2


def test_a_database_that_cannot_be_opened_yet_is_tried_again(start_log: Opener, path: Path) -> None:
    path.mkdir()  # no file can be opened there
    log = start_log()
    log.record(make_event(1))
    wait_until(lambda: log.status.store.state == "unreachable")
    path.rmdir()
    wait_until(lambda: log.status.store.state == "ok")
    assert stored(log) == [1]


@pytest.mark.parametrize("content", [b"no database" * 1000, None])
def test_a_database_that_will_never_fit_stops_the_start(start_log: Opener, path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    else:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE events (what TEXT)")
    with pytest.raises((SchemaError, StoreUnavailableError)):
        start_log()


def test_old_events_go_by_themselves(start_log: Opener) -> None:
    log = start_log(retention={"max_age_days": 0.1 / 86_400, "interval_s": 0.02})
    for number in range(700):
        log.record(make_event(number))
    wait_until(lambda: log.status.store.waiting == 0)
    wait_until(lambda: stored(log) == [])


def test_the_database_stays_within_its_size(start_log: Opener, path: Path) -> None:
    limit = 4 * 2**20
    log = start_log(retention={"max_bytes": limit, "interval_s": 0.02})
    for number in range(600):
        log.record(make_event(number), b"x" * 16_000)
    wait_until(lambda: log.status.store.waiting == 0)
    wait_until(lambda: log.store.used_bytes() <= limit)
    kept = stored(log)
    assert kept  # the newest
    assert kept == list(range(600 - len(kept), 600))


def test_what_is_not_delivered_outlasts_age_and_size(start_log: Opener) -> None:
    hook = {"name": "gone", "url": "http://127.0.0.1:9/", "secrets": ["whsec_" + "a" * 32], "kinds": ["health"]}
    log = start_log(retention={"max_age_days": 1e-6, "interval_s": 0.02}, webhooks=[hook])
    log.record(make_event(1, kind="health"))
    log.record(make_event(2))
    wait_until(lambda: log.status.store.waiting == 0)
    wait_until(lambda: stored(log) == [1])
