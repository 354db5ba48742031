"""What a child does, on a thread of this process."""

from __future__ import annotations

import os
import re
import socket
import threading
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from loddis_server.sources import child, pacing
from loddis_server.sources.child import serve
from loddis_server.sources.media_error import media_error_of
from loddis_server.sources.pacing import Pacer
from loddis_server.sources.wire import Failed, FrameMessage, Message, Opened, Request, receive_message
from support.recordings import write_video
from support.sources import TIMEOUT_S, levels


def said(request: Request) -> list[Message]:
    """Give all that a child says about a request."""
    parent, childs_end = socket.socketpair()
    parent.settimeout(TIMEOUT_S)

    def run() -> None:
        with childs_end:
            serve(childs_end, request)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    messages = []
    with parent:
        while (message := receive_message(parent, max_pixels=10**7)) is not None:
            messages.append(message)
    thread.join(TIMEOUT_S)
    return messages


def open_file(path: Path) -> int:
    return os.open(path, os.O_RDONLY)


def test_a_file_from_its_first_word_to_its_last(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", levels(4), fps=25)
    opened, *frames, ended = said(Request("file", media_fd=open_file(path)))
    assert opened == Opened("matroska,webm", "ffv1", 25.0)
    assert [frame.pts_s for frame in frames if isinstance(frame, FrameMessage)] == [0.0, 0.04, 0.08, 0.12]
    assert type(ended).__name__ == "Ended"


def test_frames_that_were_passed_on_are_skipped(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", levels(6))
    _, *frames, _ = said(Request("file", media_fd=open_file(path), skip_frames=4))
    assert [int(frame.image[0, 0]) for frame in frames if isinstance(frame, FrameMessage)] == [1004, 1005]


def test_a_video_without_pictures_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert said(Request("file", media_fd=open_file(path))) == [
        Failed("unsupported", "there is no video in it, only 1 other streams")
    ]


def test_images_of_a_folder(tmp_path: Path) -> None:
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((32, 40), number, np.uint16))
    folder = os.open(tmp_path, os.O_RDONLY)
    _, *frames, _ = said(Request("folder", media_fd=folder, skip_frames=1))
    os.close(folder)
    assert [int(frame.image[0, 0]) for frame in frames if isinstance(frame, FrameMessage)] == list(range(1, 12))


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("notes.txt", b"", "there are no images in the folder"),
        ("a.png", b"no picture", "reading a.png gave: Invalid data"),
    ],
)
def test_a_folder_without_images_is_told(tmp_path: Path, name: str, content: bytes, cause: str) -> None:
    (tmp_path / name).write_bytes(content)
    folder = os.open(tmp_path, os.O_RDONLY)
    failed = said(Request("folder", media_fd=folder))[-1]
    os.close(folder)
    assert isinstance(failed, Failed)
    assert failed.cause.startswith(cause)


def test_a_device_that_is_no_camera_is_told() -> None:
    (failed,) = said(Request("device", device="/dev/null", options={"input_format": "gray16le"}))
    assert isinstance(failed, Failed)
    assert failed.cause.startswith("reading the device gave: ")


def test_an_upload_whose_index_is_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, [np.full((64, 80), 9, np.uint8)] * 3, codec="libx264", array_format="gray", pix_fmt="yuv420p")
    (tmp_path / "spool").touch()
    spool = os.open(tmp_path / "spool", os.O_RDWR)
    request = Request("upload", media_fd=open_file(path), spool_fd=spool, max_spool_bytes=10**6)
    assert len(said(request)) == 5
    assert (tmp_path / "spool").read_bytes() == path.read_bytes()
    os.close(spool)


def test_an_upload_that_the_disk_has_no_room_for(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, [np.full((64, 80), 9, np.uint8)] * 3, codec="libx264", array_format="gray", pix_fmt="yuv420p")
    full = os.open("/dev/full", os.O_RDWR)
    request = Request("upload", media_fd=open_file(path), spool_fd=full, max_spool_bytes=10**6)
    assert said(request) == [Failed("no_space", "storing the video until it is whole gave: No space left on device")]
    os.close(full)


def test_a_broken_packet_that_ffmpeg_does_not_know_is_left_out(tmp_path: Path) -> None:
    """A picture whose head says a kind of pixels that PNG has not: FFmpeg asks for patches."""
    path = write_video(tmp_path / "a.avi", levels(5), codec="png", pix_fmt="gray16be", array_format="gray16be")
    data = bytearray(path.read_bytes())
    heads = [found.start() for found in re.finditer(b"IHDR", data)]
    assert len(heads) == 5

    def break_picture(head: int) -> None:
        data[head + 13] = 5  # the kind of pixels
        data[head + 17 : head + 21] = zlib.crc32(data[head : head + 17]).to_bytes(4, "big")
        path.write_bytes(data)

    break_picture(heads[2])
    _, *frames, ended = said(Request("file", media_fd=open_file(path)))
    assert [int(frame.image[0, 0]) for frame in frames if isinstance(frame, FrameMessage)] == [1000, 1001, 1003, 1004]
    assert type(ended).__name__ == "Ended"
    break_picture(heads[0])
    failed = said(Request("file", media_fd=open_file(path)))[-1]
    assert isinstance(failed, Failed)
    assert failed.reason == "unsupported"


