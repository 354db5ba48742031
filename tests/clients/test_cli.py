"""The command `loddis-client`, and the examples of its README."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_client import cli
from loddis_client.cli import run
from support.live_server import LiveServer
from support.recordings import video

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
    out, pictures = tmp_path / "found.ndjson", tmp_path / "pictures"
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


def test_names_are_shown_as_they_are(
    server: LiveServer, frame: NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["run[a]_0001.png", "run[1] :key:.png", "run[red].png"]
    for name in names:
        cv2.imwrite(str(tmp_path / name), frame)
    for threshold in ("0.5", "1"):  # with a target, and without one
        assert run(["detect", str(tmp_path), "--url", server.url, "--score-threshold", threshold]) == 0
        shown = capsys.readouterr().out
        assert [name for name in names if name not in shown] == []


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
    frame = tmp_path / "a.png"
    frame.write_bytes(b"x")
    assert run(["detect", str(frame), "--output", str(tmp_path / "none" / "out.ndjson")]) == 1
    error = capsys.readouterr().err
    assert "No such file or directory" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["detect"], ["detect", "a.png", "--score-threshold", "high"], ["watch"]])
def test_wrong_use_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["models", "--url", "nonsense"], "base_url must be"),
        (["models", "--url", "http://[::1"], "base_url must be"),
        (["models", "--timeout-s", "0"], "timeout_s must be above 0"),
        (["models", "--timeout-s", "inf"], "timeout_s must be above 0"),
        (["models", "--api-key", "clé"], "visible ASCII"),
        (["detect", "none.png", "--score-threshold", "2"], "score_threshold must be in"),
        (["detect", "none.png", "--max-detections", "0"], "max_detections must be"),
        (["detect", "none.png", "--concurrency", "0"], "concurrency must be"),
    ],
)
def test_values_that_cannot_be_are_status_2_before_anything_is_sent(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_files_of_one_name_have_pictures_of_their_own(
    server: LiveServer, frame: NDArray[np.uint8], tmp_path: Path
) -> None:
    files = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        files += [str(tmp_path / folder / "0001.png"), str(tmp_path / folder / "0001.npy")]
        cv2.imwrite(files[-2], frame)
        np.save(files[-1], frame)
    pictures = tmp_path / "pictures"
    assert run(["detect", *files, "--url", server.url, "--overlay", str(pictures)]) == 0
    names = {"one/0001.png.png", "one/0001.npy.png", "two/0001.png.png", "two/0001.npy.png"}
    assert {str(file.relative_to(pictures)) for file in pictures.rglob("*.png")} == names
    assert run(["detect", *files[:2], "--url", server.url, "--overlay", str(pictures)]) == 0
    assert {file.name for file in pictures.glob("*.png")} == {"0001.png.png", "0001.npy.png"}


def test_what_is_done_is_written_before_the_next(
    server: LiveServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "found.ndjson"
    original = cli._add_rows

    def interrupt(table: Any, path: Path, result: Any) -> None:
        original(table, path, result)
        if path.name == "b.npy":
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_add_rows", interrupt)
    assert run(["detect", str(folder), "--url", server.url, "--output", str(out)]) == 130
    assert [Path(json.loads(line)["file"]).name for line in out.read_text().splitlines()] == ["a.png"]


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
    (folder / "clip.mkv").write_bytes(video([frame] * 2))
    assert len(examples) == 5
    names: dict[str, object] = {"frame": frame, "frames": [frame] * 3}
    for example in examples:
        code = example.replace("http://127.0.0.1:8080", server.url).replace("Client()", f"Client('{server.url}')")
        exec(code.replace("Client(retries", f"Client('{server.url}', retries"), names)
    asyncio.run(names["watch"]([frame]))  # type: ignore[operator]
