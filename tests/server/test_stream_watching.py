"""What a stream does beside detecting, as a client sees it: alarms, sensor, canary, frames of unlike scenes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from support.clips import flag, rendered
from support.frame_files import raw_headers, spot_frame
from support.live_server import LiveServer, settings_for, wait_until

CANARY_SNR = 30.0
FPS = 25.0


@pytest.fixture(scope="module")
def unlike_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unlike")


@pytest.fixture(scope="module")
def client(unlike_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Give a client of a server whose streams do all that they can."""
    streams = {
        "defaults": {
            "alarms": {"wanted_per_hour": 1.0},
            "canary": {"per_minute": 6000, "snr_levels": [CANARY_SNR]},
            "drift": {"measure_every": 1, "least": 1},
        },
        "unlike_frames": {"folder": str(unlike_folder), "limits": {"interval_s": 0, "min_free_bytes": 0}},
    }
    settings = settings_for(tmp_path_factory.mktemp("none") / "models", models=("sky-nano",), streams=streams)
    settings = settings.model_copy(update={"model_repository": None})
    with (
        LiveServer(settings) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client,
    ):
        yield client


def push(
    client: httpx.Client, stream_id: str, frames: Iterable[NDArray[Any]], *, first: int = 0, interval_s: float = 1 / FPS
) -> list[dict[str, Any]]:
    """Send frames, and give their answers."""
    answers = []
    for index, frame in enumerate(frames, first):
        about = {
            "X-Stream-Id": stream_id,
            "X-Frame-Index": str(index),
            "X-Frame-Timestamp": str(index * interval_s),
        }
        response = client.post("/v1/detect", content=frame.tobytes(), headers={**raw_headers(frame), **about})
        assert response.status_code == 200, response.text
        answers.append(response.json())
    return answers


def status(client: httpx.Client, stream_id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/streams/{stream_id}").json()
    return found


def metric(client: httpx.Client, name: str, stream_id: str) -> list[float]:
    lines = client.get("/metrics").text.splitlines()
    return [
        float(line.split()[-1]) for line in lines if line.startswith(f"{name}{{") and f'stream="{stream_id}"' in line
    ]


def test_the_canary_says_what_would_be_found(client: httpx.Client) -> None:
    push(client, "canary", rendered("sky", 8, frames=40))
    # The last targets are judged once their frame is answered.
    wait_until(lambda: status(client, "canary")["canary"]["levels"][0]["trials"] >= 10)
    (level,) = status(client, "canary")["canary"]["levels"]
    assert level["snr"] == CANARY_SNR
    assert level["pd"] > 0.5

    def metric_agrees() -> bool:  # one more target may be judged between the two questions
        (level,) = status(client, "canary")["canary"]["levels"]
        return metric(client, "loddis_stream_canary_pd", "canary") == [pytest.approx(level["pd"], abs=0.01)]

    wait_until(metric_agrees)


def test_targets_of_the_canary_are_seen_by_nobody(client: httpx.Client) -> None:
    answers = push(client, "unseen", rendered("sky", 8, frames=40, targets=()))
    assert status(client, "unseen")["canary"]["levels"][0]["trials"] > 0
    assert [answer["alarms"]["new"] for answer in answers] == [[]] * 40


def test_frames_of_an_unlike_scene_are_kept_to_be_labelled(client: httpx.Client, unlike_folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, 256, 320), dtype=np.uint8)
    answers = push(client, "odd", noise)
    assert answers[-1]["drift"]["is_unlike"]
    assert status(client, "odd")["drift"]["is_unlike"]
    wait_until(lambda: len(list((unlike_folder / "odd").glob("*.json"))) > 0)
    sidecar = min((unlike_folder / "odd").glob("*.json"))
    about = json.loads(sidecar.read_text())
    assert "odd" in json.dumps(about)
    assert "sky-nano" in json.dumps(about)
    assert sidecar.with_suffix(".png").stat().st_size > 0


