"""Both clients against the real server."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_client import (
    AsyncClient,
    BadRequest,
    Client,
    ConnectionFailed,
    DetectionResult,
    FrameError,
    FrameRejected,
    LoddisClientError,
    ModelNotFound,
    Unauthorised,
    UsageError,
)
from support.bundles import write_spot_bundle
from support.domains import spot_frame
from support.frame_files import tiff_file
from support.live_server import LiveServer, settings_for, wait_until

PLACES = [(20.5 + 6 * i, 20.5 + 2 * i) for i in range(8)]


def frames() -> list[NDArray[np.uint8]]:
    return [spot_frame(place, seed=i) for i, place in enumerate(PLACES)]


def assert_found(result: object, place: tuple[float, float]) -> None:
    assert isinstance(result, DetectionResult)
    assert np.abs(np.array(result.detections[0].centroid_xy) - place).max() < 1


def test_a_frame_is_detected_however_it_is_given(server: LiveServer, frame: NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / "frame.png"
    cv2.imwrite(str(path), frame)
    with Client(server.url) as client:
        for given in (frame, path, str(path), path.read_bytes(), frame.astype(np.uint16) * 257, frame / 255):
            result = client.detect(given)
            assert_found(result, (40.5, 30.5))
            assert (result.width, result.height) == (96, 64)
            assert result.model_name == "spot"
            assert set(result.timing_ms) == {"decode", "prepare", "queue", "infer", "finish", "total"}
            assert result.request_id
            assert result.boxes_xyxy == tuple(d.box_xyxy for d in result.detections)
            assert len(result) == len(result.detections)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_file_in_bigtiff_is_detected(server: LiveServer, frame: NDArray[np.uint8], byteorder: str) -> None:
    with Client(server.url) as client:
        assert_found(client.detect(tiff_file(frame, bigtiff=True, byteorder=byteorder)), (40.5, 30.5))


def test_parameters_reach_the_server(server: LiveServer, frame: NDArray[np.uint8]) -> None:
    with Client(server.url, model="spot:1") as client:
        assert len(client.detect(frame, score_threshold=1.0)) == 0
        assert len(client.detect(frame, score_threshold=0.0, max_detections=1)) == 1
        picture = cv2.imdecode(np.frombuffer(client.detect_image(frame), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape[2] == 3
        (model,) = client.models()
        assert (model.name, model.version, model.state, model.default) == ("spot", "1", "ready", True)
        assert model.details["classes"] == ["target"]
        assert client.ready()


def test_many_frames_come_back_in_order(server: LiveServer) -> None:
    with Client(server.url) as client:
        for place, result in zip(PLACES, client.detect_many(frames(), concurrency=3), strict=True):
            assert_found(result, place)
        unordered = list(client.detect_many(frames(), concurrency=3, ordered=False))
        assert len(unordered) == len(PLACES)


def test_an_endless_source_is_drawn_no_further_than_needed(server: LiveServer, frame: NDArray[np.uint8]) -> None:
    drawn = 0

    def endless() -> Iterator[NDArray[np.uint8]]:
        nonlocal drawn
        while True:
            drawn += 1
            yield frame

    with Client(server.url) as client:
        results = client.detect_many(endless(), concurrency=3)
        taken = list(itertools.islice(results, 5))
        assert len(taken) == 5
        assert drawn <= 5 + 3
        results.close()  # type: ignore[attr-defined]
    wait_until(lambda: not any(thread.name.startswith("loddis-client") for thread in threading.enumerate()))


def test_a_frame_that_fails_is_raised_or_given_in_its_place(server: LiveServer) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    mixed: list[Any] = [*frames()[:2], colour, frames()[3]]
    with Client(server.url) as client:
        results = client.detect_many(mixed, concurrency=2)
        assert_found(next(results), PLACES[0])
        assert_found(next(results), PLACES[1])
        with pytest.raises(FrameError, match="true colour"):
            next(results)
        given = list(client.detect_many(mixed, concurrency=2, on_error="yield"))
        assert isinstance(given[2], LoddisClientError)
        assert_found(given[3], PLACES[3])


def test_an_error_of_the_source_comes_through(server: LiveServer, frame: NDArray[np.uint8]) -> None:
    def broken() -> Iterator[NDArray[np.uint8]]:
        yield frame
        raise RuntimeError("the camera fell over")

    with Client(server.url) as client, pytest.raises(RuntimeError, match="the camera fell over"):
        list(client.detect_many(broken()))


def test_the_servers_refusals_have_types(server: LiveServer, frame: NDArray[np.uint8]) -> None:
    with Client(server.url) as client:
        with pytest.raises(ModelNotFound) as unknown:
            client.detect(frame, model="nothing")
        assert unknown.value.problem.slug == "unknown-model"
        assert unknown.value.problem.status == 404
        with pytest.raises(FrameRejected) as rejected:
            client.detect(np.full((4, 4), np.nan, np.float32))
        assert rejected.value.problem.slug == "bad-frame"
        ok, png = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (64, 96)).astype(np.uint8))
        assert ok
        with pytest.raises(FrameRejected) as cut:
            client.detect(png.tobytes()[:-200])
        assert cut.value.problem.slug == "truncated-image"
        with pytest.raises(BadRequest):
            client.detect(frame, max_detections=10**9)
        assert_found(client.detect(frame), (40.5, 30.5))


def test_calls_that_make_no_sense_are_refused_before_anything_is_sent(server: LiveServer) -> None:
    for url in ("127.0.0.1:8080", "ftp://host", "http://", ""):
        with pytest.raises(UsageError, match="base_url must be"):
            Client(url)
    with pytest.raises(UsageError, match="timeout_s must be above 0"):
        Client(timeout_s=0)
    with pytest.raises(UsageError, match="retries must be at least 0"):
        Client(retries=-1)
    with Client(server.url) as client:
        with pytest.raises(UsageError, match="score_threshold must be in"):
            client.detect(np.zeros((4, 4), np.uint8), score_threshold=2)
        with pytest.raises(UsageError, match="max_detections must be a whole number from 1"):
            client.detect(np.zeros((4, 4), np.uint8), max_detections=0)
        with pytest.raises(UsageError, match="concurrency must be at least 1"):
            client.detect_many([], concurrency=0)
        with pytest.raises(UsageError, match="on_error must be"):
            client.detect_many([], on_error="ignore")  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="the client is closed"):
        client.detect(np.zeros((4, 4), np.uint8))


def test_a_server_that_is_not_there_is_named() -> None:
    with Client("http://127.0.0.1:9", retries=1) as client:
        with pytest.raises(ConnectionFailed, match=r"http://127\.0\.0\.1:9"):
            client.detect(np.zeros((4, 4), np.uint8))
        assert not client.ready()


def test_an_api_key_opens_the_door(tmp_path: Path, frame: NDArray[np.uint8]) -> None:
    write_spot_bundle(tmp_path)
    with LiveServer(settings_for(tmp_path, api_key="a-long-enough-secret")) as live:
        with Client(live.url) as client, pytest.raises(Unauthorised):
            client.detect(frame)
        with Client(live.url, api_key="a-long-enough-secret") as client:
            assert_found(client.detect(frame), (40.5, 30.5))


def test_the_asynchronous_client_does_the_same(server: LiveServer, frame: NDArray[np.uint8]) -> None:
    async def source() -> AsyncIterator[NDArray[np.uint8]]:
        for one in frames():
            yield one

    async def check() -> None:
        async with AsyncClient(server.url) as client:
            assert await client.ready()
            assert_found(await client.detect(frame), (40.5, 30.5))
            assert (await client.detect_image(frame)).startswith(b"\x89PNG")
            assert [model.name for model in await client.models()] == ["spot"]
            results = [result async for result in client.detect_many(source(), concurrency=3)]
            for place, result in zip(PLACES, results, strict=True):
                assert_found(result, place)
            unordered = [result async for result in client.detect_many(frames(), concurrency=3, ordered=False)]
            assert len(unordered) == len(PLACES)
            with pytest.raises(ModelNotFound):
                await client.detect(frame, model="nothing")
            bad = np.full((4, 4), np.nan, np.float32)
            given = [result async for result in client.detect_many([frame, bad], on_error="yield")]
            assert isinstance(given[1], FrameRejected)
            with pytest.raises(FrameRejected):
                _ = [result async for result in client.detect_many([frame, bad, frame])]
            early = client.detect_many(itertools.repeat(frame), concurrency=2)
            assert_found(await anext(early), (40.5, 30.5))
            await early.aclose()  # type: ignore[attr-defined]
        async with AsyncClient("http://127.0.0.1:9", retries=0) as nobody:
            assert not await nobody.ready()
            with pytest.raises(ConnectionFailed):
                await nobody.detect(frame)

    asyncio.run(check())
