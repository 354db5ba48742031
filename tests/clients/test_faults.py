"""Faults that a real server does not make on demand: full, slow, broken, or something else altogether."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest

from loddis_client import (
    AsyncClient,
    Client,
    ConnectionFailed,
    InternalError,
    LoddisClientError,
    NotFound,
    Overloaded,
    ProtocolError,
    TimedOut,
    UsageError,
    _wire,
)
from loddis_client._retries import LONGEST_PAUSE_S, RetryPolicy

FRAME = np.zeros((4, 4), np.uint8)
ANSWER = {
    "model": {"name": "spot", "version": "1"},
    "frame": {"width": 4, "height": 4, "dtype": "uint8"},
    "detections": [
        {
            "box_xyxy": [0, 0, 1, 1],
            "score": 0.5,
            "class_id": 0,
            "class_name": "t",
            "centroid_xy": [0.5, 0.5],
            "snr": None,
        }
    ],
    "timing_ms": {"total": 1.0},
    "request_id": "r",
    "from_the_future": True,
}
FULL = {"type": "/problems/overloaded", "title": "full", "status": 503, "detail": "the queue is full"}

Handler = Callable[[httpx.Request], httpx.Response]


class Script:
    """Give the answers of a list, one after the other, the last for ever."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


def client(handler: Handler, **options: int) -> Client:
    return Client("http://server/prefix", transport=httpx.MockTransport(handler), **options)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def full(retry_after: str | None = "2") -> httpx.Response:
    return httpx.Response(503, json=FULL, headers={"Retry-After": retry_after} if retry_after else {})


def test_a_full_server_is_tried_again_as_it_asks(no_waiting: list[float]) -> None:
    script = Script(full(), full(), httpx.Response(200, json=ANSWER))
    assert len(client(script, retries=2).detect(FRAME)) == 1
    assert len(no_waiting) == 2
    assert all(2 <= pause <= 3 for pause in no_waiting)


def test_retries_end(no_waiting: list[float]) -> None:
    script = Script(full())
    with pytest.raises(Overloaded, match="the queue is full") as error:
        client(script, retries=1).detect(FRAME)
    assert error.value.retry_after_s == 2.0
    assert script.asked == 2


def test_a_broken_connection_is_tried_again_and_a_time_out_is_not(no_waiting: list[float]) -> None:
    script = Script(httpx.ConnectError("refused"), httpx.Response(200, json=ANSWER))
    assert len(client(script).detect(FRAME)) == 1
    with pytest.raises(ConnectionFailed, match="no connection to http://server/prefix/: refused"):
        client(Script(httpx.ConnectError("refused")), retries=0).detect(FRAME)
    slow = Script(httpx.ReadTimeout("slow"))
    with pytest.raises(TimedOut, match="did not answer in time"):
        client(slow).detect(FRAME)
    assert slow.asked == 1


def test_pauses_grow_and_stay_bounded() -> None:
    policy = RetryPolicy(20)
    pauses = [policy.pause_s(attempt) or 0.0 for attempt in range(20)]
    assert 0.05 <= pauses[0] <= 0.075
    assert pauses[1] >= 0.1
    assert max(pauses) <= LONGEST_PAUSE_S
    assert policy.pause_s(0, retry_after_s=3600.0) == LONGEST_PAUSE_S
    assert policy.pause_s(20) is None


@pytest.mark.parametrize(
    ("response", "error", "message"),
    [
        (
            httpx.Response(502, text="<h1>Bad\n gateway</h1>"),
            InternalError,
            "HTTP 502 Bad Gateway: <h1>Bad gateway</h1>",
        ),
        (httpx.Response(500, json={"title": "Oops"}), InternalError, "Oops"),
        (httpx.Response(404, text=""), NotFound, "HTTP 404 Not Found"),
        (httpx.Response(204), ProtocolError, "status 204 was not expected"),
        (httpx.Response(200, text="hello"), ProtocolError, "it is no JSON"),
        (httpx.Response(200, json=[1]), ProtocolError, "it is no JSON object"),
        (httpx.Response(200, json={}), ProtocolError, "KeyError 'model'"),
        (httpx.Response(200, json=ANSWER | {"detections": [{}]}), ProtocolError, "KeyError 'box_xyxy'"),
    ],
)
def test_strange_answers_are_told_apart(response: httpx.Response, error: type[LoddisClientError], message: str) -> None:
    with pytest.raises(error, match=message):
        client(lambda _: response, retries=0).detect(FRAME)


