"""Files as sources: every frame, its values, in order; and what becomes of a reader that does not survive them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from loddis_server.sources.allow_list import SourceAllowList
from loddis_server.sources.settings import SourceSettings
from loddis_server.sources.source import Source
from loddis_server.sources.status import SourceFrame
from support.recordings import write_video
from support.sources import TIMEOUT_S, levels, read_all


@pytest.fixture
def allow(tmp_path: Path) -> SourceAllowList:
    return SourceAllowList(folders=(tmp_path,))


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("a.mkv", "ffv1", "gray16le"), ("a.nut", "rawvideo", "gray16le"), ("a.avi", "ffv1", "gray16le")],
)
def test_every_frame_comes_with_its_values(
    allow: SourceAllowList, tmp_path: Path, name: str, codec: str, pix_fmt: str
) -> None:
    path = write_video(tmp_path / name, levels(40), codec=codec, pix_fmt=pix_fmt)
    frames, status, told = read_all(allow, path=path)
    assert [frame.index for frame in frames] == list(range(40))
    assert [(frame.image.dtype, frame.image.shape) for frame in frames[:1]] == [(np.uint16, (64, 80))]
    assert all((frame.image == 1000 + frame.index).all() for frame in frames)
    assert [state.state for state in told] == ["live", "ended"]
    assert (status.frames, status.dropped, status.restarts, status.cause) == (40, 0, 0, None)
    assert (status.container or "", status.codec) != ("", None)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_bits_of_the_sensor_are_not_stretched(allow: SourceAllowList, tmp_path: Path, bits: int) -> None:
    rng = np.random.default_rng(bits)
    image = rng.integers(0, 2**bits, (64, 80), dtype=np.uint16)
    # PyAV makes no such frames of arrays; the bytes are the same as those of gray16.
    path = write_sensor_video(tmp_path / "a.nut", image, pix_fmt=f"gray{bits}le")
    frames, _, _ = read_all(allow, path=path)
    assert np.array_equal(frames[0].image, image)


def write_sensor_video(path: Path, image: np.ndarray[Any, Any], *, pix_fmt: str) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("rawvideo", rate=30)
        stream.height, stream.width, stream.pix_fmt = *image.shape, pix_fmt
        frame = av.VideoFrame(image.shape[1], image.shape[0], pix_fmt)
        lines = np.zeros((image.shape[0], frame.planes[0].line_size // 2), np.uint16)
        lines[:, : image.shape[1]] = image
        frame.planes[0].update(lines.tobytes())
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_luma_of_a_grey_video_is_taken_as_it_is(allow: SourceAllowList, tmp_path: Path) -> None:
    frame = np.full((96, 80), 128, np.uint8)  # I420 of 64 x 80: luma, then neutral chroma
    frame[:64] = np.arange(16, 80, dtype=np.uint8)[:, None]
    path = write_video(tmp_path / "a.mkv", [frame] * 3, array_format="yuv420p")
    frames, _, _ = read_all(allow, path=path)
    assert np.array_equal(frames[2].image, frame[:64])


@pytest.mark.parametrize("container", ["a.mp4", "a.ts"])
def test_lossy_video_of_a_grey_scene_passes(allow: SourceAllowList, tmp_path: Path, container: str) -> None:
    rng = np.random.default_rng(1)
    scene = cv2.GaussianBlur(rng.integers(0, 255, (64, 80), dtype=np.uint8), (5, 5), 0)
    path = write_video(tmp_path / container, [scene] * 20, codec="libx264", array_format="gray", pix_fmt="yuv420p")
    frames, status, _ = read_all(allow, path=path)
    assert (len(frames), status.state) == (20, "ended")
    assert np.abs(frames[10].image.astype(int) - scene).mean() < 30


def coloured() -> list[np.ndarray[Any, Any]]:
    frame = np.zeros((64, 80, 3), np.uint8)
    frame[..., 0] = np.arange(80)
    frame[..., 2] = 200
    return [frame] * 3


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "bgr0"])
def test_true_colour_fails_and_says_why(allow: SourceAllowList, tmp_path: Path, pix_fmt: str) -> None:
    path = write_video(tmp_path / "a.mkv", coloured(), array_format="rgb24", pix_fmt=pix_fmt)
    frames, status, _ = read_all(allow, path=path)
    assert (frames, status.state, status.reason, status.restarts) == ([], "failed", "true_colour", 0)
    assert "in colour" in (status.cause or "")
    frames, status, _ = read_all(allow, path=path, take_luma=True)
    assert (len(frames), status.state, frames[0].image.shape) == (3, "ended", (64, 80))


def test_a_folder_of_images_is_a_video(allow: SourceAllowList, tmp_path: Path) -> None:
    for number in (1, 2, 10, 11):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), np.full((64, 80), 100 * number, np.uint16))
    cv2.imwrite(str(tmp_path / "frame3.tiff"), np.full((32, 40), 300, np.uint16))
    (tmp_path / "notes.txt").write_text("no image")
    frames, status, _ = read_all(allow, path=tmp_path, frame_rate_hz=10)
    assert [int(frame.image[0, 0]) for frame in frames] == [100, 200, 300, 1000, 1100]
    assert [frame.image.shape for frame in frames[1:4]] == [(64, 80), (32, 40), (64, 80)]
    assert [frame.pts_s for frame in frames] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert status.state == "ended"


def test_a_link_in_a_folder_of_images_leads_nowhere(allow: SourceAllowList, tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("/etc/hostname")
    _, status, _ = read_all(allow, path=tmp_path)
    assert (status.state, status.reason, status.restarts) == ("failed", "refused", 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "damaged"),
        (b"no video at all" * 1000, "damaged"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "damaged"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "unsupported"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n", "unsupported"),
    ],
    ids=["empty", "text", "playlist", "concat script", "session description"],
)
def test_what_is_no_video_fails_at_once(allow: SourceAllowList, tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.mkv").write_bytes(content)
    frames, status, _ = read_all(allow, path=tmp_path / "a.mkv")
    assert (frames, status.state, status.reason, status.restarts) == ([], "failed", reason, 0)


def test_frames_that_cannot_be_decoded_are_left_out(allow: SourceAllowList, tmp_path: Path) -> None:
    signature = b"\x89PNG"
    path = write_video(tmp_path / "a.avi", levels(5), codec="png", pix_fmt="gray16be", array_format="gray16be")
    data = path.read_bytes()
    assert data.count(signature) == 5
    path.write_bytes(data.replace(signature, b"nope", 2))
    frames, status, _ = read_all(allow, path=path)
    # FFmpeg takes pictures without a beginning for one with the next: three become one that is damaged.
    assert [int(frame.image[0, 0]) for frame in frames] == [1003, 1004]
    assert (status.state, status.dropped) == ("ended", 1)
    path.write_bytes(data.replace(signature, b"nope"))
    frames, status, _ = read_all(allow, path=path)
    assert (frames, status.state, status.reason, status.restarts) == ([], "failed", "damaged", 0)
    assert status.cause == "none of 1 frames could be decoded"


def test_a_file_that_is_not_there_is_not_waited_for(allow: SourceAllowList, tmp_path: Path) -> None:
    _, status, _ = read_all(allow, path=tmp_path / "absent.mkv")
    assert (status.state, status.reason, status.restarts) == ("failed", "not_found", 0)
    assert status.cause == f"there is no {tmp_path}/absent.mkv"
    assert status.is_over


def test_frames_over_the_limit_are_refused(allow: SourceAllowList, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", levels(3, size_hw=(256, 320)))
    frames, status, _ = read_all(allow, path=path, max_frame_pixels=256 * 320 - 1)
    assert (frames, status.state, status.reason) == ([], "failed", "too_large")
    assert status.cause == "frames of 320 x 256 are 81920 pixels, the limit is 81919"


def test_a_file_is_read_no_faster_than_it_is_taken(allow: SourceAllowList, tmp_path: Path) -> None:
    """A frame of 2 MiB, so that no more than a few fit between the processes."""
    path = write_video(tmp_path / "a.mkv", levels(40, size_hw=(1024, 1024)), options={"coder": "range_tab"})

    async def read() -> tuple[int, list[int]]:
        async with Source(SourceSettings(path=path), allow=allow) as source:
            frames = source.frames()
            first = await anext(frames)
            await asyncio.sleep(0.5)  # nobody takes frames meanwhile
            came = source.status.frames
            return came, [first.index, *[frame.index async for frame in frames]]

    came, indices = asyncio.run(asyncio.wait_for(read(), TIMEOUT_S))
    assert came < 10
    assert indices == list(range(40))


def test_in_real_time_a_file_takes_its_time_and_the_newest_frame_wins(allow: SourceAllowList, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", levels(30), fps=30)

    async def read() -> tuple[list[SourceFrame], int]:
        async with Source(SourceSettings(path=path, realtime=True), allow=allow) as source:
            frames = []
            async for frame in source.frames():
                frames.append(frame)
                if len(frames) == 1:
                    await asyncio.sleep(0.4)
            return frames, source.status.dropped

    frames, dropped = asyncio.run(asyncio.wait_for(read(), TIMEOUT_S))
    assert frames[-1].captured_at - frames[0].captured_at == pytest.approx(29 / 30, abs=0.3)
    assert frames[1].index - frames[0].index > 5
    assert len(frames) + dropped == 30
    assert all((frame.image == 1000 + frame.index).all() for frame in frames)


def test_the_pause_until_the_next_frame_of_a_slow_file_is_no_fault(allow: SourceAllowList, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", levels(4), fps=2)
    frames, status, _ = read_all(allow, path=path, realtime=True, stall_timeout_s=0.3)
    assert (status.state, status.restarts) == ("ended", 0)
    assert frames[-1].captured_at - frames[0].captured_at == pytest.approx(1.5, abs=0.3)


def test_a_rate_that_hardly_moves_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.001"):
        SourceSettings(path=tmp_path, frame_rate_hz=0.0005)


def test_what_lies_in_the_current_folder_is_not_run(
    allow: SourceAllowList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mkv", levels(3))
    for name in ("av", "ctypes", "loddis_server"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    frames, status, _ = read_all(allow, path=path)
    assert (len(frames), status.state) == (3, "ended")
    assert not (tmp_path / "mark").exists()


def test_a_reader_that_is_killed_is_replaced_and_no_frame_is_lost(allow: SourceAllowList, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", levels(60, size_hw=(512, 640)))

    async def read() -> tuple[list[int], float, int]:
        back_after_s = 0.0
        async with Source(SourceSettings(path=path), allow=allow) as source:
            indices, killed_at, restarts = [], 0.0, 0
            async for frame in source.frames():
                assert (frame.image == 1000 + frame.index).all()
                if killed_at and source.status.restarts > restarts:
                    back_after_s, killed_at = time.monotonic() - killed_at, 0.0
                indices.append(frame.index)
                if frame.index == 20:
                    pid = source.status.pid
                    assert pid is not None
                    os.kill(pid, signal.SIGKILL)
                    killed_at = time.monotonic()
            return indices, back_after_s, source.status.restarts

    indices, back_after_s, restarts = asyncio.run(asyncio.wait_for(read(), TIMEOUT_S))
    assert indices == list(range(60))
    assert restarts == 1
    assert 0 < back_after_s < 2


def test_a_file_that_ends_its_reader_each_time_is_given_up(
    allow: SourceAllowList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "fake" / "av"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "fake"), *sys.path]))
    path = write_video(tmp_path / "a.mkv", levels(3))
    frames, status, _ = read_all(allow, path=path)
    assert (frames, status.state, status.reason, status.restarts) == ([], "failed", "crashed", 2)
    assert status.cause == "the process that reads was ended by SIGSEGV"


def test_the_reader_starts_light_and_dies_with_its_parent(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", levels(400, size_hw=(512, 640)))
    code = f"""
