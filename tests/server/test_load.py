"""Many clients at once: no answer for another's frame, no queue without end, nothing left behind."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_runtime.detections import Detections
from loddis_runtime.detector import Detector, PreparedFrame
from loddis_runtime.errors import EngineError
from loddis_server import bodies
from loddis_server import pipeline as pipeline_module
from loddis_server.decoding import decode_file
from support.frame_files import png_file, raw_headers, spot_frame
from support.live_server import LiveServer, settings_for, wait_until

TIMEOUT_S = 30.0
PLACES = [(12.0 + 9 * (index % 8), 12.0 + 5 * (index // 8)) for index in range(64)]

Infer = Callable[[Detector, Sequence[PreparedFrame]], NDArray[np.float32]]


class HeldNetwork:
    """Lets the network of every detector run only when it is told to, and may spoil some of its frames."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Event()
        self.may_run = threading.Event()
        self.may_run.set()
        self.batch_sizes: list[int] = []
        self.spoils: Callable[[PreparedFrame], bool] = lambda _: False
        self._infer: Infer = Detector.infer
        held = self

        def infer(detector: Detector, prepared: Sequence[PreparedFrame]) -> NDArray[np.float32]:
            held.entered.set()
            assert held.may_run.wait(TIMEOUT_S)
            held.batch_sizes.append(len(prepared))
            if any(held.spoils(frame) for frame in prepared):
                raise EngineError("the network choked on secret-detail")
            return held._infer(detector, prepared)

        monkeypatch.setattr(Detector, "infer", infer)

    def hold(self) -> None:
        self.entered.clear()
        self.may_run.clear()


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> HeldNetwork:
    return HeldNetwork(monkeypatch)


def post(client: httpx.Client, centre_xy: tuple[float, float], *, raw: bool = True) -> httpx.Response:
    frame = spot_frame(centre_xy, dtype=np.uint16)
    if raw:
        return client.post("/v1/detect", content=frame.tobytes(), headers=raw_headers(frame))
    return client.post("/v1/detect", content=png_file(frame))


def client_of(server: LiveServer) -> httpx.Client:
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    return httpx.Client(base_url=server.url, timeout=TIMEOUT_S, trust_env=False, limits=limits)


def centroid(response: httpx.Response) -> tuple[float, float]:
    (detection,) = response.json()["detections"]
    return tuple(detection["centroid_xy"])


def test_overload_is_refused_and_all_others_get_their_own_answer(repository: Path) -> None:
    settings = settings_for(repository, queue_capacity=8, max_batch_size=4)
    with LiveServer(settings) as server, client_of(server) as client, ThreadPoolExecutor(64) as pool:
        together = threading.Barrier(64)

        def request(index: int) -> httpx.Response:
            together.wait(TIMEOUT_S)
            return post(client, PLACES[index], raw=index % 2 == 0)

        responses = list(pool.map(request, range(64)))
        statuses = Counter(response.status_code for response in responses)
        assert set(statuses) <= {200, 503}
        assert statuses[200] >= 8
        for place, response in zip(PLACES, responses, strict=True):
            if response.status_code == 200:
                assert centroid(response) == pytest.approx(place, abs=0.1)
            else:
                assert response.json()["type"] == "/problems/overloaded"
                assert int(response.headers["retry-after"]) >= 1
        assert server.service.admission.in_flight == 0
        assert server.service.pipeline.batcher.depth == 0
        assert post(client, PLACES[0]).status_code == 200


def test_frames_that_wait_together_share_a_batch(repository: Path, network: HeldNetwork) -> None:
    settings = settings_for(repository, queue_capacity=8, max_batch_size=4)
    with LiveServer(settings) as server, client_of(server) as client, ThreadPoolExecutor(9) as pool:
        network.batch_sizes.clear()
        network.hold()
        first = pool.submit(post, client, PLACES[0])
        assert network.entered.wait(TIMEOUT_S)
        others = [pool.submit(post, client, PLACES[index]) for index in range(1, 8)]
        wait_until(lambda: server.service.pipeline.batcher.depth == 7)
        refused = post(client, PLACES[9])
        assert refused.status_code == 503
        assert "8 requests are under way, this server takes 8 at once" in refused.json()["detail"]
        network.may_run.set()
        answers = [future.result(TIMEOUT_S) for future in [first, *others]]
        assert network.batch_sizes == [1, 4, 3]
        for place, answer in zip(PLACES, answers, strict=False):
            assert centroid(answer) == pytest.approx(place, abs=0.1)


