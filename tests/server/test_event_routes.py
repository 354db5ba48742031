"""`/v1/events`, over HTTP."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from loddis_server.events import Event, EventSettings, thumbnail_png
from support.events import START, make_event, webhook_settings
from support.live_server import LiveServer, settings_for, wait_until

PNG = thumbnail_png(np.full((80, 80), 9, np.uint8), (30, 30, 34, 34))
EVENTS = [
    make_event(0, stream_id="south"),
    make_event(1, kind="track.ended", score=0.4),
    make_event(2, kind="health", score=None, frame_index=None, payload={"began": ["frozen"]}),
    make_event(3),
]


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Give a server with four events, the last one with a thumbnail, and a receiver that is down."""
    events = EventSettings(
        database_url=f"sqlite:///{tmp_path_factory.mktemp('events')}/events.db",
        webhooks=(webhook_settings("http://127.0.0.1:9/", kinds=["health"]),),
    )
    with LiveServer(settings_for(repository, events=events)) as server:
        for event in EVENTS:
            server.service.events.record(event, PNG if event is EVENTS[-1] else None)
        wait_until(lambda: server.service.events.status.store.waiting == 0)
        yield server


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        yield client


def found(client: httpx.Client, **parameters: Any) -> list[int]:
    """Give which of `EVENTS` an answer holds."""
    response = client.get("/v1/events", params=parameters)
    assert response.status_code == 200, response.text
    ids = [event.id for event in EVENTS]
    return [ids.index(event["id"]) for event in response.json()["events"]]


def test_an_event_comes_as_it_went_in(client: httpx.Client) -> None:
    newest = client.get("/v1/events").json()["events"][0]
    assert Event.model_validate(newest) == EVENTS[3].model_copy(update={"has_thumbnail": True})
    assert newest["occurred_at"] == "2025-11-02T04:00:03Z"


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ({}, [3, 2, 1, 0]),
        ({"order": "oldest"}, [0, 1, 2, 3]),
        ({"stream_id": "south"}, [0]),
        ({"stream_id": "west"}, []),
        ({"kind": "health"}, [2]),
        ({"kind": ["health", "track.ended"]}, [2, 1]),
        ({"since": "2025-11-02T04:00:02Z"}, [3, 2]),
        ({"until": "2025-11-02T04:00:02Z"}, [1, 0]),
        ({"since": "2025-11-02T05:00:01+01:00", "until": "2025-11-02T03:00:03-01:00"}, [2, 1]),
        ({"min_score": 0.4}, [3, 1, 0]),
        ({"min_score": 0.41, "stream_id": "north-mast"}, [3]),
        ({"limit": 2}, [3, 2]),
    ],
)
def test_events_are_found_by_what_they_are(client: httpx.Client, parameters: dict[str, Any], wanted: list[int]) -> None:
    assert found(client, **parameters) == wanted


