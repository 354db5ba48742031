"""Streams whose frames the server fetches: what may be read, states, events of tracks, cameras of the settings."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from loddis_server.stream_schemas import SourceMessage, StreamRequest, StreamStatusDocument
from support.live_server import LiveServer, settings_for, wait_until
from support.moving import moving_spot
from support.recordings import video


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    (folder / "crossing.mkv").write_bytes(video(list(moving_spot(40))))
    return folder


@contextlib.contextmanager
def serving(repository: Path, clips: Path, state: Path, **streams: Any) -> Iterator[tuple[LiveServer, httpx.Client]]:
    settings = settings_for(
        repository,
        sources={"folders": [str(clips)], "devices": ["/dev/loddis-absent"]},
        events={"database_url": f"sqlite:///{state / 'events.db'}"},
        streams=streams,
    )
    with LiveServer(settings) as server, httpx.Client(base_url=server.url, trust_env=False, timeout=30) as http:
        yield server, http


def status(http: httpx.Client, stream_id: str) -> StreamStatusDocument:
    return StreamStatusDocument.model_validate_json(http.get(f"/v1/streams/{stream_id}").content)


def wait_for_end(http: httpx.Client, stream_id: str) -> StreamStatusDocument:
    def is_over() -> bool:
        source = status(http, stream_id).source
        return source is not None and source.state in ("ended", "failed")

    wait_until(is_over, timeout_s=60)
    return status(http, stream_id)


def test_a_file_is_read_to_its_end_and_its_track_is_an_event(repository: Path, clips: Path, tmp_path: Path) -> None:
    with serving(repository, clips, tmp_path) as (_, http):
        response = http.post("/v1/streams", json={"stream_id": "mast", "source": {"path": str(clips / "crossing.mkv")}})
        assert response.status_code == 201, response.text
        found = wait_for_end(http, "mast")
        assert found.source is not None
        assert (found.source.state, found.source.frames, found.source.dropped) == ("ended", 40, 0)
        wait_until(lambda: status(http, "mast").frames == 40)
        wait_until(lambda: len(http.get("/v1/events", params={"kind": "track.confirmed"}).json()["events"]) == 1)
        (event,) = http.get("/v1/events", params={"kind": "track.confirmed"}).json()["events"]
        assert (event["stream_id"], event["has_thumbnail"]) == ("mast", True)
        assert event["payload"]["model"] == "spot:1"
        picture = http.get(f"/v1/events/{event['id']}/thumbnail")
        assert picture.headers["content-type"] == "image/png"
        states = [one["payload"]["state"] for one in http.get("/v1/events", params={"kind": "source"}).json()["events"]]
        assert states[0] == "ended"
        assert "live" in states


@pytest.mark.parametrize(
    "source",
    [
        {"path": "/etc/hostname"},
        {"url": "rtsp://127.0.0.1/camera"},
        {"url": "http://169.254.169.254/latest"},
        {"device": "/dev/video0"},
    ],
)
def test_what_is_not_allowed_is_refused_and_no_stream_remains(
    repository: Path, clips: Path, tmp_path: Path, source: dict[str, str]
) -> None:
    with serving(repository, clips, tmp_path) as (_, http):
        response = http.post("/v1/streams", json={"source": source})
        assert response.status_code == 403, response.text
        assert response.json()["type"] == "/problems/source-not-allowed"
        assert http.get("/v1/streams").json() == {"streams": []}


def test_the_example_of_the_document_is_a_request() -> None:
    examples = StreamRequest.model_json_schema()["examples"]
    assert examples
    for example in examples:
        StreamRequest.model_validate(example)


def test_a_link_out_of_the_folder_is_refused(repository: Path, clips: Path, tmp_path: Path) -> None:
    (clips / "out.mkv").symlink_to("/etc/hostname")
    with serving(repository, clips, tmp_path) as (_, http):
        response = http.post("/v1/streams", json={"source": {"path": str(clips / "out.mkv")}})
        assert response.status_code == 403


@pytest.mark.parametrize(
    ("request_", "status_", "kind"),
    [
        ({}, 422, "bad-parameter"),
        ({"source": {}}, 422, "bad-parameter"),
        ({"source": {"url": "file:///etc/passwd"}}, 422, "bad-parameter"),
        ({"source": {"path": "/a/../b"}}, 422, "bad-parameter"),
        ({"source": {"path": "/a"}, "stream_id": "a b"}, 422, "bad-parameter"),
        ({"source": {"path": "/a"}, "unknown": 1}, 422, "bad-parameter"),
    ],
)
def test_what_is_no_stream_is_refused(http: httpx.Client, request_: dict[str, Any], status_: int, kind: str) -> None:
    response = http.post("/v1/streams", json=request_)
    assert (response.status_code, response.json()["type"]) == (status_, f"/problems/{kind}"), response.text


def test_passwords_of_cameras_are_shown_nowhere(repository: Path, clips: Path, tmp_path: Path) -> None:
    with serving(repository, clips, tmp_path) as (_, http):
        response = http.post("/v1/streams", json={"source": {"url": "rtsp://user:hunter2@127.0.0.1/camera"}})
        assert "hunter2" not in response.text
        response = http.post("/v1/streams", json={"source": {"url": "rtsp://user:hunter2@127.0.0.1:x/camera"}})
        assert response.status_code == 422
        assert "hunter2" not in response.text


def test_an_id_is_taken_once_and_frames_cannot_be_pushed_into_a_sources_stream(
    repository: Path, clips: Path, tmp_path: Path
) -> None:
    wanted = {"stream_id": "mast", "source": {"path": str(clips / "crossing.mkv"), "realtime": True}}
    with serving(repository, clips, tmp_path) as (_, http):
        assert http.post("/v1/streams", json=wanted).status_code == 201
        again = http.post("/v1/streams", json=wanted)
        assert (again.status_code, again.json()["type"]) == (409, "/problems/stream-conflict")
        frame = next(moving_spot(1))
        headers = {"X-Frame-Width": "96", "X-Frame-Height": "64", "X-Frame-Dtype": "uint8", "X-Stream-Id": "mast"}
        pushed = http.post("/v1/detect", content=frame.tobytes(), headers=headers)
        assert (pushed.status_code, pushed.json()["type"]) == (409, "/problems/stream-conflict")
        assert http.delete("/v1/streams/mast").status_code == 204
        assert http.post("/v1/streams", json=wanted).status_code == 201


def test_a_source_that_cannot_be_read_says_why(repository: Path, clips: Path, tmp_path: Path) -> None:
    (clips / "broken.mkv").write_bytes(b"no video")
    with serving(repository, clips, tmp_path) as (_, http):
        http.post("/v1/streams", json={"stream_id": "broken", "source": {"path": str(clips / "broken.mkv")}})
        found = wait_for_end(http, "broken")
        assert found.source is not None
        assert found.source.state == "failed"
        assert found.source.cause


def test_a_camera_that_is_tried_again_says_when(repository: Path, clips: Path, tmp_path: Path) -> None:
    wanted = {"stream_id": "mast", "source": {"device": "/dev/loddis-absent", "retry_failed_s": 1000}}
    with serving(repository, clips, tmp_path) as (_, http):
        assert http.post("/v1/streams", json=wanted).status_code == 201
        source = wait_for_end(http, "mast").source
        assert source is not None
        assert (source.state, source.reason) == ("failed", "not_found")
        assert source.retry_at == pytest.approx(time.time() + 1000, abs=60)
        wait_until(lambda: http.get("/v1/events", params={"kind": "source"}).json()["events"])
        (event,) = http.get("/v1/events", params={"kind": "source"}).json()["events"]
        said = {name: value for name, value in event["payload"].items() if name != "model"}
        message = SourceMessage.model_validate({"type": "source", "stream_id": "mast", **said})
        assert (message.reason, message.retry_at) == ("not_found", source.retry_at)


def test_cameras_of_the_settings_are_read_from_the_start(
    repository: Path, clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cameras = [
        {"stream_id": "good", "source": {"path": str(clips / "crossing.mkv")}},
        {"stream_id": "forbidden", "source": {"path": "/etc/hostname"}},
    ]
    with serving(repository, clips, tmp_path, cameras=cameras) as (_, http):
        wait_until(lambda: http.get("/v1/streams/good").status_code == 200)
        assert wait_for_end(http, "good").source is not None
        assert http.get("/v1/streams/forbidden").status_code == 404
    (refusal,) = (record for record in caplog.records if record.message == "camera cannot be read")
    assert (vars(refusal)["stream_id"], "not in an allowed folder" in vars(refusal)["cause"]) == ("forbidden", True)


def test_the_end_of_a_source_is_told_and_its_place_is_given_away_when_needed(
    repository: Path, clips: Path, tmp_path: Path
) -> None:
    wanted = {"stream_id": "first", "source": {"path": str(clips / "crossing.mkv")}}
    with serving(repository, clips, tmp_path, max_streams=1) as (_, http):
        assert http.post("/v1/streams", json=wanted).status_code == 201
        with http.stream("GET", "/v1/streams/first/detections") as response:
            messages = [json.loads(line) for line in response.iter_lines() if line]
        assert (messages[-1]["type"], messages[-1]["reason"]) == ("end", "its source is ended")
        assert status(http, "first").source is not None  # it still says how it ended
        assert http.post("/v1/streams", json={**wanted, "stream_id": "second"}).status_code == 201
        assert http.get("/v1/streams/first").status_code == 404


def test_stopping_ends_sources_and_leaves_no_process(repository: Path, clips: Path, tmp_path: Path) -> None:
    wanted = {"stream_id": "mast", "source": {"path": str(clips / "crossing.mkv"), "realtime": True}}
    with serving(repository, clips, tmp_path) as (server, http):
        assert http.post("/v1/streams", json=wanted).status_code == 201
        stream = server.service.streams.find("mast")
        wait_until(lambda: stream.frames > 0)
        found = server.service.streams.source_status(stream)
        assert found is not None
        assert found.pid is not None
    assert not Path(f"/proc/{found.pid}").exists()
    assert stream.ended == "the server is stopping"


def test_the_documented_requests_can_be_sent(http: httpx.Client) -> None:
    schema = http.get("/openapi.json").json()["components"]["schemas"]["StreamRequest"]
    assert schema["examples"]
    for example in schema["examples"]:
        response = http.post("/v1/streams", json=example)
        assert response.json()["type"] == "/problems/source-not-allowed", response.text
