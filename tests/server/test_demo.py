"""The demo, run as a user runs it, on a short clip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import av

from support.bundles import write_spot_bundle

ROOT = Path(__file__).parents[2]


def run_demo(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "demo" / "run.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL)


def server_processes() -> set[int]:
    """Process ids of servers, of this user, that are alive now."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.stat().st_uid == os.getuid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"loddis_server" in words:
                found.add(int(entry.name))
    return found


def test_the_demo_makes_what_it_says_and_leaves_nothing_running(tmp_path: Path) -> None:
    write_spot_bundle(tmp_path / "models", size_hw=(256, 320))
    before = server_processes()
    done = run_demo(
        "--model", "spot", "--model-repository", str(tmp_path / "models"), "--frames", "12", "--output", str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert "false alarms per frame" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "detections.ndjson").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(12))
    assert all(line["index"] == i and len(line["truth"]) == 3 for i, line in enumerate(lines))
    assert any(line["detections"] for line in lines)
    with av.open(str(tmp_path / "annotated.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert sum(1 for _ in container.decode(video=0)) == 12
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    assert server_processes() == before


def test_a_demo_that_cannot_run_says_why_in_one_line(tmp_path: Path) -> None:
    before = server_processes()
    done = run_demo("--model", "nothing", "--frames", "2", "--output", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("demo: error: the server ended with status")
    assert "nothing" in done.stderr
    assert done.stderr.count("\n") == 1
    assert server_processes() == before
    assert run_demo("--frames", "0").returncode == 2