def test_pages_end_with_the_newest_first(client: httpx.Client) -> None:
    first = client.get("/v1/events", params={"limit": 2}).json()
    second = client.get("/v1/events", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    ids = [event["id"] for page in (first, second) for event in page["events"]]
    assert ids == [event.id for event in reversed(EVENTS)]
    assert second["next_cursor"] is None


def test_the_oldest_first_is_followed_without_end(client: httpx.Client, server: LiveServer) -> None:
    parameters: dict[str, Any] = {"order": "oldest", "stream_id": "followed"}
    assert client.get("/v1/events", params=parameters).json() == {"events": [], "next_cursor": None}
    seen = []
    for number in range(3):
        event = make_event(number, stream_id="followed")
        server.service.events.store.append([event])
        page = client.get("/v1/events", params=parameters).json()
        seen += [found["id"] for found in page["events"]]
        assert seen[-1] == event.id
        parameters["cursor"] = page["next_cursor"]
        nothing_yet = client.get("/v1/events", params=parameters).json()
        assert nothing_yet == {"events": [], "next_cursor": page["next_cursor"]}
    assert len(seen) == 3
    with server.service.events.store.transaction(is_writing=True) as connection:
        connection.exec_driver_sql("DELETE FROM events WHERE stream_id = 'followed'")


def test_an_event_tells_whom_it_has_yet_to_reach(client: httpx.Client) -> None:
    detail = client.get(f"/v1/events/{EVENTS[2].id}").json()
    assert detail["event"]["payload"] == {"began": ["frozen"]}
    assert detail["deliveries"] == [{"receiver": "hook", "state": "waiting", "refusals": 0, "reason": None}]
    assert client.get(f"/v1/events/{EVENTS[0].id}").json()["deliveries"] == []


def test_a_thumbnail_is_a_picture(client: httpx.Client) -> None:
    response = client.get(f"/v1/events/{EVENTS[3].id}/thumbnail")
    assert response.headers["content-type"] == "image/png"
    assert response.content == PNG
    assert "immutable" in response.headers["cache-control"]


def test_what_is_not_there_is_said_apart(client: httpx.Client) -> None:
    unknown = make_event().id
    for path, slug in (
        (f"/v1/events/{unknown}", "unknown-event"),
        (f"/v1/events/{unknown}/thumbnail", "unknown-event"),
        (f"/v1/events/{EVENTS[0].id}/thumbnail", "no-thumbnail"),
    ):
        response = client.get(path)
        assert response.status_code == 404
        assert response.json()["type"] == f"/problems/{slug}"


def cursor_of(*place: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).rstrip(b"=").decode()


CURSOR = cursor_of("newest", 1, EVENTS[0].id)


def test_a_cursor_is_what_these_tests_take_it_for(client: httpx.Client) -> None:
    assert found(client, cursor=cursor_of("newest", 1762056002000000, EVENTS[2].id)) == [1, 0]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("since=1762056000", "since"),
        ("until=0.5", "until"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=2", "limit"),
        ("since=yesterday", "since"),
        ("since=2025-11-02T04:00:00", "since"),  # of which clock?
        ("min_score=1.5", "min_score"),
        ("min_score=nan", "min_score"),
        ("kind=track", "kind"),
        ("kind=health&kind=", "kind"),
        ("stream_id=", "stream_id"),
        ("stream_id=a%00b", "stream_id"),
        ("order=best", "order"),
        ("strean_id=south", "strean_id"),
        ("cursor=", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=%C3%A4%C3%B6", "cursor"),
        (f"cursor={CURSOR}=", "cursor"),
        (f"cursor={CURSOR}&order=oldest", "cursor"),
        (f"cursor={cursor_of('newest', 2**63, EVENTS[0].id)}", "cursor"),
        (f"cursor={cursor_of('newest', True, EVENTS[0].id)}", "cursor"),
        (f"cursor={cursor_of('best', 1, EVENTS[0].id)}", "cursor"),
        (f"cursor={cursor_of('newest', 1, 'x')}", "cursor"),
        (f"cursor={cursor_of('newest', 1)}", "cursor"),
        (f"cursor={cursor_of([])}", "cursor"),
    ],
)
def test_what_cannot_be_asked_is_said(client: httpx.Client, query: str, parameter: str) -> None:
    response = client.get(f"/v1/events?{query}")
    assert response.status_code == 422
    document = response.json()
    assert document["type"] == "/problems/bad-parameter"
    assert document["errors"][0]["parameter"] == parameter


@pytest.mark.parametrize("event_id", ["1", "a%00b", "x" * 5000, EVENTS[0].id.upper(), f"{EVENTS[0].id}%0A"])
def test_what_is_no_id_is_refused(client: httpx.Client, event_id: str) -> None:
    response = client.get(f"/v1/events/{event_id}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] == "event_id"


def test_times_at_the_ends_of_the_calendar_are_taken(client: httpx.Client) -> None:
    assert found(client, since="0001-01-01T00:00:00+14:00", until="9999-12-31T23:59:59-14:00") == [3, 2, 1, 0]


def test_events_need_the_key(repository: Path) -> None:
    with LiveServer(settings_for(repository, api_key="a-long-enough-secret")) as server:
        for path in ("", f"/{EVENTS[0].id}", f"/{EVENTS[0].id}/thumbnail"):
            assert httpx.get(f"{server.url}/v1/events{path}", trust_env=False).status_code == 401


def test_a_database_that_does_not_work_is_said_and_detection_goes_on(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "events.db"
    folder.mkdir()
    with LiveServer(settings_for(repository, events={"database_url": f"sqlite:///{folder}"})) as server:
        response = httpx.get(f"{server.url}/v1/events", trust_env=False)
        assert response.status_code == 503
        assert response.json()["type"] == "/problems/events-unavailable"
        assert response.headers["retry-after"]
        assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200


def test_events_outlast_the_server(repository: Path, tmp_path: Path) -> None:
    settings = settings_for(repository, events={"database_url": f"sqlite:///{tmp_path}/events.db"})
    event = make_event(occurred_at=START + timedelta(microseconds=1))
    with LiveServer(settings) as server:
        server.service.events.record(event)
    with LiveServer(settings) as server:
        page = httpx.get(f"{server.url}/v1/events", trust_env=False).json()
    assert [Event.model_validate(each) for each in page["events"]] == [event]


def test_openapi_describes_everything_that_can_be_asked(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    parameters = {each["name"]: each for each in document["paths"]["/v1/events"]["get"]["parameters"]}
    assert set(parameters) == {"stream_id", "kind", "since", "until", "min_score", "order", "limit", "cursor"}
    assert all(parameter["description"] for parameter in parameters.values())
    schemas = document["components"]["schemas"]
    for name in ("Event", "EventPage", "EventDetail", "EventDelivery"):
        assert all(field.get("description") or "$ref" in field for field in schemas[name]["properties"].values()), name
    Event.model_validate(schemas["Event"]["examples"][0])


def test_queries_that_wait_for_the_database_keep_nothing_else_waiting(
    server: LiveServer, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    query = server.service.events.store.query

    def locked(*arguments: Any, **options: Any) -> Any:
        assert released.wait(30)
        return query(*arguments, **options)

    monkeypatch.setattr(server.service.events.store, "query", locked)
    with ThreadPoolExecutor(40) as pool:
        waiting = [pool.submit(client.get, "/v1/events") for _ in range(40)]
        try:
            assert client.get("/v1/models").status_code == 200  # which looks into the repository, on a thread too
            assert not any(answer.done() for answer in waiting)
        finally:
            released.set()
        assert {answer.result().status_code for answer in waiting} == {200}