import asyncio, pathlib
from loddis_server.sources.allow_list import SourceAllowList
from loddis_server.sources.settings import SourceSettings
from loddis_server.sources.source import Source
async def main():
    allow = SourceAllowList(folders=(pathlib.Path({str(tmp_path)!r}),))
    async with Source(SourceSettings(path={str(path)!r}), allow=allow) as source:
        await anext(source.frames())
        print(source.status.pid, flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        loaded = Path(f"/proc/{pid}/maps").read_text()
        parent.kill()
    assert "libavcodec" in loaded
    assert "onnxruntime" not in loaded
    assert "pydantic_core" not in loaded
    limit = time.monotonic() + TIMEOUT_S
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < limit, "the reader outlived its parent"
        time.sleep(0.01)


def test_stopping_leaves_nothing_behind(allow: SourceAllowList, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", levels(60, size_hw=(512, 640)))

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def read_one() -> int:
        async with Source(SourceSettings(path=path), allow=allow) as source:
            await anext(source.frames())
            pid = source.status.pid
            assert pid is not None
        assert source.status.state == "ended"
        return pid

    async def read() -> None:
        await read_one()
        before = descriptors()
        pids = [await read_one() for _ in range(3)]
        assert descriptors() == before
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)

    asyncio.run(asyncio.wait_for(read(), TIMEOUT_S))
