"""The command `loddis-client`, and the examples of its README."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_client.cli import run
from support.live_server import LiveServer

README = Path(__file__).parents[2] / "clients" / "python" / "README.md"


@pytest.fixture
def folder(tmp_path: Path, frame: NDArray[np.uint8]) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), frame)
    np.save(folder / "b.npy", frame)
    (folder / "notes.txt").write_text("no image")
    return folder


def test_detect_prints_writes_and_draws(
    server: LiveServer, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, pictures = tmp_path / "new" / "found.ndjson", tmp_path / "pictures"
    words = ["detect", str(folder), "--url", server.url, "--output", str(out), "--overlay", str(pictures)]
    assert run(words) == 0
    assert "a.png" in capsys.readouterr().out
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["a.png", "b.npy"]
    assert all(len(line["detections"]) == 1 for line in lines)
    assert sorted(file.name for file in pictures.iterdir()) == ["a.png", "b.png"]
    assert run(["detect", str(folder / "a.png"), "--url", server.url, "--json", "--score-threshold", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["detections"] == []
    assert run(["detect", str(folder / "a.png"), "--url", server.url, "--score-threshold", "1"]) == 0
    assert "–" in capsys.readouterr().out


def test_one_bad_file_does_not_stop_the_others(
    server: LiveServer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a2.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert run(["detect", str(folder), "--url", server.url, "--json"]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert captured.err.startswith("loddis-client: error:")
    assert captured.err.count("\n") == 1


def test_models_are_listed(server: LiveServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--url", server.url]) == 0
    assert "spot" in capsys.readouterr().out
    assert run(["models", "--url", server.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "spot"


def test_failures_take_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--url", "http://127.0.0.1:9"]) == 1
    assert capsys.readouterr().err.startswith("loddis-client: error: no connection to http://127.0.0.1:9")
    assert run(["detect", str(tmp_path)]) == 1
    assert "holds no images" in capsys.readouterr().err
    assert run(["models", "--url", "nonsense"]) == 1
    assert "base_url must be" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["detect"], ["detect", "a.png", "--score-threshold", "high"], ["watch"]])
def test_wrong_use_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    assert "usage:" in capsys.readouterr().err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert run(["detect", "--help"]) == 0
    assert "LODDIS_API_KEY" in capsys.readouterr().out
    assert run(["--version"]) == 0


def test_the_readmes_examples_run(
    server: LiveServer, folder: Path, frame: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(folder / "frame.png"), frame)
    monkeypatch.chdir(folder)
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) == 4
    names: dict[str, object] = {"frame": frame, "frames": [frame] * 3}
    for example in examples:
        code = example.replace("http://127.0.0.1:8080", server.url).replace("Client()", f"Client('{server.url}')")
        exec(code.replace("Client(retries", f"Client('{server.url}', retries"), names)
    asyncio.run(names["watch"]([frame]))  # type: ignore[operator]
