"""The store of events, in SQLite and in a real PostgreSQL."""

from __future__ import annotations

import asyncio
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.engine import URL

from loddis_server.events import (
    Cursor,
    Event,
    EventFilter,
    EventLog,
    EventRefusedError,
    EventSettings,
    EventStore,
    SchemaError,
    StoreUnavailableError,
    inspect_database,
)
from loddis_server.events import outbox as outbox_module
from loddis_server.events.exclusive import ReceiverLock
from loddis_server.events.outbox import Outbox
from loddis_server.events.schema import VERSION_TABLE
from loddis_server.events.settings import ReceiverSettings
from loddis_server.events.tables import WAITING, deliveries, metadata
from loddis_server.metrics import Metrics
from support.events import START, WebhookServer, make_event, running_postgresql, webhook_settings
from support.live_server import wait_until

PNG = b"\x89PNG, as far as a store looks at it"
ALL = ReceiverSettings(name="all")
HEALTH_ONLY = ReceiverSettings(name="health-only", kinds=frozenset({"health"}))
FAR_FUTURE_US = 2**62


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="loddis-pg-"))  # pytest's own folders are closed to other users
    folder.chmod(stat.S_IRWXU)
    try:
        with running_postgresql(folder) as url:
            yield url
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """Give the URL of an empty database of each kind."""
    if request.param == "sqlite":
        return EventSettings(database_url=f"sqlite:///{tmp_path}/new folder/events.db").url
    address = EventSettings(database_url=request.getfixturevalue("postgresql")).url
    store = EventStore(address)
    with store.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    store.close()
    return address


Opener = Callable[..., EventStore]


@pytest.fixture
def open_store(url: URL) -> Iterator[Opener]:
    with ExitStack() as stack:

        def opened(*receivers: ReceiverSettings, lock_timeout_s: float = 5.0) -> EventStore:
            store = EventStore(url, receivers=receivers, lock_timeout_s=lock_timeout_s)
            stack.callback(store.close)
            store.open()
            return store

        yield opened


def everything(store: EventStore) -> list[Event]:
    return store.query(EventFilter(), limit=10_000, order="oldest")


def test_what_goes_in_comes_out(open_store: Opener) -> None:
    first = make_event(1, payload={"text": "naïve \x00 ∞", "nested": [{"x": 1.5}], "big": 2**53})
    second = make_event(2, kind="source", frame_index=None, score=None, payload={}, stream_id="Süd / +#?")
    store = open_store()
    assert store.append([first, second], {first.id: PNG}) == 2
    again = open_store()
    assert everything(again) == [first.model_copy(update={"has_thumbnail": True}), second]
    assert again.thumbnail(first.id) == PNG
    assert again.thumbnail(second.id) is None
    assert again.get(second.id) == (second, ())
    assert again.get(make_event().id) is None


def test_an_event_that_is_there_already_is_neither_changed_nor_delivered_again(open_store: Opener) -> None:
    store = open_store(ALL)
    event = make_event(1)
    assert store.append([event, event]) == 1
    outbox = Outbox(store)
    (outgoing,) = outbox.next("all", limit=10)
    outbox.confirm(outgoing.seq)
    assert store.append([event.model_copy(update={"score": 0.1}), make_event(2)]) == 1
    assert [found.score for found in everything(store)] == [0.9, 0.9]
    assert [outgoing.event.frame_index for outgoing in outbox.next("all", limit=10)] == [2]


