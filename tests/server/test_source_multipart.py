"""Cameras that send MJPEG over HTTP, and servers that send something else."""

from __future__ import annotations

import hashlib
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from loddis_server.sources.allow_list import SourceAllowList
from loddis_server.sources.media_error import MediaError
from loddis_server.sources.multipart import authorisation
from support.sources import read_all

ALLOW = SourceAllowList(hosts=("127.0.0.1:*",))
COUNT = 6


def jpeg(level: int, *, coloured: bool = False) -> bytes:
    image = np.full((64, 80, 3), level, np.uint8)
    if coloured:
        image[..., 2] = 255
    return bytes(cv2.imencode(".jpg", image)[1])


class Camera(BaseHTTPRequestHandler):
    """Answers by path."""

    protocol_version = "HTTP/1.1"
    asked: list[str] = []  # noqa: RUF012  # cleared by the fixture

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status, headers, body = self.answer()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        port = self.server.server_address[1]
        video = {"Content-Type": "multipart/x-mixed-replace; boundary=frame"}
        match self.path.partition("?")[0]:
            case "/video":
                return 200, video, self.parts(coloured=False)
            case "/coloured":
                return 200, video, self.parts(coloured=True)
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

    def parts(self, *, coloured: bool) -> bytes:
        frames = (jpeg(100 + 20 * number, coloured=coloured) for number in range(COUNT))
        return b"".join(
            b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(frame), frame)
            for frame in frames
        )

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
        frames, _, _ = read_all(ALLOW, url=url, verify_tls=False, reconnect=False)
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
