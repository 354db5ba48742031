"""WebSockets that are refused stand in the log and the metrics as refused requests do, and nowhere else."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from loddis_server.routes import stream_frames
from support.live_server import LiveServer, settings_for, wait_until

KEY = {"X-API-Key": "secret"}
ROUTE = "/v1/streams/{stream_id}/frames"


@pytest.fixture(scope="module")
def guarded(repository: Path) -> Iterator[LiveServer]:
    settings = settings_for(repository, api_key=SecretStr("secret"), streams={"max_streams": 1})
    with LiveServer(settings) as server:
        yield server


def refused(server: LiveServer, path: str, headers: dict[str, str]) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as raised:
        connect(f"{server.url.replace('http', 'ws')}{path}", proxy=None, additional_headers=headers)
    return raised.value


def count(server: LiveServer, route: str, status: int) -> float:
    text = httpx.get(f"{server.url}/metrics", headers=KEY, trust_env=False).text
    name = f'loddis_requests_total{{method="WEBSOCKET",route="{route}",status="{status}"}} '
    return next((float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name)), 0.0)


@pytest.mark.parametrize(
    ("path", "headers", "route", "status"),
    [
        ("/v1/streams/a/frames", {}, ROUTE, 401),
        ("/v1/streams/only/frames?model=no", KEY, ROUTE, 409),
        ("/v1/streams/a/frames?width=x", KEY, ROUTE, 422),
        ("/v1/streams/full/frames", KEY, ROUTE, 429),
        ("/nowhere", KEY, "unmatched", 403),
    ],
)
def test_a_refused_websocket_is_logged_and_counted_as_a_request(
    guarded: LiveServer,
    caplog: pytest.LogCaptureFixture,
    path: str,
    headers: dict[str, str],
    route: str,
    status: int,
) -> None:
    guarded.service.streams.open("only")
    before = count(guarded, route, status)
    with caplog.at_level(logging.INFO):
        response = refused(guarded, path, {"X-Request-Id": "asked", **headers}).response
        wait_until(lambda: not guarded.server.server_state.tasks)
    assert response.status_code == status
    if status != 403:
        assert json.loads(response.body or b"")["request_id"] == response.headers["X-Request-Id"] == "asked"
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    (record,) = [record for record in caplog.records if record.name == "loddis_server.middleware"]
    fields = record.__dict__
    assert (record.getMessage(), record.levelno) == ("request", logging.INFO)
    assert (fields["method"], fields["path"], fields["status"]) == ("WEBSOCKET", path.split("?")[0], status)
    assert fields["duration_ms"] > 0
    assert fields.get("key") == ("api-key" if status in (409, 429) else None)
    assert count(guarded, route, status) == before + 1


def test_an_accepted_websocket_is_counted_once(guarded: LiveServer, caplog: pytest.LogCaptureFixture) -> None:
    guarded.service.streams.open("only")
    before = count(guarded, ROUTE, 101)
    address = f"{guarded.url.replace('http', 'ws')}/v1/streams/only/frames"
    with (
        caplog.at_level(logging.DEBUG, logger="loddis_server.middleware"),
        connect(address, proxy=None, additional_headers=KEY) as socket,
    ):
        for _ in range(2):
            socket.send(b"no frame")
            assert json.loads(socket.recv(timeout=10))["type"] == "problem"
    wait_until(lambda: not guarded.server.server_state.tasks)
    assert count(guarded, ROUTE, 101) == before + 1
    noted = [record for record in caplog.records if record.__dict__.get("method") == "WEBSOCKET"]
    assert [(record.levelno, record.__dict__["status"]) for record in noted] == [(logging.DEBUG, 101)]


def test_a_fault_before_a_websocket_opens_is_answered_and_logged_once(
    guarded: LiveServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(stream_frames, "authorise", broken)
    response = refused(guarded, "/v1/streams/a/frames", KEY).response
    assert (response.status_code, json.loads(response.body or b"")["type"]) == (500, "/problems/internal")
    wait_until(lambda: not guarded.server.server_state.tasks)
    (fault,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert (fault.name, fault.__dict__["path"]) == ("loddis_server.middleware", "/v1/streams/a/frames")