def test_a_frame_that_breaks_the_network_fails_alone(repository: Path, network: HeldNetwork) -> None:
    network.spoils = lambda prepared: bool(prepared.frame[0, 0] == 1)
    poison = spot_frame(PLACES[5], dtype=np.uint16)
    poison[0, 0] = 1
    with LiveServer(settings_for(repository)) as server, client_of(server) as client, ThreadPoolExecutor(4) as pool:
        network.hold()
        first = pool.submit(post, client, PLACES[0])
        assert network.entered.wait(TIMEOUT_S)
        bad = pool.submit(lambda: client.post("/v1/detect", content=poison.tobytes(), headers=raw_headers(poison)))
        others = [pool.submit(post, client, PLACES[index]) for index in (1, 2)]
        wait_until(lambda: server.service.pipeline.batcher.depth == 3)
        network.may_run.set()
        assert bad.result(TIMEOUT_S).status_code == 500
        problem = bad.result().json()
        assert problem["type"] == "/problems/internal"
        assert "secret-detail" not in bad.result().text
        for place, future in zip(PLACES, [first, *others], strict=False):
            assert centroid(future.result(TIMEOUT_S)) == pytest.approx(place, abs=0.1)


def test_frames_of_a_batch_keep_their_own_options_and_fail_alone_at_the_end(
    repository: Path, network: HeldNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_batch = Detector.finish_batch

    def finish_all_but_one(
        detector: Detector, prepared: Sequence[PreparedFrame], raw: NDArray[np.float32], **options: Any
    ) -> list[Detections]:
        if any(one.frame[0, 0] == 1 for one in prepared):
            raise EngineError("a class that the manifest does not have")
        return finish_batch(detector, prepared, raw, **options)

    monkeypatch.setattr(Detector, "finish_batch", finish_all_but_one)
    pair = spot_frame(PLACES[0], PLACES[5], dtype=np.uint16)
    bad = spot_frame(PLACES[0], PLACES[5], dtype=np.uint16)
    bad[0, 0] = 1
    asked = [(pair, ""), (bad, ""), (pair, "?max_detections=1"), (pair, "?score_threshold=1"), (pair, "")]
    settings = settings_for(repository, max_batch_size=5)
    with LiveServer(settings) as server, client_of(server) as client, ThreadPoolExecutor(6) as pool:
        network.batch_sizes.clear()
        network.hold()
        first = pool.submit(post, client, PLACES[0])
        assert network.entered.wait(TIMEOUT_S)
        futures = [
            pool.submit(client.post, f"/v1/detect{query}", content=frame.tobytes(), headers=raw_headers(frame))
            for frame, query in asked
        ]
        wait_until(lambda: server.service.pipeline.batcher.depth == len(asked))
        network.may_run.set()
        answers = [future.result(TIMEOUT_S) for future in futures]
        assert first.result(TIMEOUT_S).status_code == 200
    assert network.batch_sizes == [1, 5]
    assert [answer.status_code for answer in answers] == [200, 500, 200, 200, 200]
    counts = [len(answer.json()["detections"]) for answer in answers if answer.status_code == 200]
    assert counts == [2, 1, 0, 2]


def test_a_request_that_takes_too_long_is_answered_and_given_up(repository: Path, network: HeldNetwork) -> None:
    with LiveServer(settings_for(repository, request_timeout_s=0.3)) as server, client_of(server) as client:
        with ThreadPoolExecutor(2) as pool:
            network.hold()
            running = pool.submit(post, client, PLACES[0])
            assert network.entered.wait(TIMEOUT_S)
            waiting = pool.submit(post, client, PLACES[1])
            for future in (running, waiting):
                answer = future.result(TIMEOUT_S)
                assert answer.status_code == 504
                assert answer.json()["type"] == "/problems/timeout"
        network.batch_sizes.clear()
        network.may_run.set()
        assert centroid(post(client, PLACES[2])) == pytest.approx(PLACES[2], abs=0.1)
        assert network.batch_sizes == [1, 1]  # the one that ran, and the new one: who waited is left out


def test_a_client_that_leaves_is_given_up(repository: Path, network: HeldNetwork) -> None:
    with LiveServer(settings_for(repository)) as server, client_of(server) as client, ThreadPoolExecutor(1) as pool:
        network.hold()
        running = pool.submit(post, client, PLACES[0])
        assert network.entered.wait(TIMEOUT_S)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/detect", content=png_file(spot_frame(PLACES[1])), timeout=0.2)
        wait_until(lambda: server.service.admission.in_flight == 1)
        network.batch_sizes.clear()
        network.may_run.set()
        assert centroid(running.result(TIMEOUT_S)) == pytest.approx(PLACES[0], abs=0.1)
        assert centroid(post(client, PLACES[2])) == pytest.approx(PLACES[2], abs=0.1)
        assert network.batch_sizes == [1, 1]
        dropped: Any = server.service.metrics.dropped.labels("client_left")
        assert dropped._value.get() == 1


class TestFramesThatAreLargeInMemory:
    """Small files of large frames, more of them than there is room for: two."""

    SIZE_HW = (512, 512)

    @pytest.fixture
    def server(self, repository: Path, network: HeldNetwork, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
        monkeypatch.setattr(pipeline_module, "VALUES_PER_PLACE", 2 * 512 * 512 // 8)
        monkeypatch.setattr(pipeline_module, "ROOM_PATIENCE_S", TIMEOUT_S)
        with LiveServer(settings_for(repository, queue_capacity=8, max_batch_size=1)) as server:
            network.hold()
            yield server
            network.may_run.set()

    def png(self, index: int) -> bytes:
        return png_file(spot_frame((30.0 * (index + 1), 100.0), size_hw=self.SIZE_HW, dtype=np.uint16, sigma_px=12))

    def large(self, client: httpx.Client, index: int = 0, **how: Any) -> httpx.Response:
        return client.post("/v1/detect", content=self.png(index), **how)

    def test_wait_for_room_and_hold_up_no_small_ones(self, server: LiveServer, network: HeldNetwork) -> None:
        batcher = server.service.pipeline.batcher
        with client_of(server) as client, ThreadPoolExecutor(6) as pool:
            larges = [pool.submit(self.large, client, index) for index in range(5)]
            wait_until(lambda: len(server.service.pipeline._room._line) == 3)
            small = pool.submit(post, client, PLACES[0])
            wait_until(lambda: batcher.depth == 2)  # a large one is in the network
            network.may_run.set()
            assert centroid(small.result(TIMEOUT_S)) == pytest.approx(PLACES[0], abs=0.1)
            for index, answer in enumerate(larges):
                assert centroid(answer.result(TIMEOUT_S)) == pytest.approx((30.0 * (index + 1), 100.0), abs=1)
        wait_until(lambda: server.service.pipeline._room._taken == 0)

    def test_are_refused_as_overload_after_a_while(
        self, server: LiveServer, network: HeldNetwork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pipeline_module, "ROOM_PATIENCE_S", 0.1)
        with client_of(server) as client, ThreadPoolExecutor(2) as pool:
            held = [pool.submit(self.large, client) for _ in range(2)]
            wait_until(lambda: server.service.pipeline.batcher.depth == 1)
            refused = self.large(client)
            assert refused.status_code == 503
            assert refused.json()["type"] == "/problems/overloaded"
            assert "leave no memory" in refused.json()["detail"]
            assert int(refused.headers["retry-after"]) >= 1
            network.may_run.set()
            assert [answer.result(TIMEOUT_S).status_code for answer in held] == [200, 200]

    def test_give_their_room_back_when_their_clients_leave(self, server: LiveServer, network: HeldNetwork) -> None:
        with client_of(server) as client:
            for _ in range(4):  # one in the network, one before it, two without room
                with pytest.raises(httpx.ReadTimeout):
                    self.large(client, timeout=0.5)
            wait_until(lambda: server.service.admission.in_flight == 0)
            assert not server.service.pipeline._room._line
            network.may_run.set()
            assert self.large(client).status_code == 200
        wait_until(lambda: server.service.pipeline._room._taken == 0)


def test_a_client_that_leaves_keeps_its_place_while_its_body_is_held(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies in memory are bounded by the places, not by the patience of clients."""
    reading, may_read = threading.Event(), threading.Event()

    def read_slowly(*arguments: Any, **options: Any) -> NDArray[np.generic]:
        reading.set()
        assert may_read.wait(TIMEOUT_S)
        return decode_file(*arguments, **options)

    monkeypatch.setattr(bodies, "decode_file", read_slowly)
    settings = settings_for(repository, decode_workers=1, queue_capacity=3)
    png = png_file(spot_frame(PLACES[0]))
    with LiveServer(settings) as server, client_of(server) as client:
        for _ in range(8):  # one is read, the others wait for the worker and are forgotten when their clients leave
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/detect", content=png, timeout=0.2)
        assert reading.wait(TIMEOUT_S)
        wait_until(lambda: server.service.admission.in_flight == 1)
        assert server.service.pipeline.busy_s > 0.5
        queue = server.service.pipeline._workers._work_queue
        waiting = [queue.get_nowait().args[0] for _ in range(queue.qsize())]
        assert [job.reader for job in waiting] == [None] * 7
        may_read.set()
        wait_until(lambda: server.service.admission.in_flight == 0)
        wait_until(lambda: server.service.pipeline.busy_s == 0)
        assert centroid(client.post("/v1/detect", content=png)) == pytest.approx(PLACES[0], abs=0.1)
