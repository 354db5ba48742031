"""Frames that belong together over HTTP: order, tracks, gaps, resets, and what a stream tells of itself."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import httpx
import numpy as np
import orjson
import pytest

from loddis_server.stream_schemas import FrameMessage, StreamStatusDocument
from loddis_server.streams import preview
from loddis_server.streams.hub import Hub, Message
from loddis_server.streams.live import LiveStream
from support.browser import chromium
from support.frame_files import raw_headers, spot_frame
from support.live_server import LiveServer, settings_for, wait_until
from support.moving import moving_spot

_names = itertools.count()


@pytest.fixture
def stream_id(http: httpx.Client) -> Iterator[str]:
    name = f"camera-{next(_names)}"
    yield name
    http.delete(f"/v1/streams/{name}")


def send(
    http: httpx.Client, stream_id: str, frame: np.ndarray[Any, Any], index: int | None = None, **headers: str
) -> httpx.Response:
    sent = {**raw_headers(frame), "X-Stream-Id": stream_id, **headers}
    if index is not None:
        sent["X-Frame-Index"] = str(index)
    return http.post("/v1/detect", content=frame.tobytes(), headers=sent)


def answers(http: httpx.Client, stream_id: str, frames: int, **how: Any) -> list[FrameMessage]:
    found = []
    for frame in moving_spot(frames, **how):
        response = send(http, stream_id, frame)
        assert response.status_code == 200, response.text
        found.append(FrameMessage.model_validate_json(response.content))
    return found


def test_a_moving_target_becomes_one_confirmed_track_that_is_announced_once(http: httpx.Client, stream_id: str) -> None:
    found = answers(http, stream_id, 12, velocity_xy=(2.0, 1.0))
    assert [answer.frame_index for answer in found] == list(range(12))
    announced = [(answer.frame_index, answer.alarms.new) for answer in found if answer.alarms.new]
    assert len(announced) == 1
    (index, ids), last = announced[0], found[-1]
    assert 2 <= index <= 6
    (track,) = [track for track in last.tracks if track.track_id == ids[0]]
    assert track.state == "confirmed"
    assert track.velocity_xy == pytest.approx((2.0, 1.0), abs=0.3)
    assert track.centroid_xy == pytest.approx((20 + 2 * 11, 30 + 11), abs=0.5)
    assert track.hits == 12
    assert all(len(answer.detections) == 1 for answer in found)


def test_a_target_that_leaves_ends_its_track(http: httpx.Client, stream_id: str) -> None:
    found = answers(http, stream_id, 8)
    (announced,) = [ids[0] for answer in found if (ids := answer.alarms.new)]
    noise = np.random.default_rng(1)
    ended: list[int] = []
    for _ in range(60):
        empty = np.clip(spot_frame() + noise.normal(0, 1, (64, 96)), 0, 255).astype(np.uint8)
        ended += FrameMessage.model_validate_json(send(http, stream_id, empty).content).alarms.ended
    assert ended == [announced]


def test_a_gap_is_told_and_the_track_goes_on_over_it(http: httpx.Client, stream_id: str) -> None:
    frames = list(moving_spot(20))
    ids = set()
    for index, frame in enumerate(frames):
        if index in (10, 11):
            continue
        answer = FrameMessage.model_validate_json(send(http, stream_id, frame, index).content)
        assert answer.window.missing == (2 if index == 12 else 0)
        ids |= {track.track_id for track in answer.tracks if track.state == "confirmed"}
    assert len(ids) == 1


@pytest.mark.parametrize("index", [5, 3, 0])
def test_a_late_or_repeated_frame_is_refused_and_changes_nothing(
    http: httpx.Client, stream_id: str, index: int
) -> None:
    frames = list(moving_spot(8))
    for number in range(6):
        assert send(http, stream_id, frames[number], number).status_code == 200
    refused = send(http, stream_id, frames[index], index)
    assert refused.status_code == 409
    problem = refused.json()
    assert problem["type"] == "/problems/late-frame"
    assert problem["errors"] == [{"parameter": "X-Frame-Index", "message": "must be above 5"}]
    following = FrameMessage.model_validate_json(send(http, stream_id, frames[6], 6).content)
    assert following.window.missing == 0
    assert max(track.hits for track in following.tracks) == 7


def test_a_reset_lets_the_counter_start_anew(http: httpx.Client, stream_id: str) -> None:
    frames = list(moving_spot(8))
    for number in range(6):
        send(http, stream_id, frames[number], number + 1000)
    answer = FrameMessage.model_validate_json(send(http, stream_id, frames[6], 0, **{"X-Stream-Reset": "true"}).content)
    assert (answer.frame_index, answer.window.restart) == (0, "reset")
    assert len(answer.alarms.ended) == 1
    assert {track.hits for track in answer.tracks} == {1}


def test_a_stream_goes_on_when_size_or_depth_change(http: httpx.Client, stream_id: str) -> None:
    answers(http, stream_id, 6)
    larger = spot_frame((30, 20), size_hw=(100, 150))
    changed = FrameMessage.model_validate_json(send(http, stream_id, larger).content)
    assert (changed.window.restart, changed.frame.width, changed.frame.height) == ("size", 150, 100)
    deeper = spot_frame((30, 20), size_hw=(100, 150), dtype=np.uint16)
    changed = FrameMessage.model_validate_json(send(http, stream_id, deeper).content)
    assert (changed.window.restart, changed.frame.dtype) == ("dtype", "uint16")


def test_a_frame_that_cannot_be_used_leaves_the_stream_as_it_was(http: httpx.Client, stream_id: str) -> None:
    answers(http, stream_id, 5)
    broken = np.full((64, 96), np.nan, dtype=np.float32)
    assert send(http, stream_id, broken).status_code == 422
    following = FrameMessage.model_validate_json(send(http, stream_id, list(moving_spot(6))[5]).content)
    assert (following.frame_index, following.window.missing) == (5, 0)


def test_two_streams_do_not_mix(http: httpx.Client) -> None:
    try:
        first, second = answers(http, "left", 6), answers(http, "right", 3)
    finally:
        http.delete("/v1/streams/left")
        http.delete("/v1/streams/right")
    assert (first[-1].frame_index, second[-1].frame_index) == (5, 2)
    assert max(track.hits for track in second[-1].tracks) == 3


def test_frames_that_are_sent_at_once_are_taken_one_after_the_other(http: httpx.Client, stream_id: str) -> None:
    frame = spot_frame((30, 20))
    responses: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: responses.append(send(http, stream_id, frame)), daemon=True) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [response.status_code for response in responses] == [200] * 8
    assert sorted(response.json()["frame_index"] for response in responses) == list(range(8))


@pytest.mark.parametrize(
    ("headers", "parameter"),
    [
        ({"X-Frame-Index": "3"}, "X-Stream-Id"),
        ({"X-Stream-Id": "../etc"}, "X-Stream-Id"),
        ({"X-Stream-Id": "a" * 65}, "X-Stream-Id"),
        ({"X-Stream-Id": "a", "X-Frame-Index": "-1"}, "X-Frame-Index"),
        ({"X-Stream-Id": "a", "X-Frame-Index": "1.5"}, "X-Frame-Index"),
        ({"X-Stream-Id": "a", "X-Frame-Timestamp": "nan"}, "X-Frame-Timestamp"),
        ({"X-Stream-Id": "a", "X-Frame-Timestamp": "noon"}, "X-Frame-Timestamp"),
        ({"X-Stream-Id": "a", "X-Stream-Reset": "perhaps"}, "X-Stream-Reset"),
    ],
)
def test_headers_that_make_no_sense_are_named(http: httpx.Client, headers: dict[str, str], parameter: str) -> None:
    frame = spot_frame()
    response = http.post("/v1/detect", content=frame.tobytes(), headers={**raw_headers(frame), **headers})
    assert response.status_code == 422
    assert [error["parameter"] for error in response.json()["errors"]] == [parameter]
    assert "a" not in [stream["stream_id"] for stream in http.get("/v1/streams").json()["streams"]]


def test_a_stream_tells_how_it_goes(http: httpx.Client, stream_id: str) -> None:
    answers(http, stream_id, 9)
    send(http, stream_id, spot_frame(), 2)
    response = http.get(f"/v1/streams/{stream_id}")
    status = StreamStatusDocument.model_validate_json(response.content)
    assert (status.kind, status.frames, status.refused, status.last_frame_index) == ("pushed", 9, 1, 8)
    assert status.model.model_dump() == {"name": "spot", "version": "1"}
    assert status.fps > 0
    assert status.lag_ms is not None
    assert status.tracks >= 1
    assert status.source is None
    listed = http.get("/v1/streams").json()["streams"]
    assert stream_id in [stream["stream_id"] for stream in listed]
    metrics = http.get("/metrics").text
    assert f'loddis_stream_frames_total{{stream="{stream_id}"}} 9.0' in metrics


def test_a_deleted_stream_is_gone_with_its_metrics(http: httpx.Client) -> None:
    answers(http, "brief", 2)
    assert http.delete("/v1/streams/brief").status_code == 204
    for response in (http.get("/v1/streams/brief"), http.delete("/v1/streams/brief")):
        assert response.status_code == 404
        assert response.json()["type"] == "/problems/unknown-stream"
    assert '"brief"' not in http.get("/metrics").text


def test_a_stream_that_is_idle_ends(repository: Path) -> None:
    settings = settings_for(repository, streams={"idle_timeout_s": 0.2})
    with LiveServer(settings) as server, httpx.Client(base_url=server.url, trust_env=False) as http:
        answers(http, "quiet", 2)
        wait_until(lambda: http.get("/v1/streams/quiet").status_code == 404, timeout_s=10)


def test_there_are_no_more_streams_than_allowed(repository: Path) -> None:
    settings = settings_for(repository, streams={"max_streams": 2})
    with LiveServer(settings) as server, httpx.Client(base_url=server.url, trust_env=False) as http:
        answers(http, "one", 1)
        answers(http, "two", 1)
        refused = send(http, "three", spot_frame())
        assert refused.status_code == 429
        assert refused.json()["type"] == "/problems/too-many-streams"
        assert http.delete("/v1/streams/one").status_code == 204
        assert send(http, "three", spot_frame()).status_code == 200


def listened(http: httpx.Client, stream_id: str, accept: str, ready: threading.Event) -> Iterator[str]:
    with http.stream("GET", f"/v1/streams/{stream_id}/detections", headers={"Accept": accept}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(accept)
        ready.set()
        yield from response.iter_lines()


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
def test_listeners_are_told_what_the_sender_is_told(http: httpx.Client, live: LiveServer, accept: str) -> None:
    answers(http, "heard", 1)
    stream = live.service.streams.find("heard")
    lines: list[str] = []
    ready = threading.Event()
    listener = threading.Thread(target=lambda: lines.extend(listened(http, "heard", accept, ready)), daemon=True)
    listener.start()
    assert ready.wait(10)
    wait_until(lambda: len(stream.hub) == 1)
    sent = [send(http, "heard", frame).json() for frame in list(moving_spot(5))[1:]]
    http.delete("/v1/streams/heard")
    listener.join(10)
    assert not listener.is_alive()
    if accept == "text/event-stream":
        assert [line for line in lines if line.startswith("event:")] == ["event: frame"] * 4 + ["event: end"]
        assert [line for line in lines if line.startswith("id:")] == [f"id: {index}" for index in range(1, 5)]
        lines = [line.removeprefix("data: ") for line in lines if line.startswith("data:")]
    heard = [orjson.loads(line) for line in lines if line]
    assert heard[:-1] == sent
    assert (heard[-1]["type"], heard[-1]["reason"], heard[-1]["frames"]) == ("end", "it was deleted", 5)


def test_a_listener_that_leaves_is_forgotten(http: httpx.Client, live: LiveServer, stream_id: str) -> None:
    answers(http, stream_id, 1)
    stream = live.service.streams.find(stream_id)
    with http.stream("GET", f"/v1/streams/{stream_id}/detections"):
        wait_until(lambda: len(stream.hub) == 1)
    wait_until(lambda: len(stream.hub) == 0)


def test_a_listener_that_does_not_read_never_slows_the_stream(repository: Path) -> None:
    settings = settings_for(repository, streams={"listener_capacity": 4})
    with LiveServer(settings) as server, httpx.Client(base_url=server.url, trust_env=False) as http:
        answers(http, "busy", 1)
        stream = server.service.streams.find("busy")
        with http.stream("GET", "/v1/streams/busy/detections"):
            wait_until(lambda: len(stream.hub) == 1)
            # The answers of these frames are more than the buffers of the connection and the queue hold.
            frame = spot_frame(*((10 + 9 * x, 8 + 8 * y) for x in range(9) for y in range(7)))
            for _ in range(400):
                assert send(http, "busy", frame).status_code == 200
            assert stream.hub.lost > 0
        assert stream.frames == 401


def test_the_preview_shows_pictures_of_the_stream(http: httpx.Client, stream_id: str) -> None:
    answers(http, stream_id, 3)
    with http.stream("GET", f"/v1/streams/{stream_id}/preview", params={"fps": 30}) as response:
        assert response.headers["content-type"] == "multipart/x-mixed-replace; boundary=loddis-frame"
        chunks = response.iter_bytes()
        frames = moving_spot(40)
        seen = b""
        for frame in frames:
            send(http, stream_id, frame)
            if b"\xff\xd9\r\n" in seen:
                break
            seen += next(chunks)
    assert seen.startswith(b"--loddis-frame\r\nContent-Type: image/jpeg\r\n")
    assert b"\xff\xd8\xff" in seen


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Previews give signs of life often."""
    monkeypatch.setattr(preview, "IDLE_S", 0.02)


