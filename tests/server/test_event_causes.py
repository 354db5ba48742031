"""Why deliveries fail: everybody is told in the server's own words, without addresses; its log has the error itself."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from loddis_server.events import EventLog, EventSettings, MqttSettings
from loddis_server.metrics import Metrics
from support.events import WebhookServer, make_event, needs_program, webhook_settings
from support.live_server import wait_until

Opener = Callable[..., EventLog]

EVENT = make_event()
NEVER_S = 3000.0  # a wait that no test outlasts
RARELY = {"retry_min_s": NEVER_S, "retry_max_s": NEVER_S}

# A socket whose handshake fails is left to the garbage collector by paho.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve each connection by a function; gives the port."""
    open_ones: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    open_ones[:] = [connection]
                    with connection, suppress(OSError):
                        serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            for each in (listener, *open_ones):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            assert not thread.is_alive()


def answering(head: str) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        with closing(connection.makefile("rb")) as request:
            size = 0
            while line := request.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    size = int(line.split(b":")[1])
            request.read(size)
        connection.sendall(f"{head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())

    return serve


def silent(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def encrypted(folder: Path, name: str) -> tuple[Path, Callable[[socket.socket], None]]:
    """Make a certificate for a name, and what shakes hands with it."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [needs_program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    names = ["-nodes", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", "2"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            silent(secured)

    return certificate, serve


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Opener]:
    with ExitStack() as stack:

        def started(**receivers: Any) -> EventLog:
            log = EventLog(EventSettings(database_url=f"sqlite:///{tmp_path}/events.db", **receivers), Metrics())
            stack.callback(log.stop, timeout_s=5)
            log.start()
            log.record(EVENT)
            return log

        yield started


def cause(log: EventLog) -> str | None:
    """Wait for the first failure and give its cause, which is what `/v1/deliveries` shows."""
    wait_until(lambda: log.status.receivers[0].reason is not None)
    return log.status.receivers[0].reason


def webhook(url: str, **fields: Any) -> dict[str, Any]:
    return {"webhooks": (webhook_settings(url, **{**RARELY, **fields}),)}


def mqtt(port: int, **fields: Any) -> dict[str, Any]:
    return {"mqtt": (MqttSettings(**{"name": "hook", "host": "localhost", "port": port, **RARELY, **fields}),)}


def written(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = (record for record in caplog.records if record.message == "delivery failed")
    return str(vars(record)["reason"])


@pytest.mark.parametrize("kind", ["webhook", "mqtt"])
@pytest.mark.parametrize(
    ("is_vouched_for", "expected", "error"),
    [
        (True, "its certificate is for another name", "not valid for 'localhost'"),
        (False, "its certificate is not trusted", "self-signed certificate"),
    ],
)
def test_a_certificate_that_does_not_fit_names_nobody(
    kind: str,
    is_vouched_for: bool,
    expected: str,
    error: str,
    start: Opener,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    certificate, serve = encrypted(tmp_path, "other.example")
    ca_file = certificate if is_vouched_for else None
    with listening(serve) as port:
        if kind == "webhook":
            log = start(**webhook(f"https://localhost:{port}/", ca_file=ca_file))
        else:
            log = start(**mqtt(port, tls=True, ca_file=ca_file))
        assert cause(log) == expected
    assert written(caplog).startswith(f"{expected}: ")
    assert error in written(caplog)


@pytest.mark.parametrize("kind", ["webhook", "mqtt"])
def test_a_receiver_without_tls_is_told_apart(kind: str, start: Opener) -> None:
    with listening(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        log = start(**(webhook(f"https://localhost:{port}/") if kind == "webhook" else mqtt(port, tls=True)))
        assert cause(log) == "the TLS handshake failed"


@pytest.mark.parametrize("kind", ["webhook", "mqtt"])
def test_a_receiver_that_is_down_is_not_located(kind: str, start: Opener, caplog: pytest.LogCaptureFixture) -> None:
    with listening(silent) as port:
        pass
    log = start(**(webhook(f"http://127.0.0.1:{port}/") if kind == "webhook" else mqtt(port, host="127.0.0.1")))
    assert cause(log) == "refuses connections"
    assert "[Errno 111]" in written(caplog)


@pytest.mark.parametrize("kind", ["webhook", "mqtt"])
def test_a_name_that_nobody_knows_is_not_told(kind: str, start: Opener) -> None:
    host = "nobody.invalid"
    log = start(**(webhook(f"http://{host}/") if kind == "webhook" else mqtt(1883, host=host)))
    assert cause(log) == "its name cannot be looked up"


@pytest.mark.parametrize("kind", ["webhook", "mqtt"])
def test_silence_is_called_that(kind: str, start: Opener) -> None:
    with listening(silent) as port:
        url = f"http://127.0.0.1:{port}/"
        log = start(**(webhook(url, timeout_s=0.2) if kind == "webhook" else mqtt(port, timeout_s=0.2)))
        assert cause(log) == "did not answer in time"


@pytest.mark.parametrize(("status", "expected"), [(502, "answered 502 Bad Gateway"), (599, "answered 599")])
def test_an_answer_is_told_in_the_words_of_the_standard(
    status: int, expected: str, start: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(answering(f"HTTP/1.1 {status} upstream 10.0.0.7 says hush")) as port:
        assert cause(start(**webhook(f"http://127.0.0.1:{port}/"))) == expected
    assert written(caplog) == f"{expected}: upstream 10.0.0.7 says hush"


def test_an_event_is_set_aside_in_the_words_of_the_standard(start: Opener, caplog: pytest.LogCaptureFixture) -> None:
    with listening(answering("HTTP/1.1 403 no hush from 10.0.0.7")) as port:
        log = start(**webhook(f"http://127.0.0.1:{port}/", max_refusals=1))
        wait_until(lambda: log.status.receivers[0].set_aside == 1)
    found = log.store.get(EVENT.id)
    assert found is not None
    assert found[1][0].reason == "answered 403 Forbidden"
    (record,) = (record for record in caplog.records if record.message == "event set aside")
    assert vars(record)["reason"] == "answered 403 Forbidden: no hush from 10.0.0.7"


def test_what_is_no_answer_is_not_repeated(start: Opener, caplog: pytest.LogCaptureFixture) -> None:
    with listening(answering("220 mail.example ESMTP hush")) as port:
        assert cause(start(**webhook(f"http://127.0.0.1:{port}/"))) == "gave no valid answer"
    assert "mail.example" in written(caplog)


def test_another_cause_is_logged_as_well(start: Opener, caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([503, 503, 502])
    with WebhookServer(lambda _: next(answers, 204)) as hook:
        log = start(**webhook(hook.url, retry_min_s=0.01, retry_max_s=0.01))
        wait_until(lambda: log.status.receivers[0].last_delivered_at is not None)
    reasons = [vars(record)["reason"] for record in caplog.records if record.message == "delivery failed"]
    assert reasons == ["answered 503 Service Unavailable", "answered 502 Bad Gateway"]
