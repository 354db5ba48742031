"""Delivery by webhook, to a real receiver that is down, slow, broken, or does not want what it gets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from loddis_server.events import Event, EventLog, EventSettings, WebhookSettings, courier
from loddis_server.events.courier import ReceiverStatus
from loddis_server.metrics import Metrics
from support.events import SECRET, Delivered, WebhookServer, make_event, webhook_settings
from support.live_server import wait_until

Opener = Callable[..., EventLog]

NEVER_S = 3000.0  # a wait that no test outlasts


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def start_log(tmp_path: Path, metrics: Metrics) -> Iterator[Opener]:
    with ExitStack() as stack:

        def started(*webhooks: WebhookSettings) -> EventLog:
            settings = EventSettings(database_url=f"sqlite:///{tmp_path}/events.db", webhooks=webhooks)
            log = EventLog(settings, metrics)
            stack.callback(log.stop, timeout_s=5)
            log.start()
            return log

        yield started


def record(log: EventLog, events: Sequence[Event]) -> list[str]:
    for event in events:
        log.record(event)
    return [event.id for event in events]


def status(log: EventLog) -> ReceiverStatus:
    (found,) = log.status.receivers
    return found


def delivered(metrics: Metrics, name: str = "hook") -> float:
    return metrics.registry.get_sample_value("loddis_events_delivered_total", {"receiver": name}) or 0.0


def test_a_message_is_what_the_scheme_says(start_log: Opener, metrics: Metrics) -> None:
    other = "whsec_" + base64.b64encode(b"the key that is on its way out").decode()
    with WebhookServer() as server:
        log = start_log(webhook_settings(server.url, secrets=(SECRET, other)))
        event = make_event(3)
        record(log, [event])
        wait_until(lambda: delivered(metrics) == 1)
    (request,) = server.requests
    assert request.path == "/hook"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == event.id
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60
    content = f"{event.id}.{request.headers['webhook-timestamp']}.".encode() + request.body
    for secret, signature in zip((SECRET, other), request.headers["webhook-signature"].split(" "), strict=True):
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        assert signature == f"v1,{expected}"
    body = json.loads(request.body)
    assert set(body) == {"type", "timestamp", "data"}
    assert body["type"] == "track.confirmed"
    assert body["timestamp"] == "2025-11-02T04:00:03Z"
    assert Event.model_validate(body["data"]) == event


def test_events_come_in_order_and_once_though_the_receiver_fails_now_and_then(
    start_log: Opener, metrics: Metrics
) -> None:
    answers = iter([500, 503, 204, 429, 408, 204] + [204] * 100)
    with WebhookServer(lambda _: next(answers)) as server:
        log = start_log(webhook_settings(server.url))
        ids = record(log, [make_event(number) for number in range(20)])
        wait_until(lambda: delivered(metrics) == 20)
    assert server.ids == [ids[0]] * 3 + [ids[1]] * 3 + ids[2:]


def test_what_happens_while_a_receiver_is_down_reaches_it_later(start_log: Opener, metrics: Metrics) -> None:
    with WebhookServer() as server:
        port = server.port
    log = start_log(webhook_settings(server.url))
    ids = record(log, [make_event(number) for number in range(5)])
    wait_until(lambda: status(log).state == "failing" and status(log).waiting == 5)
    assert status(log).reason
    assert status(log).lag_s > 0
    with WebhookServer(port=port) as server:
        wait_until(lambda: delivered(metrics) == 5)
        wait_until(lambda: status(log).waiting == 0)
    assert server.ids == ids
    assert status(log).state == "ok"
    assert status(log).lag_s == 0


def test_an_event_that_is_refused_is_set_aside_with_its_reason(start_log: Opener, metrics: Metrics) -> None:
    events = [make_event(number) for number in range(3)]
    bad = events[1].id
    with WebhookServer(lambda request: 422 if request.headers["webhook-id"] == bad else 200) as server:
        log = start_log(webhook_settings(server.url, max_refusals=3))
        ids = record(log, events)
        wait_until(lambda: delivered(metrics) == 2)
    assert server.ids == [ids[0], bad, bad, bad, ids[2]]
    found = log.store.get(bad)
    assert found is not None
    (delivery,) = found[1]
    assert (delivery.receiver, delivery.state, delivery.refusals) == ("hook", "set_aside", 3)
    assert delivery.reason == "answered 422 Unprocessable Entity"
    assert metrics.registry.get_sample_value("loddis_events_set_aside_total", {"receiver": "hook"}) == 1
    wait_until(lambda: status(log).set_aside == 1)
    assert log.store.get(ids[0]) == (events[0], ())


def test_redirects_lead_nowhere(start_log: Opener) -> None:
    with (
        WebhookServer() as elsewhere,
        WebhookServer(lambda _: 307, headers=[("Location", elsewhere.url)]) as server,
    ):
        log = start_log(webhook_settings(server.url, max_refusals=1))
        (event_id,) = record(log, [make_event()])
        wait_until(lambda: status(log).set_aside == 1)
    assert elsewhere.requests == []
    found = log.store.get(event_id)
    assert found is not None
    assert "redirects are not followed" in (found[1][0].reason or "")


def test_no_proxy_of_the_environment_gets_events(
    start_log: Opener, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WebhookServer() as proxy, WebhookServer() as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        log = start_log(webhook_settings(server.url))
        record(log, [make_event()])
        wait_until(lambda: delivered(metrics) == 1)
    assert proxy.requests == []


def test_a_slow_receiver_is_given_up_on_and_tried_again(start_log: Opener, metrics: Metrics) -> None:
    ended = threading.Event()
    slow = iter([True])

    def answer(_: Delivered) -> int:
        if next(slow, False):
            ended.wait(30)
        return 200

    with WebhookServer(answer) as server:
        log = start_log(webhook_settings(server.url, timeout_s=0.1))
        ids = record(log, [make_event()])
        wait_until(lambda: delivered(metrics) == 1)
        assert server.ids == ids * 2
        ended.set()


def test_a_slow_receiver_holds_no_other_up(start_log: Opener, metrics: Metrics) -> None:
    ended = threading.Event()
    with (
        WebhookServer(lambda _: 200 if ended.wait(30) else 500) as slow,
        WebhookServer() as quick,
    ):
        log = start_log(
            webhook_settings(slow.url, name="slow", timeout_s=30), webhook_settings(quick.url, name="quick")
        )
        ids = record(log, [make_event(number) for number in range(10)])
        wait_until(lambda: delivered(metrics, "quick") == 10)
        assert quick.ids == ids
        assert len(slow.requests) <= 1
        ended.set()
        wait_until(lambda: delivered(metrics, "slow") == 10)


def test_a_receiver_gets_the_kinds_it_wants(start_log: Opener, metrics: Metrics) -> None:
    with WebhookServer() as server:
        log = start_log(webhook_settings(server.url, kinds=["health", "source"]))
        events = [make_event(kind=kind) for kind in ("health", "drift", "source", "track.ended", "health")]
        record(log, events)
        wait_until(lambda: delivered(metrics) == 3)
    assert server.ids == [events[0].id, events[2].id, events[4].id]


@pytest.mark.parametrize("waits", ["1", "Fri, 31 Dec 2199 23:59:59 GMT", "soon"])
def test_retry_after_is_kept_up_to_the_longest_wait(start_log: Opener, metrics: Metrics, waits: str) -> None:
    answers = iter([503])
    times: list[float] = []

    def answer(_: Delivered) -> int:
        times.append(time.monotonic())
        return next(answers, 200)

    with WebhookServer(answer, headers=[("Retry-After", waits)]) as server:
        log = start_log(webhook_settings(server.url, retry_max_s=0.4))
        record(log, [make_event()])
        wait_until(lambda: delivered(metrics) == 1)
    assert (times[1] - times[0] >= 0.4) == (waits != "soon")


def test_a_locked_database_repeats_no_delivery(start_log: Opener, metrics: Metrics, tmp_path: Path) -> None:
    locks: list[sqlite3.Connection] = []

    def answer(_: Delivered) -> int:
        if not locks:  # between delivery and confirmation
            connection = sqlite3.connect(tmp_path / "events.db", isolation_level=None, check_same_thread=False)
            connection.execute("BEGIN IMMEDIATE")
            locks.append(connection)
        return 200

    with WebhookServer(answer) as server:
        settings = EventSettings(
            database_url=f"sqlite:///{tmp_path}/events.db",
            webhooks=(webhook_settings(server.url),),
            lock_timeout_s=0.05,
        )
        log = EventLog(settings, metrics)
        log.start()
        ids = record(log, [make_event()])
        wait_until(lambda: len(locks) == 1)
        log.record(make_event(1))
        wait_until(lambda: log.status.store.state == "locked")
        assert server.ids == ids
        with closing(locks[0]):
            locks[0].execute("ROLLBACK")
        wait_until(lambda: delivered(metrics) == 2)
        assert log.stop(timeout_s=5)
    assert len(server.ids) == 2


def test_the_end_waits_for_the_delivery_under_way_and_no_longer(start_log: Opener, metrics: Metrics) -> None:
    ended = threading.Event()
    with WebhookServer(lambda _: 200 if ended.wait(30) else 500) as server:
        log = start_log(webhook_settings(server.url, timeout_s=60))
        ids = record(log, [make_event(number) for number in range(3)])
        wait_until(lambda: len(server.requests) == 1)
        began = time.monotonic()
        assert log.stop(timeout_s=0.2)
        assert time.monotonic() - began < 10
        assert log.is_finished
        ended.set()
        again = start_log(webhook_settings(server.url))
        wait_until(lambda: delivered(metrics) == 3)
        assert again.status.store.dropped == 0
    assert server.ids == [ids[0], *ids]


def test_secrets_are_shown_nowhere(start_log: Opener, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level("DEBUG", logger="loddis_server")
    settings = webhook_settings("http://127.0.0.1:9/hook?token=hush")
    log = start_log(settings)
    record(log, [make_event()])
    wait_until(lambda: status(log).state == "failing")
    log.stop(timeout_s=5)
    written = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert "delivery failed" in written
    assert "hush" not in written
    assert SECRET not in written + repr(settings) + settings.model_dump_json()


def test_of_two_servers_with_one_database_one_delivers_and_the_other_takes_over(
    start_log: Opener, metrics: Metrics
) -> None:
    with WebhookServer() as server:
        first, second = start_log(webhook_settings(server.url)), start_log(webhook_settings(server.url))
        ids = [record(log, [make_event(number)])[0] for number, log in enumerate([first, second] * 10)]
        wait_until(lambda: len(server.ids) == 20)
        assert sorted(server.ids) == sorted(ids)
        assert {status(first).state, status(second).state} == {"ok", "standby"}
        holder, other = (first, second) if status(second).state == "standby" else (second, first)
        holder.stop(timeout_s=5)
        last = record(other, [make_event(20)])
        wait_until(lambda: server.ids[20:] == last)


def refuses_then_fails(refused: str, mended: threading.Event) -> Callable[[Delivered], int]:
    """Answer as a receiver that does not want one event, then breaks down, until it is mended."""
    return lambda request: 204 if mended.is_set() else 422 if request.headers["webhook-id"] == refused else 503


def test_a_delay_ends_once_another_server_has_put_events_back(
    start_log: Opener, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "IDLE_S", 0.05)
    events, mended = [make_event(number) for number in range(3)], threading.Event()
    with WebhookServer(refuses_then_fails(events[0].id, mended)) as server:
        settings = webhook_settings(server.url, max_refusals=1, retry_min_s=NEVER_S, retry_max_s=NEVER_S)
        first = start_log(settings)
        wait_until(lambda: status(first).state == "ok")
        second = start_log(settings)
        wait_until(lambda: status(second).state == "standby")
        ids = record(first, events)
        wait_until(lambda: status(first).state == "failing" and status(first).set_aside == 1)
        tried = server.ids
        mended.set()
        assert asyncio.run(second.retry("hook")) == 1
        wait_until(lambda: delivered(metrics) == 3)
        assert server.ids == [*tried, *ids]
        assert status(second).state == "standby"


def test_a_delay_does_not_begin_where_another_server_has_put_events_back_meanwhile(
    start_log: Opener, metrics: Metrics
) -> None:
    events, mended = [make_event(number) for number in range(2)], threading.Event()
    others: list[EventLog] = []
    answers = refuses_then_fails(events[0].id, mended)

    def answer(request: Delivered) -> int:
        status_code = answers(request)
        if status_code == 503:
            mended.set()
            asyncio.run(others[0].retry("hook"))
        return status_code

    with WebhookServer(answer) as server:
        settings = webhook_settings(server.url, max_refusals=1, retry_min_s=NEVER_S, retry_max_s=NEVER_S)
        first = start_log(settings)
        wait_until(lambda: status(first).state == "ok")
        others.append(start_log(settings))
        wait_until(lambda: status(others[0]).state == "standby")
        ids = record(first, events)
        wait_until(lambda: delivered(metrics) == 2)
        assert server.ids == [*ids, *ids]


def test_a_delay_in_which_nothing_is_put_back_is_kept(
    start_log: Opener, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "IDLE_S", 0.01)
    events = [make_event(number) for number in range(3)]
    with WebhookServer(refuses_then_fails(events[0].id, threading.Event())) as server:
        log = start_log(webhook_settings(server.url, max_refusals=1, retry_min_s=NEVER_S, retry_max_s=NEVER_S))
        record(log, events[:2])
        wait_until(lambda: status(log).state == "failing" and status(log).waiting == 1)
        record(log, events[2:])
        wait_until(lambda: status(log).waiting == 2)  # counted anew during the delay
        assert len(server.ids) == 2
