"""Frames for labelling: lossless, spread over time, and never more than the disk and the limits allow."""

from __future__ import annotations

import json
import logging
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from loddis_server.scene_health import ArchiveSettings, FrameArchive

START_S = 1_767_225_600.0  # 2026-01-01


def frame_of(dtype: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.random((40, 50)) * {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]).astype(dtype)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture
def roomy() -> ArchiveSettings:
    return ArchiveSettings(interval_s=10, min_free_bytes=0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_frames_come_back_bit_by_bit(tmp_path: Path, roomy: ArchiveSettings, dtype: Any) -> None:
    frame = frame_of(dtype)
    path = FrameArchive(tmp_path, roomy).offer(frame, captured_at_s=START_S + 0.25, about={"distance": 7.5})
    assert path is not None
    again = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert again is not None
    assert again.dtype == frame.dtype
    assert (again == frame).all()
    assert json.loads(path.with_suffix(".json").read_text()) == {
        "image": path.name,
        "captured_at": "2026-01-01T00:00:00.250000+00:00",
        "size_hw": [40, 50],
        "dtype": frame.dtype.name,
        "distance": 7.5,
    }


def test_frames_are_spread_over_time(tmp_path: Path, roomy: ArchiveSettings) -> None:
    archive = FrameArchive(tmp_path, roomy)
    kept = [archive.offer(frame_of(np.uint8), captured_at_s=START_S + i, about={}) is not None for i in range(31)]
    assert [i for i, is_kept in enumerate(kept) if is_kept] == [0, 10, 20, 30]
    assert archive.offer(frame_of(np.uint8), captured_at_s=START_S - 3600, about={})  # the clock was set back


def test_the_oldest_goes_first(tmp_path: Path) -> None:
    archive = FrameArchive(tmp_path, ArchiveSettings(max_frames=3, interval_s=0, min_free_bytes=0))
    paths = [archive.offer(frame_of(np.uint16, i), captured_at_s=START_S + i, about={}) for i in range(5)]
    assert len(archive) == 3
    assert names(tmp_path) == sorted(name for path in paths[2:] if path for name in (path.name, f"{path.stem}.json"))


def test_bytes_stay_within_their_limit(tmp_path: Path) -> None:
    limit = 12_000  # two frames of noise, not three
    archive = FrameArchive(tmp_path, ArchiveSettings(max_bytes=limit, interval_s=0, min_free_bytes=0))
    for i in range(6):
        assert archive.offer(frame_of(np.uint16, i), captured_at_s=START_S + i, about={})
        on_disk = sum(file.stat().st_size for file in tmp_path.iterdir())
        assert archive.kept_bytes == on_disk <= limit
    assert len(archive) == 2
    large = np.random.default_rng(0).integers(0, 65536, (100, 100)).astype(np.uint16)
    assert archive.offer(large, captured_at_s=START_S + 9, about={}) is None
    assert len(archive) == 2


def test_a_new_process_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    settings = ArchiveSettings(max_frames=2, interval_s=0, min_free_bytes=0)
    first = FrameArchive(tmp_path, settings)
    for i in range(2):
        first.offer(frame_of(np.uint8, i), captured_at_s=START_S + i, about={})
    (tmp_path / "20260101T000005.000000Z-000009.png.part").write_bytes(b"half")
    (tmp_path / "20260101T000006.000000Z-000008.png").write_bytes(b"no sidecar")
    (tmp_path / "labels.csv").write_text("not ours")
    again = FrameArchive(tmp_path, settings)
    assert (len(again), again.kept_bytes) == (len(first), first.kept_bytes)
    path = again.offer(frame_of(np.uint8, 7), captured_at_s=START_S + 9, about={})
    assert path is not None
    assert path.stem.endswith("-000002")
    assert len(again) == 2
    assert "labels.csv" in names(tmp_path)
    assert len(names(tmp_path)) == 5
    assert len(FrameArchive(tmp_path, settings.model_copy(update={"max_frames": 1}))) == 1


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
            assert archive.offer(frame_of(np.uint8), captured_at_s=START_S + 10 * i, about={}) is None
    assert (archive.failed, len(archive), names(tmp_path)) == (3, 0, [])
    assert [record.getMessage() for record in caplog.records] == [
        f"frames are not kept in {tmp_path}: No space left on device"
    ]
    assert archive.offer(frame_of(np.uint8), captured_at_s=START_S + 99, about={}) is not None


def test_some_of_the_disk_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    archive = FrameArchive(tmp_path, ArchiveSettings(min_free_bytes=10**6))
    assert archive.offer(frame_of(np.uint8), captured_at_s=START_S, about={}) is None
    assert (archive.failed, names(tmp_path)) == (1, [])


def test_a_folder_that_vanished_is_no_crash(tmp_path: Path, roomy: ArchiveSettings) -> None:
    archive = FrameArchive(tmp_path / "kept", roomy)
    shutil.rmtree(tmp_path / "kept")
    assert archive.offer(frame_of(np.uint8), captured_at_s=START_S, about={}) is None
    assert archive.failed == 1