def test_a_frozen_camera_is_said_and_its_return_too(client: httpx.Client) -> None:
    frames = rendered("sky", 8, frames=60)
    answers = push(client, "icy", [*frames[:40], *[frames[39]] * 10, *frames[40:]])
    began = [index for index, answer in enumerate(answers) if "frozen" in answer["health"]["began"]]
    ended = [index for index, answer in enumerate(answers) if "frozen" in answer["health"]["ended"]]
    assert len(began) == len(ended) == 1
    assert 40 <= began[0] < 50 <= ended[0] < 55
    assert "frozen" not in status(client, "icy")["health"]["conditions"]

    def told() -> list[tuple[str, bool]]:
        page = client.get("/v1/events", params={"stream_id": "icy", "kind": "health", "order": "oldest"}).json()
        return [(event["payload"]["condition"], event["payload"]["holds"]) for event in page["events"]]

    wait_until(lambda: ("frozen", False) in told())
    assert [holds for condition, holds in told() if condition == "frozen"] == [True, False]


def test_alarms_wait_while_the_shutter_is_closed_and_come_after(live: LiveServer) -> None:
    """The target is in sight for the first time behind the flag."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :96]
    scene = 90 + 40 * np.sin(x / 15) + 20 * np.cos(y / 12)
    spot = spot_frame((40, 30)).astype(float)
    spot = 80 * (spot - spot.min()) / np.ptp(spot)

    def shown(picture: NDArray[Any]) -> NDArray[np.uint8]:
        return np.clip(picture + rng.normal(0, 0.7, picture.shape), 0, 255).round().astype(np.uint8)

    before = [shown(scene) for _ in range(80)]
    closed = flag(before[0], frames=6)
    after = [shown(scene + spot) for _ in range(60)]
    with httpx.Client(base_url=live.url, trust_env=False, timeout=30) as client:
        answers = push(client, "shuttered", [*before, *closed, *after])
        client.delete("/v1/streams/shuttered")
    held = [index for index, answer in enumerate(answers) if answer["alarms"]["held_back"]]
    assert 80 <= held[0] < 86 < held[-1] < 140
    announced = [index for index, answer in enumerate(answers) if answer["alarms"]["new"]]
    confirmed = [
        index
        for index, answer in enumerate(answers)
        if any(track["state"] == "confirmed" for track in answer["tracks"])
    ]
    assert confirmed[0] in held  # it would have been an alarm by then
    assert announced == [held[-1] + 1]


def test_a_stream_that_holds_a_rate_raises_its_threshold_under_clutter(live: LiveServer, repository: Path) -> None:
    frames = list(dim_clutter())
    with httpx.Client(base_url=live.url, trust_env=False, timeout=30) as client:
        plain = push(client, "cluttered", frames, interval_s=0.5)
        client.delete("/v1/streams/cluttered")
    unheld = sum(len(answer["alarms"]["new"]) for answer in plain)
    assert unheld >= 8
    settings = settings_for(repository, streams={"defaults": {"alarms": {"wanted_per_hour": 1.0}}})
    with (
        LiveServer(settings) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client,
    ):
        answers = push(client, "cluttered", frames, interval_s=0.5)
        found = status(client, "cluttered")
        said = metric(client, "loddis_stream_score_threshold", "cluttered")
    assert sum(len(answer["alarms"]["new"]) for answer in answers) <= unheld / 4
    assert answers[0]["alarms"]["score_threshold"] == pytest.approx(0.3, abs=0.01)
    assert found["score_threshold"] > 0.45
    assert found["score_threshold"] == pytest.approx(answers[-1]["alarms"]["score_threshold"], abs=1e-6)
    assert found["false_alarms"]["threshold"] == found["score_threshold"]
    assert said == [pytest.approx(found["score_threshold"])]


def dim_clutter() -> Iterator[NDArray[np.uint8]]:
    """Give dim spots that stay a while at one place, then go: they score 0.44."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        spot = spot_frame((rng.uniform(15, 80), rng.uniform(15, 48))).astype(float)
        spot = 20 * (spot - spot.min()) / np.ptp(spot)
        for index in range(16):
            picture = 60 + (spot if index < 6 else 0) + rng.normal(0, 0.5, spot.shape)
            yield picture.round().astype(np.uint8)
