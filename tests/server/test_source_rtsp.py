"""Cameras over RTSP, from a real server: its frames, and their indices while it is cut off and comes back."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from loddis_server.sources.allow_list import SourceAllowList
from loddis_server.sources.settings import SourceSettings
from loddis_server.sources.source import Source
from loddis_server.sources.status import SourceFrame
from support.rtsp import RtspServer, counter_in, free_port, missing_for_rtsp, wrong_indices
from support.sources import TIMEOUT_S, read_all

ALLOW = SourceAllowList(hosts=("127.0.0.1:*",))
FPS = 25


@pytest.fixture(scope="module")
def _rtsp() -> None:
    missing = missing_for_rtsp()
    if missing and os.environ.get("LODDIS_REQUIRE_RTSP"):
        pytest.fail(f"no RTSP server: {missing}")
    if missing:
        pytest.skip(f"no RTSP server: {missing}")


real_server = pytest.mark.usefixtures("_rtsp")


def watch(url: str, *, until: Callable[[list[SourceFrame], Source], bool], **settings: object) -> list[SourceFrame]:
    """Take frames until a condition holds."""

    async def run() -> list[SourceFrame]:
        frames: list[SourceFrame] = []
        async with Source(SourceSettings.model_validate({"url": url, **settings}), allow=ALLOW) as source:
            async for frame in source.frames():
                frames.append(frame)
                if until(frames, source):
                    break
        return frames

    return asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


@real_server
@pytest.mark.parametrize("codec", ["h264", "mjpeg"])
def test_frames_come_with_the_right_indices(codec: str) -> None:
    with RtspServer("--codec", codec, fps=FPS) as server:
        frames = watch(server.url, until=lambda frames, _: len(frames) == 40)
    assert wrong_indices([(frame.connection, frame.index, counter_in(frame.image)) for frame in frames]) == []
    assert frames[0].image.shape == (96, 192)
    assert abs(frames[-1].captured_at - time.time()) < 5
    assert frames[-1].pts_s is not None


@real_server
def test_a_camera_that_is_cut_off_comes_back_and_the_time_lost_shows() -> None:
    with RtspServer(fps=FPS) as server:
        cuts = 0

        def cut_every_two_seconds(frames: list[SourceFrame], source: Source) -> bool:
            nonlocal cuts
            of_this_connection = [frame for frame in frames if frame.connection == frames[-1].connection]
            if len(of_this_connection) == 2 * FPS:
                if cuts == 2:
                    return True
                cuts += 1
                server.cut()
                threading.Timer(1.0, server.start).start()
            return False

        frames = watch(server.url, until=cut_every_two_seconds)
    assert {frame.connection for frame in frames} == {0, 1, 2}
    seen = [(frame.connection, frame.index, counter_in(frame.image)) for frame in frames]
    assert wrong_indices(seen) == []
    indices = [frame.index for frame in frames]
    assert indices == sorted(set(indices))
    # Counter and index both count frame periods; over a reconnection the index does so by the clock.
    for (before, index, counter), (after, next_index, next_counter) in itertools.pairwise(seen):
        if before != after:
            assert next_index - index == pytest.approx(next_counter - counter, abs=FPS * 0.6)
            assert next_index - index > FPS // 2


@real_server
def test_a_reader_that_is_killed_is_back_within_two_seconds() -> None:
    killed_at = back_at = 0.0

    def kill_once(frames: list[SourceFrame], source: Source) -> bool:
        nonlocal killed_at, back_at
        if len(frames) == 10:
            pid = source.status.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            killed_at = time.monotonic()
        if frames[-1].connection == 1:
            back_at = time.monotonic()
            assert source.status.restarts == 1
            assert source.status.state == "live"
            return True
        return False

    with RtspServer(fps=FPS) as server:
        frames = watch(server.url, until=kill_once)
    assert back_at - killed_at < 2
    assert wrong_indices([(frame.connection, frame.index, counter_in(frame.image)) for frame in frames]) == []


@real_server
def test_a_camera_that_falls_silent_is_noticed_and_tried_again() -> None:
    told = []

    async def run() -> None:
        settings = SourceSettings.model_validate({"url": server.url, "stall_timeout_s": 0.5, "open_timeout_s": 3})
        async with Source(settings, allow=ALLOW, on_status=told.append) as source:
            async for frame in source.frames():
                if frame.connection == 1:
                    break

    with RtspServer("--silent-after", "20", fps=FPS) as server:
        asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))
    assert [status.state for status in told][:3] == ["live", "stalled", "live"]
    assert told[1].cause == "no frame for 0.5 s"
    assert told[1].reason == "lost"


@real_server
def test_a_password_opens_and_a_wrong_one_is_not_tried_again() -> None:
    with RtspServer("--user", "me:open sesame", fps=FPS) as server:
        with_password = server.url.replace("//", "//me:open%20sesame@")
        assert len(watch(with_password, until=lambda frames, _: len(frames) == 3)) == 3
        _, status, _ = read_all(ALLOW, url=server.url.replace("//", "//me:hidden@"))
        assert (status.state, status.reason, status.restarts, status.is_over) == ("failed", "unauthorised", 0, True)
        assert "hidden" not in repr(status)


@real_server
def test_a_path_that_the_camera_lacks_is_tried_again_slowly_or_not_at_all() -> None:
    with RtspServer(fps=FPS) as server:
        url = server.url.replace("camera", "absent")
        _, status, _ = read_all(ALLOW, url=url, retry_failed_s=0)
        assert (status.state, status.reason, status.restarts) == ("failed", "not_found", 0)

        async def first_failure() -> None:
            failed = asyncio.Event()
            settings = SourceSettings.model_validate({"url": url, "retry_failed_s": 100})
            async with Source(settings, allow=ALLOW, on_status=lambda _: failed.set()) as source:
                await failed.wait()
                assert source.status.state == "failed"
                assert source.status.retry_at == pytest.approx(time.time() + 100, abs=5)
                assert not source.status.is_over

        asyncio.run(asyncio.wait_for(first_failure(), TIMEOUT_S))


@real_server
def test_a_camera_in_colour_fails() -> None:
    with RtspServer("--coloured", fps=FPS) as server:
        frames, status, _ = read_all(ALLOW, url=server.url, retry_failed_s=0)
    assert (frames, status.state, status.reason) == ([], "failed", "true_colour")


def test_a_camera_that_is_off_is_tried_again_with_growing_waits() -> None:
    told = []

    async def run() -> int:
        settings = SourceSettings.model_validate(
            {"url": f"rtsp://127.0.0.1:{free_port()}/live", "reconnect_first_s": 0.01, "reconnect_max_s": 0.02}
        )
        async with Source(settings, allow=ALLOW, on_status=told.append) as source:
            while source.status.restarts < 5:
                await asyncio.sleep(0.001)
            return source.status.restarts

    assert asyncio.run(asyncio.wait_for(run(), TIMEOUT_S)) == 5
    assert [status.state for status in told] == ["connecting", "ended"]  # one cause is told once
    assert (told[0].reason, "Connection refused" in (told[0].cause or "")) == ("unreachable", True)


def test_without_reconnection_the_first_loss_is_the_last() -> None:
    _, status, _ = read_all(ALLOW, url=f"rtsp://127.0.0.1:{free_port()}/live", reconnect=False)
    assert (status.state, status.reason, status.restarts) == ("failed", "unreachable", 0)


@contextmanager
def fake_camera(answer: bytes) -> Iterator[str]:
    """Answer everything with the same bytes."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                connection.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"rtsp://127.0.0.1:{listener.getsockname()[1]}/live"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(TIMEOUT_S)


def test_a_redirect_is_not_followed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.2)
        location = f"rtsp://127.0.0.1:{other.getsockname()[1]}/live".encode()
        with fake_camera(b"RTSP/1.0 302 Found\r\nCSeq: 1\r\nLocation: " + location + b"\r\n\r\n") as url:
            _, status, _ = read_all(ALLOW, url=url)
        assert (status.state, status.reason) == ("failed", "refused")
        assert "302" in (status.cause or "")
        with pytest.raises(TimeoutError):
            other.accept()


def test_what_is_no_camera_is_told() -> None:
    with fake_camera(b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as url:
        _, status, _ = read_all(ALLOW, url=url, reconnect=False)
    assert (status.state, status.reason) == ("failed", "damaged")
    assert status.cause == "the camera sent something that is no RTSP message"
