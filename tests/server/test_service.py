"""States of a server, and what becomes of requests at their borders."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.types import Receive, Scope, Send

from loddis_runtime.detector import Detector, PreparedFrame
from loddis_runtime.errors import EngineError
from loddis_server.app import create_app
from loddis_server.metrics import Metrics
from loddis_server.middleware import RequestMiddleware
from loddis_server.service import Service
from loddis_server.settings import ServerSettings
from support.frame_files import png_file, spot_frame
from support.live_server import settings_for

TIMEOUT_S = 20.0
PNG = png_file(spot_frame((40, 30)))


@asynccontextmanager
async def running(settings: ServerSettings) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """Run the application without a network in between."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=TIMEOUT_S) as client:
            yield app.state.service, client


def test_nothing_is_ready_before_the_models_are_warm(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warm = threading.Event()
    warm_up = Detector.warm_up

    def held(detector: Detector, batch_sizes: Sequence[int] = (1,)) -> None:
        assert warm.wait(TIMEOUT_S)
        assert list(batch_sizes) == [1, 2, 4, 6]
        warm_up(detector, batch_sizes)

    monkeypatch.setattr(Detector, "warm_up", held)

    async def scenario() -> None:
        async with running(settings_for(repository, max_batch_size=6)) as (service, client):
            assert (await client.get("/livez")).status_code == 200
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()) == (503, {"status": "starting"})
            refused = await client.post("/v1/detect", content=PNG)
            assert refused.json()["type"] == "/problems/not-ready"
            assert refused.headers["retry-after"] == "1"
            listed = (await client.get("/v1/models")).json()
            assert listed["models"] == []
            assert {one["name"]: one["state"] for one in listed["repository"]}["spot"] == "loading"
            early = await client.post("/v1/models/spot/1/load")
            assert early.json()["type"] == "/problems/not-ready"
            assert (await client.get("/v1/models/spot")).json()["type"] == "/problems/not-ready"
            warm.set()
            assert await service.started() == "ready"
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.post("/v1/detect", content=PNG)).status_code == 200

    asyncio.run(scenario())


def test_a_server_that_cannot_start_says_so(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise EngineError("no such device")

    monkeypatch.setattr(Detector, "warm_up", fail)

    async def scenario() -> None:
        async with running(settings_for(repository)) as (service, client):
            assert await service.started() == "failed"
            assert str(service.failure) == "no such device"
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.get("/livez")).status_code == 503

    asyncio.run(scenario())


def test_what_still_waits_at_the_end_is_told(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, may_run = threading.Event(), threading.Event()
    infer = Detector.infer

    def held(detector: Detector, prepared: Sequence[PreparedFrame]) -> NDArray[np.float32]:
        entered.set()
        assert may_run.wait(TIMEOUT_S)
        return infer(detector, prepared)

    async def scenario() -> None:
        async with running(settings_for(repository)) as (service, client):
            await service.started()
            monkeypatch.setattr(Detector, "infer", held)
            first = asyncio.ensure_future(client.post("/v1/detect", content=PNG))
            await asyncio.to_thread(entered.wait, TIMEOUT_S)
            second = asyncio.ensure_future(client.post("/v1/detect", content=PNG))
            while service.pipeline.batcher.depth == 0:
                await asyncio.sleep(0)
            assert not await service.drained(timeout_s=0.01)
            stopping = asyncio.ensure_future(service.stop())
            refused = await second
            assert refused.status_code == 503
            assert refused.json()["type"] == "/problems/not-ready"
            may_run.set()
            assert (await first).status_code == 200
            assert await service.drained(timeout_s=TIMEOUT_S)
            await stopping

    asyncio.run(scenario())


class BrokenApp:
    """An application that fails before or within its answer."""

    def __init__(self, *, answers_first: bool) -> None:
        self._answers_first = answers_first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._answers_first:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError("the password is hunter2")


async def call(app: BrokenApp) -> httpx.Response:
    transport = httpx.ASGITransport(RequestMiddleware(app, metrics=Metrics()), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get("/somewhere")


def test_an_unforeseen_error_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        response = asyncio.run(call(BrokenApp(answers_first=False)))
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "/problems/internal"
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert "hunter2" not in response.text
    (failure,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "hunter2" in str(failure.exc_info)


def test_half_an_answer_is_not_passed_off_as_a_whole_one() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(call(BrokenApp(answers_first=True)))
