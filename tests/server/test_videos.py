"""A video in, messages out while it is decoded and even while it is sent."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx
import numpy as np
import pytest

from support.live_server import LiveServer, wait_until
from support.moving import moving_spot
from support.recordings import video


def lines(response: httpx.Response) -> list[Any]:
    return [json.loads(line) for line in response.text.splitlines()]


def test_every_frame_of_a_video_is_answered_and_its_target_tracked(http: httpx.Client) -> None:
    response = http.post("/v1/videos", content=video(list(moving_spot(12))))
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    *frames, end = lines(response)
    assert [frame["frame_index"] for frame in frames] == list(range(12))
    assert all(len(frame["detections"]) == 1 for frame in frames)
    assert sum(len(frame["alarms"]["new"]) for frame in frames) == 1
    assert [frame["timestamp_s"] for frame in frames] == pytest.approx([index / 25 for index in range(12)], abs=0.002)
    assert (end["type"], end["frames"]) == ("end", 12)


def test_sixteen_bits_stay_sixteen(http: httpx.Client) -> None:
    content = video(list(moving_spot(3, dtype=np.uint16)), pix_fmt="gray16le")
    *frames, _ = lines(http.post("/v1/videos", content=content))
    assert [frame["frame"]["dtype"] for frame in frames] == ["uint16"] * 3


def test_answers_come_while_the_video_is_still_being_sent(live: LiveServer) -> None:
    content = video(list(moving_spot(60)), container="mpegts", codec="mpeg2video", pix_fmt="yuv420p")
    half = len(content) // 2
    with (
        socket.create_connection(("127.0.0.1", live.port), timeout=20) as connection,
        connection.makefile("rb") as file,
    ):
        connection.sendall(f"POST /v1/videos HTTP/1.1\r\nHost: a\r\nContent-Length: {len(content)}\r\n\r\n".encode())
        connection.sendall(content[:half])
        assert file.readline() == b"HTTP/1.1 200 OK\r\n"  # with the rest of the video still to come
        first = next(line for line in file if line.startswith(b"{"))
        connection.sendall(content[half:])
        found = [json.loads(first)]
        while found[-1]["type"] != "end":
            line = file.readline()
            if line.startswith(b"{"):
                found.append(json.loads(line))
    assert [message["type"] for message in found] == ["frame"] * 60 + ["end"]


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"", 400, "empty-body"),
        (b"this is no video at all" * 100, 422, "bad-video"),
        (video(list(moving_spot(3)))[:300], 422, "bad-video"),
    ],
)
def test_what_is_no_video_is_refused_with_a_status(http: httpx.Client, content: bytes, status: int, kind: str) -> None:
    response = http.post("/v1/videos", content=content)
    assert (response.status_code, response.json()["type"]) == (status, f"/problems/{kind}"), response.text


def test_a_full_disk_is_not_blamed_on_the_video(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk() -> IO[bytes]:
        return Path("/dev/full").open("w+b", buffering=0)

    content = video(list(moving_spot(3)), container="mp4", codec="libx264", pix_fmt="yuv420p")
    assert content.index(b"mdat") < content.index(b"moov")
    monkeypatch.setattr(tempfile, "TemporaryFile", full_disk)
    response = http.post("/v1/videos", content=content)
    assert (response.status_code, response.json()["type"]) == (507, "/problems/insufficient-storage"), response.text


def test_colour_is_refused(http: httpx.Client) -> None:
    colour = np.zeros((64, 96, 3), np.uint8)
    colour[:, :48, 0] = 220
    colour[:, 48:, 2] = 220
    content = video([colour] * 3, codec="ffv1", pix_fmt="yuv444p")
    response = http.post("/v1/videos", content=content)
    assert (response.status_code, response.json()["type"]) == (422, "/problems/true-colour")


def test_a_video_that_breaks_off_says_so_after_the_frames_that_were_whole(http: httpx.Client) -> None:
    content = video(list(moving_spot(40)))
    *frames, end = lines(http.post("/v1/videos", content=content[: len(content) * 2 // 3]))
    answered = [message for message in frames if message["type"] == "frame"]
    assert 10 < len(answered) < 40
    assert end["type"] == "end"
    assert end["frames"] == len(answered)


def test_a_client_that_leaves_midway_leaves_nothing_behind(live: LiveServer) -> None:
    content = video(list(moving_spot(30)))

    def body() -> Iterator[bytes]:
        yield content[: len(content) // 2]
        raise ConnectionAbortedError

    with httpx.Client(base_url=live.url, trust_env=False) as http, pytest.raises(ConnectionAbortedError):
        http.post("/v1/videos", content=body())
    wait_until(lambda: not any(stream.kind == "video" for stream in live.service.streams), timeout_s=20)


def test_a_video_whose_stream_is_deleted_ends_with_the_reason(live: LiveServer, http: httpx.Client) -> None:
    content = video(list(moving_spot(60)), container="mpegts", codec="mpeg2video", pix_fmt="yuv420p")
    with (
        socket.create_connection(("127.0.0.1", live.port), timeout=20) as connection,
        connection.makefile("rb") as file,
    ):
        connection.sendall(f"POST /v1/videos HTTP/1.1\r\nHost: a\r\nContent-Length: {len(content)}\r\n\r\n".encode())
        connection.sendall(content[: len(content) // 2])  # the rest never comes
        found = [json.loads(next(line for line in file if line.startswith(b"{")))]
        assert http.delete(f"/v1/streams/{found[0]['stream_id']}").status_code == 204
        found += [json.loads(line) for line in file if line.startswith(b"{")]
    *_, problem, end = found
    assert [message["type"] for message in found].count("problem") == 1
    assert problem["problem"]["type"] == "/problems/unknown-stream"
    assert (end["type"], end["reason"]) == ("end", problem["problem"]["detail"])
    assert "it was deleted" in end["reason"]
