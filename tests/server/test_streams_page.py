"""What `docs/streams.md` tells users to run: each command and example, against a real server with the shipped model."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from loddis_runtime.command import run
from loddis_server.cli import Server
from loddis_server.settings import ServerSettings
from loddis_server.stream_schemas import FrameMessage
from loddis_server.streams.settings import StreamsSettings
from support.live_server import LiveServer, wait_until

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "streams.md").read_text()
URL = "http://127.0.0.1:8080"
CLIPS = "/srv/clips"

(SETTINGS,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
MAKE_CLIP, WEBSOCKET, LISTEN = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^    (curl .*)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the clip and the frames that the page makes."""
    folder = tmp_path_factory.mktemp("clips")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(MAKE_CLIP, {})
    return folder


@pytest.fixture(scope="module")
def server(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Give a server with the page's settings, but for its camera."""
    state = tmp_path_factory.mktemp("state")
    fields = yaml.safe_load(SETTINGS.replace(CLIPS, str(clips)))
    fields["streams"]["cameras"] = []
    fields["streams"]["unlike_frames"]["folder"] = str(state / "unlike")
    database = f"sqlite:///{state / 'events.db'}"
    with LiveServer(ServerSettings(threads=1, events={"database_url": database}, **fields)) as running:
        yield running


@pytest.fixture
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        yield client


def command(*words: str) -> str:
    """Give the one command of the page that has all these words."""
    (found,) = (one for one in COMMANDS if all(word in one for word in words))
    return found


def shell(line: str, server: LiveServer, clips: Path) -> str:
    """Run a command of the page; gives what it prints."""
    here = line.replace(URL, server.url).replace(CLIPS, str(clips)).replace("curl ", "curl -sS --fail-with-body ", 1)
    done = subprocess.run(["bash", "-c", here], cwd=clips, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (here, done.stdout, done.stderr)
    return done.stdout


def push(http: httpx.Client, clips: Path, stream_id: str, count: int) -> None:
    """Send the first frames of the clip to a stream."""
    for index in range(count):
        headers = {"X-Stream-Id": stream_id, "X-Frame-Index": str(index), "Content-Type": "image/png"}
        body = (clips / f"frame-{index}.png").read_bytes()
        assert http.post("/v1/detect", content=body, headers=headers).status_code == 200


def test_the_settings_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "server.yaml"
    file.write_text(SETTINGS)
    assert run(Server, ["--config-file", str(file), "config"]) == 0
    shown = capsys.readouterr().out
    assert "mast-3" in shown
    assert "viewer:secret" not in shown


def test_a_frame_of_a_stream(server: LiveServer, clips: Path) -> None:
    message = FrameMessage.model_validate_json(shell(command("X-Stream-Id: roof"), server, clips))
    assert (message.stream_id, message.frame_index, message.window.restart) == ("roof", 0, "start")
    assert len(message.detections) == 1


def test_the_answer_shown_has_the_parts_of_an_answer() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert set(json.loads(shown)) == set(FrameMessage.model_fields)


def test_a_batch(server: LiveServer, clips: Path) -> None:
    results = json.loads(shell(command("/v1/detect/batch"), server, clips))["results"]
    assert [len(one["result"]["detections"]) for one in results] == [1, 1]


@pytest.mark.parametrize("sending", ["--data-binary @clip.mp4", "-X POST -T clip.mp4"])
def test_a_video(server: LiveServer, clips: Path, sending: str) -> None:
    assert f"`{sending}`" in PAGE or sending in command("/v1/videos")
    line = command("/v1/videos").replace("--data-binary @clip.mp4", sending)
    *frames, end = (json.loads(one) for one in shell(line, server, clips).splitlines())
    assert [frame["frame_index"] for frame in frames] == list(range(90))
    assert [frame["alarms"]["new"] for frame in frames if frame["alarms"]["new"]] == [[1]]
    assert (end["type"], end["frames"], end["reason"]) == ("end", 90, "the video is over")


def test_a_file_is_read_looked_at_and_deleted(server: LiveServer, clips: Path, http: httpx.Client) -> None:
    assert json.loads(shell(command("--json"), server, clips))["stream_id"] == "replay"
    look = command("curl http", "/v1/streams/replay")
    wait_until(lambda: json.loads(shell(look, server, clips))["tracks"] == 1)
    shell(command("DELETE"), server, clips)
    assert http.get("/v1/streams/replay").status_code == 404


@pytest.mark.parametrize("accept", [False, True], ids=["ndjson", "sse"])
def test_listening_with_curl(server: LiveServer, clips: Path, http: httpx.Client, *, accept: bool) -> None:
    (line,) = (one for one in COMMANDS if "/detections" in one and ("event-stream" in one) is accept)
    said = listen_while_frames_come(lambda: shell(line, server, clips), server, clips, http)
    events = re.findall(r"^data: (.*)$", said, re.MULTILINE) if accept else said.splitlines()
    assert [json.loads(one)["type"] for one in events] == ["frame"] * 4 + ["end"]


def test_listening_with_httpx(
    server: LiveServer, clips: Path, http: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    code = LISTEN.replace(URL, server.url)
    listen_while_frames_come(lambda: exec(code, {}), server, clips, http)
    new, over = capsys.readouterr().out.splitlines()
    assert new.startswith("new target 1 [")
    assert over == "over: it was deleted"


def listen_while_frames_come(listen: Any, server: LiveServer, clips: Path, http: httpx.Client) -> Any:
    """Open `mast-3`, listen, send it four frames more, end it; gives what listening gave."""
    push(http, clips, "mast-3", 1)
    stream = server.service.streams.find("mast-3")
    said: list[Any] = []
    listener = threading.Thread(target=lambda: said.append(listen()))
    listener.start()
    wait_until(lambda: len(stream.hub) == 1, timeout_s=20)
    for index in range(1, 5):
        headers = {"X-Stream-Id": "mast-3", "Content-Type": "image/png"}
        http.post("/v1/detect", content=(clips / f"frame-{index}.png").read_bytes(), headers=headers)
    assert http.delete("/v1/streams/mast-3").status_code == 204
    listener.join(20)
    assert len(said) == 1, "listening failed"
    return said[0]


def test_frames_over_a_websocket(server: LiveServer, capsys: pytest.CaptureFixture[str]) -> None:
    exec(WEBSOCKET.replace(URL.removeprefix("http"), server.url.removeprefix("http")), {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [str(index) for index in range(10)]


def test_the_preview_is_a_picture_element(server: LiveServer, clips: Path, http: httpx.Client) -> None:
    (address,) = re.findall(r'<img src="([^"]+)"', PAGE)
    push(http, clips, "mast-3", 1)
    with http.stream("GET", address.replace(URL, server.url)) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("multipart/x-mixed-replace")
    http.delete("/v1/streams/mast-3")


def test_every_metric_and_limit_of_streams_is_on_the_page(server: LiveServer, clips: Path, http: httpx.Client) -> None:
    shell(command("--json"), server, clips)
    names = set(re.findall(r"^# TYPE loddis_((?:stream|source)_\w+)", http.get("/metrics").text, re.MULTILINE))
    shell(command("DELETE"), server, clips)
    assert len(names) > 10
    assert [name for name in names if not re.search(rf"loddis_{name}|…_{name.split('_', 1)[1]}", PAGE)] == []
    numbers = {name: field.default for name, field in StreamsSettings.model_fields.items() if name.count("_")}
    for name, default in numbers.items():
        if isinstance(default, int | float):
            assert f"| `{name.upper()}` | {default:g} |" in PAGE
