"""`/v1/deliveries`: what is seen of storing and delivering, and events set aside that are delivered again."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from loddis_server.events import MqttSettings, WebhookSettings
from support.events import SECRET, Delivered, WebhookServer, make_event, webhook_settings
from support.live_server import LiveServer, settings_for, wait_until

DETECT = {"X-API-Key": "detect-key"}
MANAGE = {"X-API-Key": "manage-key"}
KEYS = ("camera:detect:detect-key", "ops:detect+manage:manage-key")
NEVER_S = 3000.0  # a wait that no test outlasts

Start = Callable[..., "Server"]


class Server(LiveServer):
    """A server with events, asked by those who may."""

    def see(self) -> dict[str, Any]:
        response = httpx.get(f"{self.url}/v1/deliveries", headers=DETECT, trust_env=False, timeout=30)
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        return document

    def see_receiver(self, name: str = "hook") -> dict[str, Any]:
        (found,) = (receiver for receiver in self.see()["receivers"] if receiver["name"] == name)
        return dict(found)

    def retry(self, path: str = "/hook/retry", headers: dict[str, str] = MANAGE) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/deliveries{path}", headers=headers, trust_env=False, timeout=30)

    def record(self, count: int, first: int = 0) -> list[str]:
        events = [make_event(number) for number in range(first, first + count)]
        for event in events:
            self.service.events.record(event)
        return [event.id for event in events]


@pytest.fixture
def start(repository: Path, tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def started(*webhooks: WebhookSettings, **events: Any) -> Server:
            defaults: dict[str, Any] = {"database_url": f"sqlite:///{tmp_path}/events.db", "webhooks": webhooks}
            return stack.enter_context(Server(settings_for(repository, api_keys=KEYS, events={**defaults, **events})))

        yield started


class Moody:
    """Refuses what it is told to, until it is mended."""

    def __init__(self, refused: Callable[[Delivered], bool] = lambda _: True) -> None:
        self.refused = refused
        self.is_mended = False

    def __call__(self, request: Delivered) -> int:
        return 422 if not self.is_mended and self.refused(request) else 204


def test_events_set_aside_reach_a_receiver_that_was_mended_in_order_and_once(start: Start) -> None:
    moody = Moody(lambda request: request.event["frame_index"] % 2 == 1)
    with WebhookServer(moody) as hook:
        server = start(webhook_settings(hook.url, max_refusals=2))
        ids = server.record(6)
        wait_until(lambda: server.see_receiver()["set_aside"] == 3)
        assert hook.ids == [ids[0], ids[1], ids[1], ids[2], ids[3], ids[3], ids[4], ids[5], ids[5]]
        moody.is_mended = True
        already = len(hook.ids)
        assert server.retry().json() == {"put_back": 3}
        wait_until(lambda: len(hook.ids) >= already + 3)
        wait_until(lambda: server.see_receiver()["state"] == "idle")
        assert hook.ids[already:] == [ids[1], ids[3], ids[5]]
        assert server.retry().json() == {"put_back": 0}
        assert server.see_receiver()["set_aside"] == 0
        (last,) = server.record(1, first=6)
        wait_until(lambda: hook.ids[-1] == last)
        assert len(hook.ids) == already + 4


def test_an_event_that_is_refused_again_has_all_its_tries_and_is_set_aside_again(start: Start) -> None:
    with WebhookServer(Moody()) as hook:
        server = start(webhook_settings(hook.url, max_refusals=3))
        (event_id,) = server.record(1)
        wait_until(lambda: server.see_receiver()["set_aside"] == 1)
        assert server.retry().json() == {"put_back": 1}
        wait_until(lambda: server.see_receiver()["set_aside"] == 1 and len(hook.ids) == 6)
        response = httpx.get(f"{server.url}/v1/events/{event_id}", headers=DETECT, trust_env=False)
        assert response.json()["deliveries"] == [
            {"receiver": "hook", "state": "set_aside", "refusals": 3, "reason": "answered 422 Unprocessable Entity"}
        ]


def test_a_retry_does_not_wait_for_the_end_of_a_delay(start: Start) -> None:
    with WebhookServer() as gone:
        port = gone.port
    server = start(webhook_settings(gone.url, retry_min_s=NEVER_S, retry_max_s=NEVER_S))
    ids = server.record(2)
    wait_until(lambda: server.see_receiver()["state"] == "failing")
    with WebhookServer(port=port) as hook:
        assert server.retry("/retry").json() == {"put_back": 0}
        wait_until(lambda: hook.ids == ids)


def test_one_receiver_is_tried_again_and_the_other_left_alone(start: Start) -> None:
    one, other = Moody(), Moody()
    with WebhookServer(one) as first, WebhookServer(other) as second:
        server = start(
            webhook_settings(first.url, max_refusals=1), webhook_settings(second.url, name="other", max_refusals=1)
        )
        ids = server.record(2)
        wait_until(lambda: [receiver["set_aside"] for receiver in server.see()["receivers"]] == [2, 2])
        one.is_mended = other.is_mended = True
        assert server.retry("/other/retry").json() == {"put_back": 2}
        wait_until(lambda: second.ids == ids * 2)
        assert (server.see_receiver()["set_aside"], first.ids) == (2, ids)
        assert server.retry("/retry").json() == {"put_back": 2}
        wait_until(lambda: first.ids == ids * 2)


def test_a_receiver_tells_what_it_is_and_how_it_goes(start: Start) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    answers = iter([204, 503])
    with WebhookServer(lambda _: next(answers)) as hook:
        server = start(
            webhook_settings(f"{hook.url}?token=hush", retry_min_s=NEVER_S, retry_max_s=NEVER_S),
            mqtt=(MqttSettings(name="broker", host="127.0.0.1", port=9, username="u", password="hush"),),
        )
        fresh = server.see_receiver()
        assert (fresh["kind"], fresh["state"], fresh["last_delivered_at"]) == ("webhook", "idle", None)
        server.record(3)
        wait_until(lambda: server.see_receiver()["state"] == "failing")
        wait_until(lambda: server.see()["store"]["kept"] == 3)
    seen = server.see_receiver()
    assert (seen["waiting"], seen["set_aside"], seen["cause"]) == (2, 0, "answered 503 Service Unavailable")
    assert began < datetime.fromisoformat(seen["last_delivered_at"]) <= datetime.fromisoformat(seen["failing_since"])
    assert seen["lag_s"] > 0
    assert server.see()["store"] == {"state": "ok", "kept": 3, "waiting": 0, "dropped": 0}
    assert server.see_receiver("broker")["kind"] == "mqtt"
    shown = str(server.see())
    assert "hush" not in shown
    assert SECRET not in shown


def test_the_time_of_the_first_failure_stays_while_it_fails_and_goes_when_it_works(start: Start) -> None:
    moody = Moody()
    with WebhookServer(lambda request: 503 if moody(request) == 422 else 204) as hook:
        server = start(webhook_settings(hook.url))
        server.record(1)
        wait_until(lambda: server.see_receiver()["state"] == "failing")
        since = server.see_receiver()["failing_since"]
        tries = len(hook.ids)
        wait_until(lambda: len(hook.ids) > tries + 1)
        assert server.see_receiver()["failing_since"] == since
        moody.is_mended = True
        wait_until(lambda: server.see_receiver()["state"] == "idle")
        seen = server.see_receiver()
        assert (seen["cause"], seen["failing_since"]) == (None, None)


def test_events_that_are_on_their_way_are_said_to_be(start: Start) -> None:
    gate = threading.Event()
    with WebhookServer(lambda _: 204 if gate.wait(30) else 500) as hook, ExitStack() as stack:
        stack.callback(gate.set)
        server = start(webhook_settings(hook.url, timeout_s=30))
        server.record(2)
        wait_until(lambda: len(hook.ids) == 1 and server.see_receiver()["waiting"] == 2)
        assert server.see_receiver()["state"] == "delivering"


def test_a_database_that_is_away_is_told_of_and_refuses_retries(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "events.db"
    folder.mkdir()
    events = {"database_url": f"sqlite:///{folder}", "webhooks": (webhook_settings("http://127.0.0.1:9/"),)}
    with Server(settings_for(repository, api_keys=KEYS, events=events)) as server:
        server.record(2)
        store = server.see()["store"]
        assert store == {"state": "unreachable", "kept": None, "waiting": 2, "dropped": 0}
        assert str(folder) not in str(server.see())
        response = server.retry()
        assert response.status_code == 503
        assert response.json()["type"] == "/problems/events-unavailable"
        assert response.headers["retry-after"]


def test_a_locked_database_refuses_a_retry_which_does_its_work_once_it_is_free(start: Start, tmp_path: Path) -> None:
    moody = Moody()
    with WebhookServer(moody) as hook:
        server = start(webhook_settings(hook.url, max_refusals=1), lock_timeout_s=0.05)
        ids = server.record(1)
        wait_until(lambda: server.see_receiver()["set_aside"] == 1)
        moody.is_mended = True
        with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            refusal = server.retry()
            assert (refusal.status_code, refusal.json()["type"]) == (503, "/problems/events-unavailable")
            assert "locked" in refusal.json()["detail"]
            other.execute("ROLLBACK")
        assert server.retry().json() == {"put_back": 1}
        wait_until(lambda: hook.ids == ids * 2)


def test_who_may_not_and_what_cannot_be_is_refused(start: Start) -> None:
    server = start(webhook_settings("http://127.0.0.1:9/"))
    for path in ("/retry", "/hook/retry"):
        assert server.retry(path, headers={}).status_code == 401
        assert server.retry(path, headers=DETECT).status_code == 403
    unknown = server.retry("/nobody/retry")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/unknown-receiver")
    assert "nobody" in unknown.json()["detail"]
    for path, parameter in (("/No%20name/retry", "receiver"), ("/retry?receiver=hook", "receiver")):
        refusal = server.retry(path)
        assert refusal.status_code == 422
        assert refusal.json()["errors"][0]["parameter"] == parameter
    assert httpx.get(f"{server.url}/v1/deliveries", trust_env=False).status_code == 401
    assert httpx.get(f"{server.url}/v1/deliveries?x=1", headers=DETECT, trust_env=False).status_code == 422


def test_a_server_without_receivers_has_none_to_try(start: Start) -> None:
    server = start()
    assert server.see()["receivers"] == []
    assert server.retry("/retry").json() == {"put_back": 0}