def open_without_a_frame(http: httpx.Client, stream_id: str) -> None:
    headers = {"Content-Type": "image/png", "X-Stream-Id": stream_id}
    assert http.post("/v1/detect", content=b"\x89PNG\r\n\x1a\nnothing", headers=headers).status_code >= 400


def read_until(chunks: Iterator[bytes], wanted: bytes, *, times: int = 1) -> bytes:
    seen = b""
    while seen.count(wanted) < times:
        seen += next(chunks)
    return seen


@pytest.mark.usefixtures("impatient")
def test_a_preview_without_a_frame_shows_that_it_lives(http: httpx.Client, stream_id: str) -> None:
    open_without_a_frame(http, stream_id)
    with http.stream("GET", f"/v1/streams/{stream_id}/preview") as response:
        chunks = response.iter_bytes()
        seen = read_until(chunks, preview.AWAITED, times=3)
        send(http, stream_id, spot_frame())
        seen += read_until(chunks, b"\xff\xd9\r\n", times=2)
    parts = seen.split(b"--loddis-frame\r\n")
    assert parts[0] == b""
    heads = [part.split(b"\r\n\r\n\xff\xd8")[0].split(b"\r\n") for part in parts[1:3]]
    assert heads[0][:3] == [preview.AWAITED.strip()] * 3
    assert [line for line in heads[0] if line != preview.AWAITED.strip()] == heads[1]
    assert heads[1][-1] == b"X-Frame-Index: 0"