def test_an_event_that_the_database_refuses_takes_none_with_it(open_store: Opener) -> None:
    store = open_store(ALL)
    bad = make_event(1).model_copy(update={"kind": None})
    with pytest.raises(EventRefusedError):
        store.append([make_event(0), bad])
    assert everything(store) == []
    assert Outbox(store).next("all", limit=10) == []


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_pages_hold_each_event_once_though_others_come_in(open_store: Opener, order: str) -> None:
    store = open_store()
    # Several of one moment, so that the time alone does not tell where a page ended.
    events = [make_event(number // 4) for number in range(23)]
    store.append(events)
    seen: list[str] = []
    after: Cursor | None = None
    while page := store.query(EventFilter(), limit=5, order=order, after=after):
        seen += [event.id for event in page]
        after = Cursor.decode(Cursor.after(page[-1], order).encode())
        day = timedelta(days=1)  # before the pages that are left
        store.append([make_event(occurred_at=START - day if order == "oldest" else START + day)])
    wanted = [event.id for event in events]
    assert seen == (wanted if order == "oldest" else wanted[::-1])


def test_filters_hold_together(open_store: Opener) -> None:
    store = open_store()
    wanted = make_event(5)
    store.append(
        [
            wanted,
            make_event(5, stream_id="south"),
            make_event(5, kind="track.ended"),
            make_event(5, score=0.79),
            make_event(5, score=None),
            make_event(4),
            make_event(6),
        ]
    )
    moment = START + timedelta(seconds=5)
    found = store.query(
        EventFilter(
            stream_id="north-mast",
            kinds=frozenset({"track.confirmed", "health"}),
            since=moment,
            until=moment + timedelta(microseconds=1),
            min_score=0.8,
        ),
        limit=10,
    )
    assert found == [wanted]


def test_each_receiver_has_the_kinds_it_wants_in_order(open_store: Opener) -> None:
    store = open_store(ALL, HEALTH_ONLY)
    events = [make_event(number, kind="health" if number % 2 else "drift") for number in range(6)]
    store.append(events[:3])
    store.append(events[3:])
    outbox = Outbox(store)
    assert [outgoing.event for outgoing in outbox.next("all", limit=4)] == events[:4]
    assert [outgoing.event.frame_index for outgoing in outbox.next("health-only", limit=10)] == [1, 3, 5]


def test_what_a_receiver_refuses_is_seen_with_the_event(open_store: Opener) -> None:
    store = open_store(ALL)
    store.append([make_event(1), make_event(2)])
    outbox = Outbox(store)
    first, second = outbox.next("all", limit=10)
    outbox.refuse(first.seq, "answered 422", is_final=False)
    assert outbox.next("all", limit=10)[0].refusals == 1
    outbox.refuse(first.seq, "answered 410", is_final=True)
    assert [outgoing.seq for outgoing in outbox.next("all", limit=10)] == [second.seq]
    found = store.get(first.event.id)
    assert found is not None
    (state,) = found[1]
    assert (state.receiver, state.state, state.refusals, state.reason) == ("all", "set_aside", 2, "answered 410")
    status = outbox.status("all")
    assert (status.waiting, status.set_aside) == (1, 1)
    assert abs(time.time() - (status.oldest_us or 0) / 1e6) < 60


def set_aside(store: EventStore, count: int) -> list[Event]:
    """Store events, all of which a receiver then refuses for good."""
    events = [make_event(number) for number in range(count)]
    store.append(events)
    outbox = Outbox(store)
    for outgoing in outbox.next("all", limit=count):
        outbox.refuse(outgoing.seq, "answered 422", is_final=True)
    return events


def test_what_was_set_aside_is_put_back_in_its_old_place(open_store: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "PUT_BACK_EVENTS", 2)
    store = open_store(ALL, HEALTH_ONLY)
    events = set_aside(store, 5)
    later = make_event(5)
    store.append([later])
    outbox = Outbox(store)
    assert outbox.put_back("health-only") == 0
    assert outbox.next("all", limit=10)[0].event == later
    assert outbox.put_back("all") == 5
    assert outbox.put_back("all") == 0
    found = outbox.next("all", limit=10)
    assert [outgoing.event for outgoing in found] == [*events, later]
    assert {outgoing.refusals for outgoing in found} == {0}
    kept, counts = outbox.count(["all", "health-only"])
    assert kept == 6
    assert [(counts[name].waiting, counts[name].set_aside) for name in ("all", "health-only")] == [(6, 0), (0, 0)]


def test_what_is_put_back_while_old_events_are_deleted_stays(
    open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = open_store(ALL), open_store(ALL)
    events = set_aside(store, 3)
    begin = store.transaction
    begun: list[bool] = []

    def transaction(*, is_writing: bool = False) -> Any:
        begun.append(is_writing)
        if begun == [False, True]:  # they have been looked for, and are about to be deleted
            assert Outbox(other).put_back("all") == 3
        return begin(is_writing=is_writing)

    monkeypatch.setattr(store, "transaction", transaction)
    assert store.prune(stored_before_us=FAR_FUTURE_US, undelivered_before_us=0, limit=10) == 0
    assert begun == [False, True]
    assert [outgoing.event for outgoing in Outbox(store).next("all", limit=10)] == events


def test_pruning_waits_for_what_is_being_put_back(open_store: Opener) -> None:
    store, other = open_store(ALL), open_store(ALL)
    events = set_aside(store, 3)
    with ThreadPoolExecutor() as pool:
        with other.transaction(is_writing=True) as connection:
            connection.execute(deliveries.update().values(state=WAITING))
            pruning = pool.submit(store.prune, stored_before_us=FAR_FUTURE_US, undelivered_before_us=0, limit=10)
            with pytest.raises(TimeoutError):
                pruning.result(timeout=0.3)
        assert pruning.result(timeout=30) == 0
    assert [outgoing.event for outgoing in Outbox(store).next("all", limit=10)] == events


def test_two_servers_put_back_each_event_once_and_one_of_them_delivers(url: URL) -> None:
    is_mended = threading.Event()
    address = url.render_as_string(hide_password=False)
    with WebhookServer(lambda _: 204 if is_mended.is_set() else 410) as server, ExitStack() as stack:
        settings = EventSettings(database_url=address, webhooks=(webhook_settings(server.url, max_refusals=1),))
        logs = [EventLog(settings, Metrics()) for _ in range(2)]
        for log in logs:
            stack.callback(log.stop, timeout_s=5)
            log.start()
        for number in range(20):
            logs[0].record(make_event(number))
        outbox = Outbox(logs[0].store)
        wait_until(lambda: outbox.status("hook").set_aside == 20)
        ids = list(server.ids)
        is_mended.set()
        with ThreadPoolExecutor() as pool:
            asked = [pool.submit(asyncio.run, log.retry("hook")) for log in logs * 2]
            assert sum(answer.result() for answer in asked) == 20
        wait_until(lambda: outbox.status("hook").waiting == 0)
        assert server.ids[20:] == ids
        assert outbox.status("hook").set_aside == 0


def test_pruning_takes_the_oldest_but_not_what_a_receiver_waits_for(open_store: Opener) -> None:
    store = open_store(ALL)
    store.append([make_event(number) for number in range(4)], {})
    outbox = Outbox(store)
    for outgoing in outbox.next("all", limit=10):
        if outgoing.event.frame_index in (0, 2, 3):
            outbox.confirm(outgoing.seq)
    assert store.prune(stored_before_us=0, undelivered_before_us=0, limit=10) == 0
    assert store.prune(stored_before_us=FAR_FUTURE_US, undelivered_before_us=0, limit=1) == 1
    assert [event.frame_index for event in everything(store)] == [1, 2, 3]
    assert store.prune(stored_before_us=FAR_FUTURE_US, undelivered_before_us=0, limit=10) == 2
    assert [event.frame_index for event in everything(store)] == [1]
    assert store.prune(stored_before_us=FAR_FUTURE_US, undelivered_before_us=FAR_FUTURE_US, limit=10) == 1
    assert outbox.next("all", limit=10) == []


def test_pruned_space_is_given_back(open_store: Opener, url: URL) -> None:
    store = open_store()
    for _ in range(8):
        events = [make_event(number) for number in range(64)]
        store.append(events, {event.id: b"x" * 16_000 for event in events})
    full_bytes = store.used_bytes()
    assert full_bytes > 8_000_000
    while store.prune(stored_before_us=FAR_FUTURE_US, undelivered_before_us=0, limit=50):
        pass
    assert store.used_bytes() < full_bytes / 20
    assert everything(store) == []
    while store.shrink():
        pass
    if url.get_backend_name() == "sqlite":
        with store.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert Path(url.database or "").stat().st_size < full_bytes / 4


def test_the_migrations_lead_to_the_tables(open_store: Opener) -> None:
    store = open_store()
    with store.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_servers_that_start_at_once_do_not_break_the_schema(url: URL) -> None:
    stores = [EventStore(url) for _ in range(4)]
    barrier = threading.Barrier(len(stores))
    failures: list[Exception] = []

    def start(store: EventStore) -> None:
        barrier.wait()
        try:
            store.open()
            store.append([make_event()])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=start, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(everything(stores[0])) == len(stores)
    for store in stores:
        store.close()


def test_a_look_into_a_database_makes_nothing(url: URL) -> None:
    settings = EventSettings(database_url=url.set(drivername=url.get_backend_name()).render_as_string(False))
    assert "at the start" in inspect_database(settings)
    assert "at the start" in inspect_database(settings)
    store = EventStore(url)
    store.open()
    store.append([make_event(1)])
    assert inspect_database(settings).endswith(": schema 0001, of this release")
    assert len(everything(store)) == 1
    store.close()


def test_a_database_of_a_newer_release_is_refused_and_left_alone(open_store: Opener, url: URL) -> None:
    store = open_store()
    store.append([make_event(1)])
    with store.engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9000'"))
    other = EventStore(url)
    with pytest.raises(SchemaError, match="schema version 9000, this release knows up to 0001"):
        other.open()
    other.close()
    assert len(everything(store)) == 1


def test_tables_of_another_program_are_left_alone(url: URL) -> None:
    store = EventStore(url)
    with store.engine.begin() as connection:
        connection.execute(text("CREATE TABLE events (what TEXT)"))
    with pytest.raises(SchemaError, match=r"not Loddis's: events$"):
        store.open()
    store.close()


def test_one_server_at_a_time_delivers_to_a_receiver(open_store: Opener) -> None:
    stores = open_store(), open_store()
    first, second, other = (ReceiverLock(store, name) for store, name in zip((*stores, stores[1]), "aab", strict=True))
    assert first.acquire()
    assert not second.acquire()
    assert other.acquire()
    assert first.acquire()  # it still is
    first.release()
    assert second.acquire()
    assert not first.acquire()
    for lock in (first, second, other):
        lock.release()


def test_the_right_to_deliver_ends_with_the_session_that_held_it(postgresql: str) -> None:
    store = EventStore(EventSettings(database_url=postgresql).url)
    lock, other = ReceiverLock(store, "a"), ReceiverLock(store, "a")
    assert lock.acquire()
    with store.engine.begin() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query <> ''")
        )
    with pytest.raises(StoreUnavailableError):
        lock.acquire()
    assert other.acquire()
    assert not lock.acquire()
    other.release()
    store.close()


def test_a_store_that_is_not_open_says_so(url: URL) -> None:
    store = EventStore(url)
    with pytest.raises(StoreUnavailableError, match="not open"):
        store.append([make_event()])
    store.close()
