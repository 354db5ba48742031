"""The demo, run as a user runs it, on a short clip."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import httpx
import numpy as np
import pytest

from support.bundles import write_spot_bundle
from support.live_server import wait_until

DEMO = Path(__file__).parents[2] / "demo" / "run.py"
TIMEOUT_S = 120.0


def run_demo(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEMO), *words]
    environment = {**os.environ, "LODDIS_API_KEY": "of-another-server", "COLUMNS": "200"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, env=environment
    )


def writers_of(log: Path) -> list[int]:
    """Give the processes that hold the server's log open: the server, if it lives."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                held = [link.resolve() for link in (entry / "fd").iterdir()]
            except OSError:  # gone meanwhile, or another user's
                continue
            if log.resolve() in held:
                found.append(int(entry.name))
    return found


def test_the_demo_makes_what_it_says_and_leaves_nothing_running(tmp_path: Path) -> None:
    write_spot_bundle(tmp_path / "models", size_hw=(256, 320))
    output = tmp_path / "output"
    done = run_demo(
        "--model", "spot", "--model-repository", str(tmp_path / "models"), "--frames", "12", "--output", str(output)
    )
    assert done.returncode == 0, done.stderr
    for words in ("aircraft", "false alarms per frame", "frames/s", "p50", "p99"):
        assert words in done.stdout

    lines = [json.loads(line) for line in (output / "detections.ndjson").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(12))
    for line in lines:
        assert len(line["truth"]) == 3
        centres = [detection["centroid_xy"] for detection in line["detections"]]
        for target in line["truth"]:
            assert min(abs(x - target["centre_xy"][0]) + abs(y - target["centre_xy"][1]) for x, y in centres) < 1

    with av.open(str(output / "annotated.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height) == (960, 768)
        assert sum(1 for _ in container.decode(video=0)) == 12
    assert (output / "picture.png").stat().st_size > 10_000
    frame = cv2.imread(str(output / "frame.png"), cv2.IMREAD_UNCHANGED)
    assert (frame.shape, frame.dtype) == ((256, 320), np.uint8)

    assert writers_of(output / "server.log") == []
    port = re.search(r"server: http://127\.0\.0\.1:(\d+)", done.stdout)
    assert port is not None
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(port[1]))) != 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_takes_its_server_with_it(tmp_path: Path, number: signal.Signals) -> None:
    write_spot_bundle(tmp_path / "models", size_hw=(256, 320))
    command = [sys.executable, str(DEMO), "--model", "spot", "--model-repository", str(tmp_path / "models")]
    command += ["--frames", "200", "--output", str(tmp_path)]
    log = tmp_path / "server.log"
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that were started in the background ignore Ctrl-C, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as demo:
        deadline = time.monotonic() + TIMEOUT_S
        while len(set(writers_of(log)) - {demo.pid}) == 0:
            assert demo.poll() is None, "the demo ended before its server ran"
            assert time.monotonic() < deadline
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode == 128 + number
    assert errors == ""
    assert writers_of(log) == []
    assert not (tmp_path / "annotated.mp4").exists()


def test_a_demo_that_cannot_run_says_why_in_one_line(tmp_path: Path) -> None:
    done = run_demo("--model", "nothing", "--frames", "2", "--output", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("demo: error: the server ended with status")
    assert "nothing" in done.stderr
    assert done.stderr.count("\n") == 1
    assert writers_of(tmp_path / "server.log") == []

    (tmp_path / "file").touch()
    blocked = run_demo("--frames", "2", "--output", str(tmp_path / "file"))
    assert blocked.returncode == 1
    assert blocked.stderr.startswith("demo: error:")
    assert blocked.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("--frames", "0"), ("--seed", "-1"), ("--concurrency", "0"), ("--frames", "many")])
def test_a_demo_used_wrongly_exits_with_2(words: tuple[str, str]) -> None:
    done = run_demo(*words)
    assert done.returncode == 2
    assert words[0] in done.stderr


def test_the_cameras_watch_until_they_are_told_to_stop(tmp_path: Path) -> None:
    write_spot_bundle(tmp_path / "models", size_hw=(256, 320))
    command = [sys.executable, str(DEMO.with_name("cameras.py")), "--model", "spot"]
    command += ["--model-repository", str(tmp_path / "models")]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As from a terminal; what runs tests in the background lets its children ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as cameras:
        try:
            assert cameras.stdout is not None
            (url,) = re.findall(r"http://[0-9.:]+", cameras.stdout.readline())

            def frames() -> list[int]:
                streams = httpx.get(f"{url}/v1/streams", trust_env=False).json()["streams"]
                return [stream["frames"] for stream in streams]

            wait_until(lambda: len(frames()) == 3 and min(frames()) > 15)
            cameras.send_signal(signal.SIGINT)
            assert cameras.wait(TIMEOUT_S) == 0
            assert cameras.stderr is not None
            assert cameras.stderr.read() == ""
        finally:
            cameras.kill()
    with pytest.raises(httpx.ConnectError):
        frames()