def test_other_answers_are_checked_too() -> None:
    with pytest.raises(ProtocolError, match="it is no PNG"):
        client(lambda _: httpx.Response(200, text="x")).detect_image(FRAME)
    with pytest.raises(InternalError):
        client(lambda _: httpx.Response(500)).detect_image(FRAME)
    with pytest.raises(ProtocolError, match="KeyError 'models'"):
        client(lambda _: httpx.Response(200, json={})).models()


def test_a_path_prefix_and_the_key_are_kept() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ANSWER)

    with Client("http://server/prefix/", api_key="secret", transport=httpx.MockTransport(handler)) as one:
        result = one.detect(FRAME)
    assert seen[0].url.path == "/prefix/v1/detect"
    assert seen[0].headers["Authorization"] == "Bearer secret"
    assert np.isnan(result.detections[0].snr)
    assert result.to_dict()["frame"] == ANSWER["frame"]


@pytest.mark.parametrize("retry_after", [None, "soon", "-3"])
def test_nonsense_in_retry_after_is_no_reason_to_fail(retry_after: str | None) -> None:
    script = Script(full(retry_after), httpx.Response(200, json=ANSWER))
    assert len(client(script).detect(FRAME)) == 1


def test_the_asynchronous_client_retries_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_pause(_: float) -> None:
        return None

    monkeypatch.setattr(asyncio, "sleep", no_pause)

    async def check(script: Script, retries: int) -> int:
        transport = httpx.MockTransport(script)
        async with AsyncClient("http://server", transport=transport, retries=retries) as one:
            return len(await one.detect(FRAME))

    recovering = Script(full(), httpx.ConnectError("refused"), httpx.Response(200, json=ANSWER))
    assert asyncio.run(check(recovering, 2)) == 1
    with pytest.raises(Overloaded):
        asyncio.run(check(Script(full()), 0))


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, content=b"[" * 200_000),
        httpx.Response(422, content=b"[" * 200_000),
        httpx.Response(200, json=ANSWER | {"frame": {"width": 1, "height": 1, "dtype": "uint8"}, "timing_ms": 3}),
        httpx.Response(200, content=json.dumps(ANSWER).replace('"width": 4', '"width": 1e999').encode()),
        httpx.Response(500, content=b"x" * 5000, headers={"Content-Type": "text/html; charset=hex"}),
        httpx.Response(500, content=b"\xff\xfe", headers={"Content-Type": "text/html; charset=undefined"}),
        httpx.Response(299, content=b"?"),
    ],
)
def test_garbage_ends_in_the_clients_own_errors(response: httpx.Response) -> None:
    with pytest.raises(LoddisClientError):
        client(lambda _: response, retries=0).detect(FRAME)


class Dripping(httpx.SyncByteStream):
    """A body that comes in pieces, for ever."""

    def __init__(self, piece: bytes, pause_s: float) -> None:
        self.piece, self.pause_s, self.closed = piece, pause_s, False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            time.sleep(self.pause_s)
            yield self.piece

    def close(self) -> None:
        self.closed = True


def test_an_answer_that_drips_is_not_waited_for() -> None:
    body = Dripping(b" ", 0.02)
    with pytest.raises(TimedOut):
        client(lambda _: httpx.Response(200, stream=body), retries=0, timeout_s=0.2).detect(FRAME)
    assert body.closed


def test_an_answer_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wire, "LARGEST_ANSWER", 2**20)
    body = Dripping(bytes(2**16), 0)
    with pytest.raises(ProtocolError, match="without end"):
        client(lambda _: httpx.Response(200, stream=body), retries=0).detect(FRAME)
    assert body.closed


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1",
        "http://host:abc",
        "http://a..b",
        "http://xn--",
        "http://u:p@host",
        "http://host/?x=1",
        "http://host/#x",
    ],
)
def test_urls_that_cannot_be_are_refused_at_once(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Client(url)
    assert ":p@" not in str(caught.value)


def test_a_closed_client_says_so() -> None:
    one = client(lambda _: httpx.Response(200, json=ANSWER))
    one.close()
    with pytest.raises(UsageError, match="closed"):
        one.detect(FRAME)
    assert one.ready() is False