@pytest.mark.usefixtures("impatient")
def test_a_preview_repeats_its_picture_however_few_are_wanted(http: httpx.Client, stream_id: str) -> None:
    answers(http, stream_id, 1)
    with http.stream("GET", f"/v1/streams/{stream_id}/preview", params={"fps": 0.001}) as response:
        seen = read_until(response.iter_bytes(), b"\xff\xd9\r\n", times=3)
    assert seen.count(b"--loddis-frame\r\nContent-Type: image/jpeg\r\n") >= 3
    assert preview.AWAITED not in seen


@pytest.mark.usefixtures("impatient")
def test_a_preview_shows_that_it_lives_while_a_stream_says_other_things() -> None:
    async def watch() -> list[bytes]:
        stream, hub = cast("LiveStream", SimpleNamespace(latest=None)), Hub(capacity=100)
        parts = preview.picture_parts(stream, hub.subscribe(), preview.PreviewOptions())

        async def chatter() -> None:
            while True:
                hub.publish(Message("source", {"type": "source"}))
                await asyncio.sleep(0.002)

        talking = asyncio.create_task(chatter())
        async with asyncio.timeout(10):
            seen = [await anext(parts) for _ in range(3)]
            talking.cancel()
            hub.publish(Message("end", {"type": "end"}))
            return [*seen, *[part async for part in parts]]

    parts = asyncio.run(watch())
    assert b"".join(parts[:3]) == b"--loddis-frame\r\n" + preview.AWAITED * 3
    assert parts[-1] == b"--loddis-frame--\r\n"


