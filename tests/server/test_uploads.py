"""Videos that are decoded while they are uploaded."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from loddis_server.sources.status import SourceFrame
from loddis_server.sources.uploads import VideoDecoder, VideoError, VideoLimits
from support.recordings import write_video
from support.sources import TIMEOUT_S, levels

FAST_START = {"movflags": "faststart"}


def decode(
    data: bytes,
    limits: VideoLimits | None = None,
    *,
    chunk: int = 4096,
    on_frame: Callable[[SourceFrame, VideoDecoder], None] = lambda frame, decoder: None,
) -> list[SourceFrame]:
    """Upload in chunks, and take frames beside it."""

    async def send(decoder: VideoDecoder) -> None:
        for start in range(0, len(data), chunk):
            if not await decoder.feed(data[start : start + chunk]):
                break
        decoder.finish()

    async def run() -> list[SourceFrame]:
        frames = []
        async with VideoDecoder(limits or VideoLimits()) as decoder:
            upload = asyncio.create_task(send(decoder))
            try:
                async for frame in decoder.frames():
                    frames.append(frame)
                    on_frame(frame, decoder)
            finally:
                upload.cancel()
        return frames

    return asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.nut"])
def test_every_frame_comes_with_its_values(tmp_path: Path, name: str) -> None:
    data = write_video(tmp_path / name, levels(40)).read_bytes()
    frames = decode(data)
    assert [frame.index for frame in frames] == list(range(40))
    assert all(frame.image.dtype == np.uint16 and (frame.image == 1000 + frame.index).all() for frame in frames)


@pytest.mark.parametrize("container_options", [{}, FAST_START], ids=["index at the end", "index in front"])
def test_mp4_is_taken_both_ways(tmp_path: Path, container_options: dict[str, str]) -> None:
    path = tmp_path / "a.mp4"
    write_video(
        path,
        [np.full((64, 80), 120, np.uint8)] * 10,
        codec="libx264",
        array_format="gray",
        pix_fmt="yuv420p",
        container_options=container_options,
    )
    data = path.read_bytes()
    assert (data.index(b"moov") < data.index(b"mdat")) == bool(container_options)
    assert len(decode(data, chunk=100)) == 10
    if container_options:
        assert len(decode(data, VideoLimits(max_spool_bytes=0))) == 10
    else:
        with pytest.raises(VideoError, match="whose index is at its end must be at most 1000 bytes") as caught:
            decode(data, VideoLimits(max_spool_bytes=1000))
        assert caught.value.reason == "too_large"


def test_frames_come_while_the_upload_still_runs(tmp_path: Path) -> None:
    data = write_video(tmp_path / "a.nut", levels(60, size_hw=(256, 320)), codec="rawvideo").read_bytes()

    async def run() -> None:
        async with VideoDecoder(VideoLimits()) as decoder:
            frames = decoder.frames()
            uploading = asyncio.create_task(decoder.feed(data[: len(data) // 2]))
            first = await anext(frames)
            assert (first.image == 1000).all()
            seen = 1
            while not uploading.done():
                await anext(frames)
                seen += 1
            assert seen <= 31
            uploading = asyncio.create_task(decoder.feed(data[len(data) // 2 :]))
            uploading.add_done_callback(lambda _: decoder.finish())
            seen += len([frame async for frame in frames])
            assert seen == 60

    asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


def test_an_upload_is_taken_no_faster_than_its_frames(tmp_path: Path) -> None:
    data = write_video(tmp_path / "a.nut", levels(40, size_hw=(1024, 1024)), codec="rawvideo").read_bytes()

    async def run() -> None:
        async with VideoDecoder(VideoLimits()) as decoder:
            with pytest.raises(TimeoutError):  # 80 MiB, of which nobody takes a frame
                await asyncio.wait_for(decoder.feed(data), 1.5)

    asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_frames": 5}, "more than 5 frames"),
        ({"max_frame_pixels": 64 * 80 - 1}, "the limit is 5119"),
    ],
)
def test_limits_are_told(tmp_path: Path, limits: dict[str, int], message: str) -> None:
    data = write_video(tmp_path / "a.mkv", levels(10)).read_bytes()
    with pytest.raises(VideoError, match=message) as caught:
        decode(data, VideoLimits.model_validate(limits))
    assert caught.value.reason == "too_large"


def test_an_upload_that_never_ends_is_ended() -> None:
    async def run() -> None:
        async with VideoDecoder(VideoLimits(timeout_s=0.7)) as decoder:
            await decoder.feed(b"\x1a\x45\xdf\xa3")
            with pytest.raises(VideoError, match=r"not decoded within 0\.7 s"):
                await anext(decoder.frames())

    asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


@pytest.mark.parametrize(
    "data", [b"", b"no video" * 5000, b"\0\0\0\x08ftyp" + bytes(100)], ids=["empty", "text", "ftyp"]
)
def test_what_is_no_video_is_told(data: bytes) -> None:
    with pytest.raises(VideoError) as caught:
        decode(data)
    assert caught.value.reason in ("damaged", "unsupported")


def test_a_decoder_that_crashes_harms_nobody(tmp_path: Path) -> None:
    data = write_video(tmp_path / "a.nut", levels(40, size_hw=(512, 640)), codec="rawvideo").read_bytes()

    def kill(frame: SourceFrame, decoder: VideoDecoder) -> None:
        if frame.index == 3:
            assert decoder.pid is not None
            os.kill(decoder.pid, signal.SIGSEGV)

    with pytest.raises(VideoError, match="was ended by SIGSEGV") as caught:
        decode(data, on_frame=kill)
    assert caught.value.reason == "crashed"


def test_damaged_videos_end_or_are_refused(tmp_path: Path) -> None:
    """Not a fuzz run, a taste of one; the process under test is not this one."""
    original = write_video(tmp_path / "a.mkv", levels(10)).read_bytes()
    rng = random.Random(5)
    for _ in range(12):
        data = bytearray(original)
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            frames = decode(bytes(data[: rng.randint(1, len(data))]))
        except VideoError:
            continue
        assert len(frames) <= 10 * 2
