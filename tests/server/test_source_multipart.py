"""Cameras that send MJPEG over HTTP, and servers that send something else."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from loddis_server.sources.allow_list import SourceAllowList
from loddis_server.sources.media import read_media
from loddis_server.sources.media_error import MediaError
from loddis_server.sources.multipart import authorisation
from loddis_server.sources.settings import SourceSettings
from loddis_server.sources.source import Source
from loddis_server.sources.status import SourceFrame, SourceStatus
from loddis_server.sources.wire import Request
from support.sources import TIMEOUT_S, read_all

ALLOW = SourceAllowList(hosts=("127.0.0.1:*",))
COUNT = 6


def jpeg(level: int, *, coloured: bool = False, size_hw: tuple[int, int] = (64, 80)) -> bytes:
    image = np.full((*size_hw, 3), level, np.uint8)
    if coloured:
        image[..., 2] = 255
    return bytes(cv2.imencode(".jpg", image)[1])


def part(frame: bytes) -> bytes:
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(frame), frame)


class Camera(BaseHTTPRequestHandler):
    """Answers by path."""

    protocol_version = "HTTP/1.1"
    asked: list[str] = []  # noqa: RUF012  # cleared by the fixture
    connections: list[tuple[str, int]] = []  # noqa: RUF012  # the same; where they came from
    closing = ""  # how a connection ends after each answer, if it does

    def setup(self) -> None:
        super().setup()
        self.connections.append(self.client_address)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status, headers, body = self.answer()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.closing == "told":
            self.send_header("Connection", "close")
        if self.protocol_version != "HTTP/1.0":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection |= self.closing == "untold"

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        port = self.server.server_address[1]
        video = {"Content-Type": "multipart/x-mixed-replace; boundary=frame"}
        match self.path.partition("?")[0]:
            case "/video":
                return 200, video, self.parts(coloured=False)
            case "/coloured":
                return 200, video, self.parts(coloured=True)
            case "/mended" if len(self.asked) > 1:
                return 200, video, self.parts(coloured=False)
            case "/mended":
                return self.at_first(video)
            case "/moved":
                return 302, {"Location": f"http://127.0.0.1:{port}/secret"}, b""
            case "/page":
                return 200, {"Content-Type": "text/html"}, b"<html>"
            case "/basic" if self.headers.get("Authorization") == "Basic bWU6b3Blbg==":
                return 200, video, self.parts(coloured=False)
            case "/basic":
                return 401, {"WWW-Authenticate": 'Basic realm="camera"'}, b"who?"
            case "/digest" if self.has_digest():
                return 200, video, self.parts(coloured=False)
            case "/digest":
                return 401, {"WWW-Authenticate": 'Digest realm="camera", nonce="n1", qop="auth", opaque="o"'}, b""
            case _:
                return 404, {}, b""

    def at_first(self, video: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Give what a camera sends before somebody sets it right."""
        match self.path.partition("?")[2]:
            case "page":
                return 200, {"Content-Type": "text/html"}, b"starting"
            case "splash":
                return 200, video, self.parts(coloured=True)
            case "palette":
                return 200, video, self.parts(coloured=False) + self.parts(coloured=True, count=50)
            case _:
                return 200, video, part(jpeg(100, size_hw=(128, 160)))

    def parts(self, *, coloured: bool, count: int = COUNT) -> bytes:
        return b"".join(part(jpeg(100 + 20 * (number % COUNT), coloured=coloured)) for number in range(count))

    def has_digest(self) -> bool:
        """Work the answer out from RFC 7616, section 3.4.1."""
        given = dict(re.findall(r'(\w+)="?([^",]+)', self.headers.get("Authorization", "")))

        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        wanted = md5(f"{md5('me:camera:open')}:n1:00000001:{given.get('cnonce')}:auth:{md5(f'GET:{self.path}')}")
        return given.get("response") == wanted and given.get("uri") == self.path and given.get("opaque") == "o"

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def camera(*, certificate: Path | None = None) -> Iterator[str]:
    Camera.asked.clear()
    Camera.connections.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("path", ["video", "video?resolution=full", "basic", "digest?channel=1"])
def test_frames_come_from_http(path: str) -> None:
    with camera() as host:
        frames, status, _ = read_all(ALLOW, url=f"http://me:open@{host}/{path}", reconnect=False)
    levels = [int(frame.image.mean()) for frame in frames]  # a busy machine may miss some: the newest wins
    assert levels == sorted(levels)
    assert len(frames) + status.dropped == COUNT
    assert all(abs(level - (100 + 20 * frame.index)) <= 2 for level, frame in zip(levels, frames, strict=True))
    assert frames[0].image.shape == (64, 80)
    assert (status.reason, status.cause) == ("lost", "the camera's stream ended")


@pytest.mark.parametrize("path", ["basic", "digest?channel=1"])
@pytest.mark.parametrize(("version", "closing"), [("HTTP/1.0", ""), ("HTTP/1.1", "told"), ("HTTP/1.1", "untold")])
def test_a_camera_that_hangs_up_after_it_asks_for_a_password_is_called_again(
    monkeypatch: pytest.MonkeyPatch, version: str, closing: str, path: str
) -> None:
    monkeypatch.setattr(Camera, "protocol_version", version)
    monkeypatch.setattr(Camera, "closing", closing)
    with camera() as host:
        frames, status, _ = read_all(ALLOW, url=f"http://me:open@{host}/{path}", reconnect=False)
        assert Camera.asked == [f"/{path}"] * 2
    assert len(Camera.connections) == 2
    assert len(frames) + status.dropped == COUNT


