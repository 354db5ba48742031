"""Versions come and go while the server serves."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from loddis_runtime.detector import Detector
from loddis_runtime.errors import EngineError
from loddis_server.models import ModelStore
from loddis_server.problems import ProblemError
from support.bundles import write_spot_bundle
from support.frame_files import png_file, spot_frame
from support.live_server import LiveServer, settings_for, wait_until
from support.moving import moving_spot

TIMEOUT_S = 20.0
PNG = png_file(spot_frame((40, 30)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a repository of one's own with `spot:1`."""
    return write_spot_bundle(tmp_path / "models").parents[1]


@pytest.fixture
def server(root: Path) -> Iterator[LiveServer]:
    with LiveServer(settings_for(root, models=("spot",))) as server:
        yield server


@pytest.fixture
def client(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=TIMEOUT_S, trust_env=False) as client:
        yield client


def versions(client: httpx.Client) -> dict[str, dict[str, Any]]:
    listed = client.get("/v1/models").json()["repository"]
    return {f"{one['name']}:{one['version']}": one for one in listed}


def answered_by(client: httpx.Client, **query: str) -> str:
    response = client.post("/v1/detect", content=PNG, params=query)
    assert response.status_code == 200, response.text
    return f"{response.json()['model']['name']}:{response.json()['model']['version']}"


def test_a_folder_that_came_after_the_start_is_seen_loaded_and_becomes_the_newest(
    client: httpx.Client, root: Path
) -> None:
    write_spot_bundle(root, version="2")
    assert versions(client)["spot:2"]["state"] == "available"
    assert answered_by(client) == "spot:1"
    loaded = client.post("/v1/models/spot/2/load")
    assert (loaded.status_code, loaded.json()["version"], loaded.json()["state"]) == (200, "2", "ready")
    assert loaded.json()["default"] is True
    assert answered_by(client) == answered_by(client, model="spot") == "spot:2"
    assert answered_by(client, model="spot:1") == "spot:1"
    listed = versions(client)
    assert [listed[one]["newest"] for one in ("spot:1", "spot:2")] == [False, True]
    assert [listed[one]["default"] for one in ("spot:1", "spot:2")] == [False, True]
    metrics = client.get("/metrics").text
    assert 'is_default="true",model="spot",precision="fp32",variant="nano",version="2"' in metrics
    assert 'is_default="false",model="spot",precision="fp32",variant="nano",version="1"' in metrics


def test_an_older_version_does_not_take_the_name(client: httpx.Client, root: Path) -> None:
    write_spot_bundle(root, version="0")
    assert client.post("/v1/models/spot/0/load").json()["default"] is False
    assert answered_by(client, model="spot") == "spot:1"