@pytest.mark.usefixtures("impatient")
def test_a_picture_element_waits_for_the_first_frame(live: LiveServer, http: httpx.Client, stream_id: str) -> None:
    open_without_a_frame(http, stream_id)
    stream = live.service.streams.find(stream_id)
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"{live.url}/docs")  # pages of others are refused
        shown = f"{live.url}/v1/streams/{stream_id}/preview?scale=1"
        page.evaluate("shown => document.body.replaceChildren(Object.assign(new Image(), { src: shown }))", shown)
        wait_until(lambda: len(stream.hub) == 1)
        with http.stream("GET", f"/v1/streams/{stream_id}/preview") as response:
            read_until(response.iter_bytes(), preview.AWAITED, times=10)  # the browser has as many by then
        send(http, stream_id, spot_frame())
        wait_until(lambda: page.evaluate("document.images[0].naturalWidth") == 96)


def test_the_newest_frame_is_shown_as_a_picture(http: httpx.Client, stream_id: str) -> None:
    unknown = http.get(f"/v1/streams/{stream_id}/picture")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/unknown-stream")
    answers(http, stream_id, 8)
    for scale in (1, 3):
        shown = http.get(f"/v1/streams/{stream_id}/picture", params={"scale": scale})
        assert (shown.headers["content-type"], shown.headers["x-frame-index"]) == ("image/jpeg", "7")
        picture = cv2.imdecode(np.frombuffer(shown.content, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (64 * scale, 96 * scale, 3)
        assert np.ptp(picture.astype(int), axis=2).max() > 50  # the marks are in colour
    assert http.get(f"/v1/streams/{stream_id}/picture", params={"scale": 5}).status_code == 422


def test_a_stream_without_a_frame_has_no_picture(http: httpx.Client, stream_id: str) -> None:
    open_without_a_frame(http, stream_id)
    refused = http.get(f"/v1/streams/{stream_id}/picture")
    assert (refused.status_code, refused.json()["type"]) == (404, "/problems/no-picture")