def test_a_second_connection_goes_where_the_checked_one_went() -> None:
    """The name in the address is one that nobody knows: it is not asked for again."""
    with camera() as host:
        name, _, port = host.partition(":")
        first = socket.create_connection((name, int(port)))
        request = Request("multipart", media_fd=first.detach(), url="http://me:open@camera.invalid/basic")
        with pytest.raises(MediaError, match="the camera's stream ended"):
            list(read_media(request))
        assert Camera.asked == ["/basic"] * 2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a certificate for 127.0.0.1 that nobody vouches for, with its key."""
    path = tmp_path_factory.mktemp("certificate") / "camera.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=camera"]
    options = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run([*command, *options], check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


def test_tls_needs_a_certificate_that_is_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with camera(certificate=certificate) as host:
        url = f"https://{host}/video"
        frames, status, _ = read_all(ALLOW, url=url)
        assert (frames, status.state, status.reason, status.restarts) == ([], "failed", "unauthorised", 0)
        assert status.cause == "the camera's certificate is not accepted: self-signed certificate"
        for asked in (url, f"https://me:open@{host}/basic"):
            frames, _, _ = read_all(ALLOW, url=asked, verify_tls=False, reconnect=False)
            assert frames
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        frames, _, _ = read_all(ALLOW, url=url, reconnect=False)
        assert frames


def test_a_redirect_is_not_followed() -> None:
    with camera() as host:
        _, status, _ = read_all(ALLOW, url=f"http://{host}/moved")
        assert Camera.asked == ["/moved"]
    assert (status.state, status.reason) == ("failed", "refused")
    assert status.cause == "the server answered 302, which sends to another address; give that one instead"


@pytest.mark.parametrize(
    ("path", "reason", "cause"),
    [
        ("page", "unsupported", "the server sends text/html; expected multipart/x-mixed-replace (MJPEG)"),
        ("absent", "not_found", "the server answered 404"),
        ("basic", "unauthorised", "the server answered 401"),
        ("coloured", "true_colour", None),
    ],
)
def test_what_is_no_video_fails_and_says_why(path: str, reason: str, cause: str | None) -> None:
    with camera() as host:
        frames, status, _ = read_all(ALLOW, url=f"http://me:hidden@{host}/{path}", retry_failed_s=0)
    assert (frames, status.state, status.reason) == ([], "failed", reason)
    assert cause is None or status.cause == cause
    assert "hidden" not in repr(status)


@pytest.mark.parametrize(
    ("at_first", "reason", "connection"),
    [
        ("page", "unsupported", 0),
        ("splash", "true_colour", 0),
        ("palette", "true_colour", 1),
        ("size", "too_large", 0),
    ],
)
def test_a_camera_that_is_set_right_is_read_again(at_first: str, reason: str, connection: int) -> None:
    """What it shows may pass, however long it has been read: its listeners are not told that it is over."""
    told: list[SourceStatus] = []

    async def watch() -> SourceFrame:
        source = SourceSettings.model_validate(
            {"url": f"http://{host}/mended?{at_first}", "retry_failed_s": 0.05, "max_frame_pixels": 64 * 80}
        )
        async with Source(source, allow=ALLOW, on_status=told.append) as reading:
            async for frame in reading.frames():
                if any(status.state == "failed" for status in told):
                    return frame
        raise AssertionError(f"given up: {reading.status}")

    with camera() as host:
        frame = asyncio.run(asyncio.wait_for(watch(), TIMEOUT_S))
    (failed,) = (status for status in told if status.state == "failed")
    assert failed.reason == reason
    assert failed.retry_at == pytest.approx(time.time(), abs=30)
    assert not failed.is_over
    assert frame.connection == connection


def test_while_it_is_tried_again_a_source_is_not_over() -> None:
    async def watch() -> SourceStatus:
        failed = asyncio.Event()
        source = SourceSettings.model_validate({"url": f"http://{host}/absent", "retry_failed_s": 0.01})
        async with Source(source, allow=ALLOW, on_status=lambda _: failed.set()) as reading:
            await failed.wait()
            while (status := reading.status).restarts == 0 or status.pid is None:
                await asyncio.sleep(0.001)
            return status

    with camera() as host:
        status = asyncio.run(asyncio.wait_for(watch(), TIMEOUT_S))
    assert (status.state, status.reason, status.is_over) == ("failed", "not_found", False)


def test_digest_is_as_the_rfc_works_it_out() -> None:
    """Without `qop`, as section 3.4.1 of RFC 7616 still has it."""
    challenge = 'Digest realm="r@example", nonce="abc", algorithm=SHA-256'
    header = authorisation(challenge, "me", "pw", path="/x")

    def sha(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    assert f'response="{sha(sha("me:r@example:pw") + ":abc:" + sha("GET:/x"))}"' in header
    assert header.startswith("Digest ")


@pytest.mark.parametrize("challenge", ["Bearer", "Digest realm=x", 'Digest nonce="x", algorithm=MD5-sess'])
def test_an_unknown_login_is_told(challenge: str) -> None:
    with pytest.raises(MediaError, match="a kind of login that is not known"):
        authorisation(challenge, "me", "pw", path="/")