@pytest.mark.parametrize("is_ffmpegs", [False, True])
def test_a_child_that_runs_out_of_memory_has_crashed(monkeypatch: pytest.MonkeyPatch, is_ffmpegs: bool) -> None:
    def read_media(request: Request) -> Iterator[Message]:
        yield Opened("rtsp", "h264", None)
        if is_ffmpegs:
            raise media_error_of(MemoryError(), doing="reading the camera's stream")
        raise MemoryError

    monkeypatch.setattr(child, "read_media", read_media)
    failed = said(Request("rtsp"))[-1]
    assert isinstance(failed, Failed)
    assert failed.reason == "crashed"


def camera_that_says(answer: bytes) -> int:
    """Give a connection to a camera that answers once, and is gone."""
    ours, cameras = socket.socketpair()

    def run() -> None:
        with cameras:
            cameras.recv(65536)
            cameras.sendall(answer)

    threading.Thread(target=run, daemon=True).start()
    return ours.detach()


def test_a_camera_that_redirects() -> None:
    answer = b"RTSP/1.0 301 Moved\r\nCSeq: 1\r\nLocation: rtsp://127.0.0.1:1/\r\n\r\n"
    (failed,) = said(Request("rtsp", media_fd=camera_that_says(answer), url="rtsp://me:hidden@camera.example/live"))
    assert isinstance(failed, Failed)
    assert failed.reason == "refused"
    assert "hidden" not in failed.cause


def test_a_camera_that_refuses() -> None:
    answer = b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n"
    (failed,) = said(Request("rtsp", media_fd=camera_that_says(answer), url="rtsp://me:hidden@camera.example/live"))
    assert isinstance(failed, Failed)
    assert "hidden" not in failed.cause


def test_a_camera_without_tls_where_tls_is_asked_for() -> None:
    request = Request("rtsp", media_fd=camera_that_says(b"RTSP/1.0"), url="rtsps://x/", tls_host="camera.example")
    (failed,) = said(request)
    assert isinstance(failed, Failed)
    assert failed.cause.startswith("TLS with the camera failed")


def test_mjpeg_without_lengths_is_taken() -> None:
    frames = [bytes(cv2.imencode(".jpg", np.full((64, 80), level, np.uint8))[1]) for level in (10, 90)]
    body = b"".join(b"--b\r\nContent-Type: image/jpeg\r\n\r\n" + frame + b"\r\n" for frame in frames)
    answer = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=b\r\n\r\n" + body
    messages = said(Request("multipart", media_fd=camera_that_says(answer), url="http://camera.example/video"))
    levels_seen = [round(message.image.mean()) for message in messages if isinstance(message, FrameMessage)]
    assert levels_seen == [10, 90]
    assert messages[-1] == Failed("lost", "the camera's stream ended")


def test_what_is_no_http_is_told() -> None:
    (failed,) = said(Request("multipart", media_fd=camera_that_says(b"SSH-2.0\r\n"), url="http://camera.example/"))
    assert isinstance(failed, Failed)
    assert failed.reason == "damaged"


class TestPacing:
    @pytest.fixture
    def slept(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """Let time pass only by sleeping; give the sleeps."""
        sleeps: list[float] = []
        monkeypatch.setattr(pacing.time, "monotonic", lambda: 100 + sum(sleeps))
        monkeypatch.setattr(pacing.time, "sleep", sleeps.append)
        return sleeps

    def test_frames_are_held_back_until_they_are_due(self, slept: list[float]) -> None:
        pacer = Pacer(None)
        for pts_s in (5.0, 5.04, 5.08, None):
            pacer.wait(pts_s)
        assert slept == pytest.approx([0.04, 0.04])

    def test_a_jump_is_not_waited_for(self, slept: list[float]) -> None:
        pacer = Pacer(25.0)
        for pts_s in (5.0, 5.04, 9000.0, 9000.04, 3.0, 3.04):
            pacer.wait(pts_s)
        assert sum(slept) == pytest.approx(0.12)

    def test_a_slow_file_takes_its_time(self, slept: list[float], tmp_path: Path) -> None:
        video = write_video(tmp_path / "a.mkv", levels(4), fps=Fraction(1, 60))
        said(Request("file", media_fd=open_file(video), realtime=True))
        assert slept == pytest.approx([60] * 3)

    def test_a_slow_folder_takes_its_time(self, slept: list[float], tmp_path: Path) -> None:
        for number in range(3):
            cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((32, 40), np.uint8))
        folder = os.open(tmp_path, os.O_RDONLY)
        said(Request("folder", media_fd=folder, realtime=True, frame_rate_hz=0.25))
        os.close(folder)
        assert slept == pytest.approx([4, 4])