def test_requests_go_on_while_a_version_warms_up(
    server: LiveServer, client: httpx.Client, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm = threading.Event()
    warm_up = Detector.warm_up

    def held(detector: Detector, batch_sizes: Sequence[int] = (1,)) -> None:
        assert warm.wait(TIMEOUT_S)
        warm_up(detector, batch_sizes)

    monkeypatch.setattr(Detector, "warm_up", held)
    write_spot_bundle(root, version="2")
    with ThreadPoolExecutor(2) as pool:
        loads = [pool.submit(client.post, "/v1/models/spot/2/load") for _ in range(2)]  # of which one is the load
        wait_until(lambda: versions(client)["spot:2"]["state"] == "loading")
        assert not server.service.is_finished  # so that a process that ends does not wait for the load
        assert answered_by(client) == "spot:1"
        busy = client.post("/v1/models/spot/2/unload")
        assert (busy.status_code, busy.json()["type"]) == (409, "/problems/model-busy")
        warm.set()
        assert [load.result().status_code for load in loads] == [200, 200]
    assert answered_by(client) == "spot:2"


def test_what_uses_a_version_finishes_on_it(server: LiveServer, client: httpx.Client, root: Path) -> None:
    stream = server.service.models.lease("spot")
    assert stream.is_current
    write_spot_bundle(root, version="2")
    client.post("/v1/models/spot/2/load")
    assert not stream.is_current
    unloaded = client.post("/v1/models/spot/1/unload")
    assert (unloaded.status_code, unloaded.json()["state"], unloaded.json()["leases"]) == (200, "unloading", 1)
    assert client.post("/v1/models/spot/1/unload").json()["state"] == "unloading"
    refused = client.post("/v1/detect?model=spot:1", content=PNG)
    assert (refused.status_code, refused.json()["type"]) == (404, "/problems/unknown-model")
    assert len(stream.model.detector.detect(spot_frame((40, 30)))) == 1
    stream.release()
    stream.release()
    wait_until(lambda: versions(client)["spot:1"]["state"] == "available")
    with pytest.raises(EngineError, match="closed"):
        stream.model.detector.detect(spot_frame((40, 30)))
    assert client.post("/v1/models/spot/1/load").status_code == 200
    assert answered_by(client, model="spot:1") == "spot:1"


def test_swapping_under_load_drops_no_request(client: httpx.Client, root: Path) -> None:
    write_spot_bundle(root, version="2")
    done = threading.Event()
    answers: list[tuple[int, str]] = []

    def hammer() -> None:
        with httpx.Client(base_url=client.base_url, timeout=TIMEOUT_S, trust_env=False) as own:
            while not done.is_set():
                response = own.post("/v1/detect?model=spot", content=PNG)
                answers.append((response.status_code, response.text if response.status_code != 200 else ""))

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for swap in range(6):
            coming, going = ("2", "1") if swap % 2 == 0 else ("1", "2")
            assert client.post(f"/v1/models/spot/{coming}/load").status_code == 200
            assert client.post(f"/v1/models/spot/{going}/unload").status_code == 200
            seen = len(answers)
            wait_until(lambda seen=seen: len(answers) > seen + 20)  # type: ignore[misc]
    finally:
        done.set()
        for thread in threads:
            thread.join(TIMEOUT_S)
    assert {status for status, _ in answers} == {200}, [answer for answer in answers if answer[0] != 200][:3]
    wait_until(lambda: versions(client)["spot:2"]["state"] == "available")
    assert versions(client)["spot:1"]["leases"] == 0


def test_a_stream_goes_on_with_the_newer_version_and_its_track_lives_on(client: httpx.Client, root: Path) -> None:
    write_spot_bundle(root, version="2")
    frames = moving_spot(1000, velocity_xy=(0.05, 0.02))  # slow enough to be in sight as long as it takes
    answers: list[dict[str, Any]] = []
    done = threading.Event()

    def camera() -> None:
        headers = {"X-Stream-Id": "mast", "X-Frame-Width": "96", "X-Frame-Height": "64", "X-Frame-Dtype": "uint8"}
        with httpx.Client(base_url=client.base_url, timeout=TIMEOUT_S, trust_env=False) as own:
            for index, frame in enumerate(frames):
                response = own.post(
                    "/v1/detect", content=frame.tobytes(), headers={**headers, "X-Frame-Index": str(index)}
                )
                answers.append({"status": response.status_code, **response.json()})
                if done.is_set():
                    return

    thread = threading.Thread(target=camera)
    thread.start()
    try:
        for coming, going in (("2", "1"), ("1", "2"), ("2", "1")):
            seen = len(answers)
            wait_until(lambda seen=seen: len(answers) > seen + 4)  # type: ignore[misc]
            assert client.post(f"/v1/models/spot/{coming}/load").status_code == 200
            assert client.post(f"/v1/models/spot/{going}/unload").status_code == 200
            wait_until(lambda coming=coming: answers[-1]["model"]["version"] == coming)  # type: ignore[misc]
    finally:
        done.set()
        thread.join(TIMEOUT_S)
    assert {answer["status"] for answer in answers} == {200}
    assert [answer["frame_index"] for answer in answers] == list(range(len(answers)))
    assert [answer["window"]["missing"] for answer in answers] == [0] * len(answers)
    swaps = [
        (before["model"]["version"], after["model"]["version"])
        for before, after in itertools.pairwise(answers)
        if before["model"] != after["model"]
    ]
    assert swaps == [("1", "2"), ("2", "1"), ("1", "2")]
    target = [next(track for track in answer["tracks"] if track["track_id"] == 1) for answer in answers]
    assert [track["hits"] for track in target] == list(range(1, len(answers) + 1))
    assert sum(len(answer["alarms"]["new"]) for answer in answers) == 1
    wait_until(lambda: versions(client)["spot:1"]["state"] == "available")  # the stream has let go of it
    assert versions(client)["spot:2"]["leases"] == 1


def test_the_default_stays_until_it_has_a_successor(client: httpx.Client, root: Path) -> None:
    write_spot_bundle(root, name="other")
    client.post("/v1/models/other/1/load")
    refused = client.post("/v1/models/spot/1/unload")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/model-required")
    assert "load another version of spot first" in refused.json()["detail"]
    assert client.post("/v1/models/other/1/unload").status_code == 200
    assert answered_by(client) == "spot:1"


def test_a_default_of_one_version_is_not_replaced_by_another(root: Path) -> None:
    write_spot_bundle(root, version="2")
    store = ModelStore(settings_for(root, models=("spot:1",), default_model="spot:1"))
    store.load_initial()
    store.load("spot").result(TIMEOUT_S)
    assert store.find("spot").version == "2"
    assert store.find().version == "1"
    with pytest.raises(ProblemError, match="the setting default_model is spot:1"):
        store.unload("spot", "1")
    store.unload("spot", "2")
    store.close()


@pytest.mark.parametrize("damage", ["graph", "manifest", "other model"])
def test_a_bundle_that_cannot_be_used_is_refused_with_its_cause(client: httpx.Client, root: Path, damage: str) -> None:
    path = write_spot_bundle(root, version="2")
    if damage == "graph":
        with (path / "model.fp32.onnx").open("ab") as graph:
            graph.write(b"!")
    elif damage == "manifest":
        (path / "manifest.json").write_text("{")
    else:
        shutil.rmtree(path)
        shutil.copytree(root / "spot" / "1", path)
    refused = client.post("/v1/models/spot/2/load")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/model-unusable")
    cause = {"graph": "model.fp32.onnx", "manifest": "is not JSON", "other model": "its manifest says spot:1"}[damage]
    assert cause in refused.json()["detail"]
    listed = versions(client)["spot:2"]
    assert listed["state"] == "failed"
    assert cause in listed["cause"]
    assert answered_by(client) == "spot:1"
    shutil.rmtree(path)
    write_spot_bundle(root, version="2")
    assert client.post("/v1/models/spot/2/load").status_code == 200
    assert versions(client)["spot:2"]["cause"] is None


@pytest.mark.parametrize("path", ["spot/7", "nothing/1", "..%2Fspot/1", "spot/%2E%2E"])
@pytest.mark.parametrize("action", ["load", "unload"])
def test_what_is_not_there_is_named(client: httpx.Client, path: str, action: str) -> None:
    refused = client.post(f"/v1/models/{path}/{action}")
    assert refused.status_code == 404
    assert answered_by(client) == "spot:1"


def test_a_closed_store_loads_nothing(root: Path) -> None:
    write_spot_bundle(root, version="2")
    store = ModelStore(settings_for(root, models=("spot:1",)))
    store.load_initial()
    store.close()
    with pytest.raises(ProblemError, match="starting or stopping"):
        store.load("spot", "2")


def test_a_load_that_ends_after_the_store_was_closed_gives_its_memory_back(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go_on = threading.Event(), threading.Event()
    closed: list[str] = []
    warm_up, close = Detector.warm_up, Detector.close

    def held(detector: Detector, batch_sizes: Sequence[int] = (1,)) -> None:
        begun.set()
        assert may_go_on.wait(TIMEOUT_S)
        warm_up(detector, batch_sizes)

    def noted(detector: Detector) -> None:
        closed.append(detector.manifest.version)
        close(detector)

    write_spot_bundle(root, version="2")
    store = ModelStore(settings_for(root, models=("spot:1",)))
    store.load_initial()
    monkeypatch.setattr(Detector, "warm_up", held)
    monkeypatch.setattr(Detector, "close", noted)
    loading = store.load("spot", "2")
    assert begun.wait(TIMEOUT_S)
    store.close()
    may_go_on.set()
    with pytest.raises(ProblemError, match="stopping"):
        loading.result(TIMEOUT_S)
    assert sorted(closed) == ["1", "2"]
    assert not store.is_loading
