"""Frames for labelling: lossless, spread over time, and never more than the disk and the limits allow."""

from __future__ import annotations

import json
import logging
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from loddis_server.scene_health import ArchiveSettings, FrameArchive
from loddis_server.scene_health.archive import NAME

START_S = 1_767_225_600.0  # 2026-01-01


def frame_of(dtype: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.random((40, 50)) * {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]).astype(dtype)


def names(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


def keep(archive: FrameArchive, second: float, frame: Any = None, *, stream_id: str = "mast") -> Path | None:
    given = frame_of(np.uint8) if frame is None else frame
    return archive.keep(given, stream_id=stream_id, captured_at_s=START_S + second, about={})


@pytest.fixture
def roomy() -> ArchiveSettings:
    return ArchiveSettings(interval_s=10, min_free_bytes=0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_frames_come_back_bit_by_bit(tmp_path: Path, roomy: ArchiveSettings, dtype: Any) -> None:
    frame = frame_of(dtype)
    archive = FrameArchive(tmp_path, roomy)
    path = archive.keep(frame, stream_id="mast", captured_at_s=START_S + 0.25, about={"distance": 7.5})
    assert path is not None
    again = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert again is not None
    assert again.dtype == frame.dtype
    assert (again == frame).all()
    assert json.loads(path.with_suffix(".json").read_text()) == {
        "stream_id": "mast",
        "image": path.name,
        "captured_at": "2026-01-01T00:00:00.250000+00:00",
        "size_hw": [40, 50],
        "dtype": frame.dtype.name,
        "distance": 7.5,
    }


def test_the_oldest_goes_first(tmp_path: Path) -> None:
    archive = FrameArchive(tmp_path, ArchiveSettings(max_frames=3, min_free_bytes=0))
    paths = [keep(archive, i, frame_of(np.uint16, i)) for i in range(5)]
    assert len(archive) == 3
    files = sorted(name for path in paths[2:] if path for name in (path.name, f"{path.stem}.json"))
    assert names(tmp_path) == ["mast", *(f"mast/{name}" for name in files)]


def test_streams_of_ever_new_names_share_one_limit_and_leave_no_folders(tmp_path: Path) -> None:
    settings = ArchiveSettings(max_frames=3, min_free_bytes=0)
    archive = FrameArchive(tmp_path, settings)
    for i in range(20):
        assert keep(archive, i, stream_id=f"session-{i}")
    kept = ["session-17", "session-18", "session-19"]
    assert sorted(folder.name for folder in tmp_path.iterdir()) == kept
    assert all(len(list((tmp_path / name).iterdir())) == 2 for name in kept)
    again = FrameArchive(tmp_path, settings)  # of the next process
    assert keep(again, 20, stream_id="session-20")
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["session-18", "session-19", "session-20"]


def test_streams_side_by_side_stay_within_the_limit(tmp_path: Path) -> None:
    archive = FrameArchive(tmp_path, ArchiveSettings(max_frames=5, min_free_bytes=0))
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda i: keep(archive, i, stream_id=f"mast-{i % 8}"), range(80)))
    assert None not in paths
    assert len(set(paths)) == 80
    assert len(list(tmp_path.glob("*/*.png"))) == len(list(tmp_path.glob("*/*.json"))) == len(archive) == 5


def test_bytes_stay_within_their_limit(tmp_path: Path) -> None:
    limit = 12_000  # two frames of noise, not three
    archive = FrameArchive(tmp_path, ArchiveSettings(max_bytes=limit, min_free_bytes=0))
    for i in range(6):
        assert keep(archive, i, frame_of(np.uint16, i), stream_id=f"mast-{i % 2}")
        on_disk = sum(file.stat().st_size for file in tmp_path.glob("*/*"))
        assert archive.kept_bytes == on_disk <= limit
    assert len(archive) == 2
    large = np.random.default_rng(0).integers(0, 65536, (100, 100)).astype(np.uint16)
    assert keep(archive, 9, large) is None
    assert len(archive) == 2


def test_a_new_process_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    settings = ArchiveSettings(max_frames=2, min_free_bytes=0)
    first = FrameArchive(tmp_path, settings)
    for i in range(2):
        assert keep(first, i, frame_of(np.uint8, i))
    folder = tmp_path / "mast"
    (folder / "20260101T000005.000000Z-000009.png.part").write_bytes(b"half")
    (folder / "20260101T000006.000000Z-000008.png").write_bytes(b"no sidecar")
    (folder / "labels.csv").write_text("not ours")
    again = FrameArchive(tmp_path, settings)
    path = keep(again, 9, frame_of(np.uint8, 7))
    assert path is not None
    assert path.stem.endswith("-000002")
    assert len(again) == 2
    assert again.kept_bytes == sum(file.stat().st_size for file in folder.iterdir() if NAME.fullmatch(file.stem))
    assert "mast/labels.csv" in names(tmp_path)
    assert len(names(folder)) == 5
    fewer = FrameArchive(tmp_path, settings.model_copy(update={"max_frames": 1}))
    assert keep(fewer, 10, stream_id="other")
    assert names(tmp_path)[:2] == ["mast", "mast/labels.csv"]  # a folder with files of others stays
    assert len(fewer) == 1


def test_a_full_disk_costs_the_frame_and_one_line(
    tmp_path: Path, roomy: ArchiveSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    archive = FrameArchive(tmp_path, roomy)
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        write(path, data[:7])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(Path, "write_bytes", full)
        for i in range(3):
            assert keep(archive, i) is None
    assert (archive.failed, len(archive), names(tmp_path)) == (3, 0, [])
    assert [record.getMessage() for record in caplog.records] == [
        f"frames are not kept in {tmp_path}: No space left on device"
    ]
    assert keep(archive, 99) is not None


def test_some_of_the_disk_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    archive = FrameArchive(tmp_path, ArchiveSettings(min_free_bytes=10**6))
    assert keep(archive, 0) is None
    assert (archive.failed, names(tmp_path)) == (1, [])


def test_a_folder_that_vanished_or_cannot_be_made_is_no_crash(tmp_path: Path, roomy: ArchiveSettings) -> None:
    archive = FrameArchive(tmp_path / "kept", roomy)
    assert keep(archive, 0)
    shutil.rmtree(tmp_path / "kept")
    assert keep(archive, 1) is None
    assert archive.failed == 1
    (tmp_path / "file").touch()
    assert keep(FrameArchive(tmp_path / "file" / "kept", roomy), 0) is None
