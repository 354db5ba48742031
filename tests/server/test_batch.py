"""Several frames in one request."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_runtime.detector import Detector, PreparedFrame
from loddis_server.stream_schemas import BatchResponse
from support.frame_files import npy_file, png_file, spot_frame, tiff_file
from support.live_server import LiveServer, settings_for, wait_until

PLACES = ((20.4, 15.2), (70.1, 40.6), (50.5, 30.5))


def form(*frames: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("frame", (name, data)) for name, data in frames]


def test_every_frame_has_its_own_answer_in_order(http: httpx.Client) -> None:
    files = (png_file(spot_frame(PLACES[0])), npy_file(spot_frame(PLACES[1])), tiff_file(spot_frame(PLACES[2])))
    named = [(f"{index}", data) for index, data in enumerate(files)]
    response = http.post("/v1/detect/batch", files=form(*named))
    assert response.status_code == 200, response.text
    answer = BatchResponse.model_validate_json(response.content)
    assert [item.name for item in answer.results] == ["0", "1", "2"]
    for item, place in zip(answer.results, PLACES, strict=True):
        assert item.problem is None
        assert item.result is not None
        (detection,) = item.result.detections
        assert detection.centroid_xy == pytest.approx(place, abs=0.1)


def test_a_broken_frame_has_a_problem_in_its_place_and_the_others_are_answered(http: httpx.Client) -> None:
    whole = png_file(spot_frame(PLACES[0]))
    response = http.post(
        "/v1/detect/batch", files=form(("a", whole), ("b", whole[:-30]), ("c", b"GIF89a"), ("d", whole))
    )
    answer = BatchResponse.model_validate_json(response.content)
    kinds = [item.problem.type if item.problem else None for item in answer.results]
    assert kinds == [None, "/problems/truncated-image", "/problems/unsupported-media", None]
    assert [item.result is None for item in answer.results] == [False, True, True, False]


def test_the_options_hold_for_all(http: httpx.Client) -> None:
    frame = png_file(spot_frame(*PLACES))
    response = http.post("/v1/detect/batch", params={"max_detections": 1}, files=form(("a", frame), ("b", frame)))
    answer = BatchResponse.model_validate_json(response.content)
    assert [len(item.result.detections) for item in answer.results if item.result] == [1, 1]


FORM_TYPE = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize(
    ("how", "status", "kind"),
    [
        ({"content": png_file(spot_frame()), "headers": {"Content-Type": "image/png"}}, 415, "unsupported-media"),
        ({"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, "empty-body"),
        (
            {"content": b"no form", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
            400,
            "malformed-request",
        ),
        ({"files": [("picture", ("a", b"x"))]}, 422, "bad-parameter"),
        ({"files": form(("a", b"x")), "params": {"model": "none"}}, 404, "unknown-model"),
        ({"files": form(("a", b"x")), "params": {"return": "image"}}, 422, "bad-parameter"),
    ],
)
def test_what_is_no_batch_is_refused(http: httpx.Client, how: dict[str, object], status: int, kind: str) -> None:
    response = http.post("/v1/detect/batch", **how)
    assert (response.status_code, response.json()["type"]) == (status, f"/problems/{kind}")


@pytest.fixture
def may_run(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Give what holds every network up while it is not set; it is."""
    told = threading.Event()
    told.set()
    infer = Detector.infer

    def infer_when_told(detector: Detector, prepared: Sequence[PreparedFrame]) -> NDArray[np.float32]:
        assert told.wait(30)
        return infer(detector, prepared)

    monkeypatch.setattr(Detector, "infer", infer_when_told)
    return told


def test_a_batch_takes_a_place_a_frame_and_leaves_half_to_others(
    repository: Path, may_run: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(repository, queue_capacity=8, max_batch_frames=64)
    with (
        LiveServer(settings) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=30) as http,
        ThreadPoolExecutor(2) as pool,
    ):
        may_run.clear()
        admission = server.service.admission
        frames = [(f"{index}", png_file(spot_frame((12.0 + index, 20.0)))) for index in range(60)]
        batch = pool.submit(http.post, "/v1/detect/batch", files=form(*frames))
        wait_until(lambda: admission.at_work == 4)
        assert (admission.in_flight, admission.promised) == (4, 56)
        lone = pool.submit(http.post, "/v1/detect", content=png_file(spot_frame((30.0, 20.0))))
        wait_until(lambda: admission.at_work == 5)
        monkeypatch.setattr(admission._pace, "_run_s", {1: 1.0})  # a frame a second: no time for as many again
        refused = http.post("/v1/detect/batch", files=form(*frames))
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/overloaded")
        assert int(refused.headers["retry-after"]) >= 56
        may_run.set()
        assert lone.result(30).status_code == 200
        answer = BatchResponse.model_validate_json(batch.result(30).content)
        found = [item.result.detections[0].centroid_xy[0] for item in answer.results if item.result]
        assert found == pytest.approx([12.0 + index for index in range(60)], abs=0.1)
        wait_until(lambda: admission.in_flight == 0)
        assert (admission.at_work, admission.promised, admission.on_the_way) == (0, 0, 0)


def test_a_batch_is_done_in_its_own_place_where_there_is_no_other(repository: Path) -> None:
    with (
        LiveServer(settings_for(repository, queue_capacity=1)) as server,
        httpx.Client(base_url=server.url, trust_env=False) as http,
    ):
        response = http.post("/v1/detect/batch", files=form(*[("a", png_file(spot_frame(PLACES[0])))] * 20))
        answer = BatchResponse.model_validate_json(response.content)
        assert [item.problem for item in answer.results] == [None] * 20


def test_a_batch_whose_client_leaves_leaves_nothing_behind(repository: Path, may_run: threading.Event) -> None:
    with (
        LiveServer(settings_for(repository, queue_capacity=8)) as server,
        httpx.Client(base_url=server.url, trust_env=False) as http,
    ):
        may_run.clear()
        with pytest.raises(httpx.ReadTimeout):
            http.post("/v1/detect/batch", files=form(*[("a", png_file(spot_frame()))] * 20), timeout=0.5)
        admission = server.service.admission
        wait_until(lambda: admission.in_flight == 0)
        assert (admission.at_work, admission.promised, admission.on_the_way) == (0, 0, 0)
        may_run.set()


def test_a_batch_has_a_limit(repository: Path) -> None:
    with (
        LiveServer(settings_for(repository, max_batch_frames=3)) as server,
        httpx.Client(base_url=server.url, trust_env=False) as http,
    ):
        frame = png_file(spot_frame())
        assert http.post("/v1/detect/batch", files=form(*[("a", frame)] * 3)).status_code == 200
        refused = http.post("/v1/detect/batch", files=form(*[("a", frame)] * 4))
        assert refused.status_code == 422
        assert "1 to 3 parts" in refused.json()["detail"]
