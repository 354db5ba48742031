"""Streams, batches and videos by both clients, against the real server."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from loddis_client import (
    AsyncClient,
    BadRequest,
    Client,
    ConnectionFailed,
    DetectionResult,
    FrameError,
    FrameProblem,
    FrameRejected,
    LateFrame,
    StreamEnd,
    StreamMessage,
    StreamNotFound,
    StreamResult,
    UsageError,
)
from loddis_client.cli import run
from support.live_server import LiveServer, wait_until
from support.moving import moving_spot
from support.recordings import video

FRAMES = 12
_names = itertools.count()


@pytest.fixture
def stream_id(server: LiveServer) -> Iterator[str]:
    name = f"client-{next(_names)}"
    yield name
    httpx.delete(f"{server.url}/v1/streams/{name}", trust_env=False)


@pytest.fixture(scope="module")
def clip() -> bytes:
    return video(list(moving_spot(FRAMES)))


def listeners(server: LiveServer, stream_id: str) -> int:
    return len(server.service.streams.find(stream_id).hub)


def test_frames_of_a_stream_become_a_track(server: LiveServer, stream_id: str) -> None:
    with Client(server.url) as client:
        results = [
            client.detect(frame, stream_id=stream_id, frame_index=10 + 2 * index, timestamp_s=index / 25)
            for index, frame in enumerate(moving_spot(FRAMES))
        ]
    announced = [result for result in results if result.new_tracks]
    assert len(announced) == 1
    (track,) = announced[0].new_tracks
    assert track.state == "confirmed"
    last = results[-1]
    (followed,) = (one for one in last.tracks if one.track_id == track.track_id)
    assert np.allclose(followed.centroid_xy, last.detections[0].centroid_xy, atol=1)
    assert np.allclose(followed.velocity_xy, (0.75, 0.25), atol=0.3)  # a frame, of which every other is missing
    assert (last.frame_index, last.timestamp_s) == (32, 11 / 25)
    assert (last.window.frame_indices, last.window.missing, last.window.restart) == ((32,), 1, None)
    assert results[0].window.restart == "start"
    assert last.health.conditions == ()
    assert not last.drift.is_unlike
    assert not last.alarms.held_back
    assert last.request_id
    assert json.loads(json.dumps(last.to_dict()))["tracks"][0]["track_id"] == track.track_id


def test_a_late_frame_has_an_error_of_its_own_and_a_reset_begins_anew(server: LiveServer, stream_id: str) -> None:
    frames = list(moving_spot(3))
    with Client(server.url) as client:
        client.detect(frames[0], stream_id=stream_id, frame_index=5)
        with pytest.raises(LateFrame, match="is late: the stream is at 5"):
            client.detect(frames[1], stream_id=stream_id, frame_index=4)
        again = client.detect(frames[1], stream_id=stream_id, frame_index=0, reset=True)
        assert (again.frame_index, again.window.restart) == (0, "reset")
        assert client.detect(frames[2], stream_id=stream_id).frame_index == 1
        assert not isinstance(client.detect(frames[2]), StreamResult)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"frame_index": 3}, "stream_id must say which"),
        ({"reset": True}, "stream_id must say which"),
        ({"stream_id": "no such/name"}, "stream_id must be 1 to 64"),
        ({"stream_id": "a", "frame_index": -1}, "frame_index must be a whole number from 0"),
        ({"stream_id": "a", "timestamp_s": float("nan")}, "timestamp_s must be a finite number"),
    ],
)
def test_places_that_make_no_sense_are_refused(server: LiveServer, place: dict[str, Any], message: str) -> None:
    frame = next(moving_spot(1))
    with Client(server.url) as client, pytest.raises(UsageError, match=message):
        client.detect(frame, **place)


def test_a_frame_of_a_stream_that_got_lost_is_not_sent_again() -> None:
    sent = []

    def lose(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("X-Stream-Id"))
        raise httpx.ReadError("the answer got lost")

    frame = np.zeros((4, 4), np.uint8)
    with Client(transport=httpx.MockTransport(lose), retries=2) as client:
        with pytest.raises(ConnectionFailed):
            client.detect(frame, stream_id="mast")
        assert sent == ["mast"]
        with pytest.raises(ConnectionFailed):
            client.detect(frame)
        assert sent == ["mast", None, None, None]


def test_a_batch_has_each_frames_result_or_error_in_its_place(server: LiveServer) -> None:
    frames = list(moving_spot(2))
    broken = b"\x89PNG\r\n\x1a\n broken"
    batch = [frames[0], broken, frames[1].astype(np.uint16) * 257]
    with Client(server.url) as client:
        first, refused, last = client.detect_batch(batch)
        assert isinstance(first, DetectionResult)
        assert isinstance(refused, FrameRejected)
        assert isinstance(last, DetectionResult)
        assert (len(first), last.dtype) == (1, "uint16")
        nothing = client.detect_batch(iter(frames), score_threshold=1.0)
        assert [len(one) for one in nothing if isinstance(one, DetectionResult)] == [0, 0]
        with pytest.raises(UsageError, match="at least one frame"):
            client.detect_batch([])


def test_what_a_stream_says_is_heard_until_it_ends(server: LiveServer, stream_id: str) -> None:
    frames = list(moving_spot(FRAMES))
    with Client(server.url) as client:
        with pytest.raises(StreamNotFound):
            next(client.stream_detections(stream_id))
        client.detect(frames[0], stream_id=stream_id)
        heard: list[StreamMessage] = []
        listener = threading.Thread(target=lambda: heard.extend(client.stream_detections(stream_id)))
        listener.start()
        wait_until(lambda: listeners(server, stream_id) == 1)
        told = [client.detect(frame, stream_id=stream_id) for frame in frames[1:]]
        httpx.delete(f"{server.url}/v1/streams/{stream_id}", trust_env=False)
        listener.join(20)
        assert not listener.is_alive()
    *results, end = heard
    assert [one.to_dict() for one in results if isinstance(one, StreamResult)] == [one.to_dict() for one in told]
    assert isinstance(end, StreamEnd)
    assert (end.reason, end.frames) == ("it was deleted", FRAMES)


def test_who_stops_listening_is_forgotten(server: LiveServer, stream_id: str) -> None:
    frames = moving_spot(3)
    with Client(server.url) as client:
        client.detect(next(frames), stream_id=stream_id)
        messages = client.stream_detections(stream_id)
        sender = threading.Thread(
            target=lambda: (
                wait_until(lambda: listeners(server, stream_id) == 1),
                client.detect(next(frames), stream_id=stream_id),
            )
        )
        sender.start()
        assert isinstance(next(messages), StreamResult)
        sender.join(20)
        messages.close()  # type: ignore[attr-defined]
        wait_until(lambda: listeners(server, stream_id) == 0)


@pytest.mark.parametrize("give", [lambda path: path, str, Path.read_bytes], ids=["path", "name", "bytes"])
def test_a_video_is_answered_frame_by_frame(
    server: LiveServer, clip: bytes, tmp_path: Path, give: Callable[[Path], Any]
) -> None:
    path = tmp_path / "clip.mkv"
    path.write_bytes(clip)
    with Client(server.url) as client:
        *results, end = client.detect_video(give(path))
    assert [one.frame_index for one in results if isinstance(one, StreamResult)] == list(range(FRAMES))
    assert sum(len(one.new_tracks) for one in results if isinstance(one, StreamResult)) == 1
    assert isinstance(end, StreamEnd)
    assert end.frames == FRAMES


def test_a_video_is_answered_while_it_is_still_sent(server: LiveServer) -> None:
    whole = video(list(moving_spot(200)))
    is_answered = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield whole[: len(whole) // 2]
        assert is_answered.wait(20), "nothing was answered before the video was whole"
        yield whole[len(whole) // 2 :]

    with Client(server.url) as client:
        messages = client.detect_video(pieces())
        assert isinstance(next(messages), StreamResult)
        is_answered.set()
        assert sum(isinstance(message, StreamResult) for message in messages) == 199


def test_what_is_wrong_with_a_video_is_an_error_or_a_message(server: LiveServer, clip: bytes, tmp_path: Path) -> None:
    with Client(server.url) as client:
        with pytest.raises(FrameError, match="cannot be read"):
            client.detect_video(tmp_path / "none.mkv")
        with pytest.raises(FrameError, match="must be a path, bytes"):
            client.detect_video(7)
        with pytest.raises(BadRequest, match="video"):
            list(client.detect_video(b"no video at all"))
        cut = list(client.detect_video(clip[: len(clip) * 2 // 3]))
        assert isinstance(cut[-1], StreamEnd)
        assert all(isinstance(one, StreamResult | FrameProblem) for one in cut[:-1])

        def broken() -> Iterator[bytes]:
            yield clip[:100]
            raise RuntimeError("the disk fell over")

        with pytest.raises(RuntimeError, match="the disk fell over"):
            list(client.detect_video(broken()))
    with Client("http://127.0.0.1:9") as client, pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1:9"):
        list(client.detect_video(clip))


def test_who_leaves_a_video_leaves_no_stream_and_no_thread(server: LiveServer) -> None:
    before = {thread.name for thread in threading.enumerate()}
    with Client(server.url) as client:
        messages = client.detect_video(video(list(moving_spot(300))))
        assert isinstance(next(messages), StreamResult)
        messages.close()  # type: ignore[attr-defined]
    assert "loddis-client-video" not in {thread.name for thread in threading.enumerate()} - before
    wait_until(lambda: all(stream.kind != "video" for stream in server.service.streams))


def test_the_async_client_does_the_same(server: LiveServer, stream_id: str, clip: bytes) -> None:
    frames = list(moving_spot(4))

    async def work() -> None:
        async with AsyncClient(server.url) as client:
            first = await client.detect(frames[0], stream_id=stream_id, frame_index=3)
            assert first.frame_index == 3
            with pytest.raises(LateFrame):
                await client.detect(frames[0], stream_id=stream_id, frame_index=3)
            batch = await client.detect_batch(frames)
            assert [len(one) for one in batch if isinstance(one, DetectionResult)] == [1] * 4

            async def hear() -> list[StreamMessage]:
                return [message async for message in client.stream_detections(stream_id)]

            hearing = asyncio.create_task(hear())
            await asyncio.to_thread(wait_until, lambda: listeners(server, stream_id) == 1)
            await client.detect(frames[1], stream_id=stream_id)
            await asyncio.to_thread(httpx.delete, f"{server.url}/v1/streams/{stream_id}", trust_env=False)
            result, end = await hearing
            assert isinstance(result, StreamResult)
            assert isinstance(end, StreamEnd)
            with pytest.raises(StreamNotFound):
                await anext(client.stream_detections(stream_id))

            *results, end = [message async for message in client.detect_video(clip)]
            assert len(results) == FRAMES
            assert isinstance(end, StreamEnd)
            messages = client.detect_video(video(list(moving_spot(300))))
            assert isinstance(await anext(messages), StreamResult)
            await messages.aclose()  # type: ignore[attr-defined]
            await asyncio.to_thread(
                wait_until, lambda: all(stream.kind != "video" for stream in server.service.streams)
            )

    asyncio.run(work())


@pytest.mark.parametrize("as_json", [False, True], ids=["people", "json"])
def test_watch_tells_what_happens(
    server: LiveServer, stream_id: str, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    frames = list(moving_spot(FRAMES))
    with Client(server.url) as client:
        client.detect(frames[0], stream_id=stream_id)
        status: list[int] = []
        words = ["watch", stream_id, "--url", server.url, *(["--json"] if as_json else [])]
        watcher = threading.Thread(target=lambda: status.append(run(words)))
        watcher.start()
        wait_until(lambda: listeners(server, stream_id) == 1)
        for frame in frames[1:]:
            client.detect(frame, stream_id=stream_id)
        httpx.delete(f"{server.url}/v1/streams/{stream_id}", trust_env=False)
        watcher.join(20)
    assert status == [0]
    lines = capsys.readouterr().out.splitlines()
    if as_json:
        assert [json.loads(line)["type"] for line in lines] == ["frame"] * (FRAMES - 1) + ["end"]
    else:
        new, end = lines
        assert "new track 1, target" in new
        assert end == f"the stream has ended after {FRAMES} frames: it was deleted"


def test_watching_a_stream_that_is_not_there_fails(server: LiveServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", "nothing", "--url", server.url]) == 1
    assert "there is no stream 'nothing'" in capsys.readouterr().err
    assert run(["watch", "no/name", "--url", server.url]) == 2
