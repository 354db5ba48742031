"""Videos as a training sees them: levels as the stream holds them, one channel, and true colour refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_runtime.command import run
from loddis_trainer.cli import Trainer
from loddis_trainer.data import DataError, DomainDataset
from loddis_trainer.data.readers import read_split
from loddis_trainer.data.readers.videos import decode_frames
from support.domains import SIZE_HW, spot_frame, write_drone_csv_domain
from support.recordings import write_video

HIGH, WIDE = SIZE_HW
ALL = tuple(range(4))


def yuv(luma: NDArray[Any], chroma: NDArray[Any] | int) -> NDArray[Any]:
    """Stack the planes of 4:2:0, both chroma planes the same, as (1.5 H, W)."""
    plane = np.broadcast_to(np.asarray(chroma, luma.dtype), (HIGH // 2, WIDE // 2)).reshape(HIGH // 4, WIDE)
    return np.vstack((luma, plane, plane))


def lossless(path: Path, frames: list[NDArray[Any]], pix_fmt: str) -> Path:
    """Write an H.264 file of these very planes."""
    return write_video(path, frames, codec="libx264", array_format=pix_fmt, options={"qp": "0"})


def coloured(
    path: Path,
    pix_fmt: str = "yuv420p",
    *,
    rows: int = HIGH // 2,
    columns: int = WIDE // 2,
    by: float = 0.3,
    first: int = 0,
) -> Path:
    """Write grey frames of which a corner, `by` of the range away from grey, turns to colour at a frame."""
    bits, dtype = (10, np.uint16) if "10" in pix_fmt else (8, np.uint8)
    neutral = 1 << (bits - 1)
    chroma = np.full((HIGH // 2, WIDE // 2), neutral)
    chroma[:rows, :columns] += round(by * neutral)
    luma = np.full(SIZE_HW, neutral, dtype)
    return lossless(path, [yuv(luma, chroma if number >= first else neutral) for number in ALL], pix_fmt)


def test_a_deep_video_keeps_its_levels_in_training_and_inspection(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_drone_csv_domain(tmp_path / "deep", splits={"train": 1}, frames=4)
    levels = np.full(SIZE_HW, 400, np.uint16)
    levels[20:30, 40:50] = 403
    lossless(root / "videos" / "TRAIN_000.mp4", [yuv(levels, 512)] * 4, "yuv420p10le")
    dataset = DomainDataset.open(root, "train", cache_dir=tmp_path / "cache", progress=False)
    assert all(np.array_equal(dataset.frame(number), levels) for number in ALL)
    assert dataset.frame(0).dtype == np.uint16
    assert run(Trainer, ["data", "inspect", str(root), "--out", str(tmp_path / "seen")]) == 0
    assert "'train' has 16-bit frames with levels from 400 to 403, 0.0 % of the range" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize("pix_fmt", ["gray10le", "gray16le"])
def test_deep_grey_keeps_its_levels(tmp_path: Path, pix_fmt: str) -> None:
    top = 2 ** int(pix_fmt[4:6]) - 1
    levels = np.linspace(0, top, HIGH * WIDE).astype(np.uint16).reshape(SIZE_HW)
    path = write_video(tmp_path / "a.mp4", [levels, levels // 2], array_format=pix_fmt)
    first, second = decode_frames(path, (0, 1))
    assert first.dtype == np.uint16
    assert np.array_equal(first, levels)
    assert np.array_equal(second, levels // 2)


@pytest.mark.parametrize("pix_fmt", ["p010le", "gbrp10le"])
def test_a_deep_format_that_is_no_grey_or_planar_yuv_is_refused(
    tmp_path: Path, pix_fmt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = coloured(tmp_path / "a.mp4", by=0)
    odd = av.VideoFrame(WIDE, HIGH, pix_fmt)
    monkeypatch.setattr("av.container.InputContainer.decode", lambda *_, **__: iter([odd]), raising=False)
    with pytest.raises(DataError, match=rf"a\.mp4, frame 0: the pixel format is {pix_fmt}; of more than 8 bits"):
        list(decode_frames(path, (0,)))


def test_8_bits_of_video_range_are_stretched_as_ever(tmp_path: Path) -> None:
    ramp = np.linspace(16, 235, HIGH * WIDE).astype(np.uint8).reshape(SIZE_HW)
    (frame,) = decode_frames(lossless(tmp_path / "a.mp4", [yuv(ramp, 128)], "yuv420p"), (0,))
    assert frame.dtype == np.uint8
    assert (frame.min(), frame.max()) == (0, 255)
    (full,) = decode_frames(write_video(tmp_path / "b.mp4", [ramp], array_format="gray"), (0,))
    assert np.array_equal(full, ramp)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_true_colour_is_refused_with_file_and_frame(tmp_path: Path, pix_fmt: str) -> None:
    path = coloured(tmp_path / "a.mp4", pix_fmt, first=2)
    frames = decode_frames(path, ALL)
    assert [next(frames).shape for _ in range(2)] == [SIZE_HW] * 2
    with pytest.raises(DataError, match=r"a\.mp4, frame 2: true colour is refused"):
        next(frames)
    assert len(list(decode_frames(path, (0, 1)))) == 2  # nobody labelled the others


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize(("columns", "by"), [(WIDE // 2, 0.06), (4, 0.9)], ids=["codec noise", "a coloured clock"])
def test_what_a_camera_adds_to_grey_is_no_colour(tmp_path: Path, pix_fmt: str, columns: int, by: float) -> None:
    rows = HIGH // 2 if columns == WIDE // 2 else columns
    path = coloured(tmp_path / "a.mp4", pix_fmt, rows=rows, columns=columns, by=by)
    assert len(list(decode_frames(path, ALL))) == 4


def test_grey_in_three_channels_is_collapsed_and_colour_in_them_refused(tmp_path: Path) -> None:
    spot = spot_frame((40, 30), seed=1)

    def written(channels: list[NDArray[Any]]) -> Path:
        return write_video(
            tmp_path / "a.mp4", [np.dstack(channels)], codec="libx264rgb", array_format="rgb24", options={"qp": "0"}
        )

    (frame,) = decode_frames(written([spot] * 3), (0,))
    assert frame.shape == SIZE_HW
    assert np.abs(frame.astype(int) - spot).max() <= 1
    with pytest.raises(DataError, match=r"a\.mp4, frame 0: true colour is refused"):
        list(decode_frames(written([spot, spot, spot // 2]), (0,)))


def test_real_videos_read_as_ffmpeg_gives_their_grey(loddis_data: Path) -> None:
    sequence = read_split(loddis_data / "sky", "val").sequences[0]
    wanted = {record.frame_index for record in sequence.records}
    with av.open(str(sequence.files[0])) as container:
        expected = [f.to_ndarray(format="gray") for i, f in enumerate(container.decode(video=0)) if i in wanted]
    for frame, other in zip(sequence.decode(), expected, strict=True):
        assert np.array_equal(frame, other)
