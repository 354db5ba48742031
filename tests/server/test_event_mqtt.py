"""Delivery by MQTT, through a real broker."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from loddis_server.events import Event, EventLog, EventSettings, MqttSettings
from loddis_server.events.courier import ReceiverStatus
from loddis_server.events.mqtt import topic_of
from loddis_server.metrics import Metrics
from support.events import make_event, needs_program
from support.live_server import wait_until

AVAILABILITY = "loddis/availability"
USER, PASSWORD = "loddis", "open sesame"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running_broker(folder: Path, port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run mosquitto on loopback until the block ends; its users see what it says."""
    program = needs_program("mosquitto")
    configuration = folder / "mosquitto.conf"
    # As root it would give up its rights, and then not read the files of a test.
    lines = [f"listener {port} 127.0.0.1", "user root", "persistence false", *(options or ("allow_anonymous true",))]
    configuration.write_text("\n".join(lines) + "\n")
    with (folder / "mosquitto.log").open("ab") as log:
        process = subprocess.Popen([program, "-c", configuration], stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or _listens(port))
        assert process.poll() is None, (folder / "mosquitto.log").read_text()
        yield process
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Subscriber:
    """Hears everything that is published."""

    def __init__(self, port: int, *, ca_file: Path | None = None) -> None:
        self.messages: list[paho.MQTTMessage] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        if ca_file is not None:
            self._client.tls_set(ca_certs=str(ca_file))
            self._client.username_pw_set(USER, PASSWORD)
        subscribed: list[bool] = []
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: subscribed.append(True)
        self._client.on_message = lambda _, __, message: self.messages.append(message)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        wait_until(lambda: bool(subscribed))

    @property
    def events(self) -> list[tuple[str, Event]]:
        messages = [message for message in self.messages if message.topic != AVAILABILITY]
        return [(message.topic, Event.model_validate_json(message.payload)) for message in messages]

    @property
    def availability(self) -> list[str]:
        return [message.payload.decode() for message in self.messages if message.topic == AVAILABILITY]

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def start(port: int, **fields: Any) -> EventLog:
            receiver = {"name": "broker", "host": "127.0.0.1", "port": port, "retry_min_s": 0.02, "retry_max_s": 0.1}
            settings = EventSettings(
                database_url=f"sqlite:///{tmp_path}/events.db", mqtt=(MqttSettings(**{**receiver, **fields}),)
            )
            log = EventLog(settings, Metrics())
            stack.callback(log.stop, timeout_s=5)
            log.start()
            return log

        yield start


def record(log: EventLog, events: Sequence[Event]) -> None:
    for event in events:
        log.record(event)


def status(log: EventLog) -> ReceiverStatus:
    (found,) = log.status.receivers
    return found


def test_events_are_published_in_order_under_their_topics(tmp_path: Path, started: Any) -> None:
    port = free_port()
    with running_broker(tmp_path, port), Subscriber(port) as subscriber:
        log = started(port)
        events = [make_event(number, stream_id=f"mast/{number % 2}") for number in range(10)]
        record(log, events)
        wait_until(lambda: len(subscriber.events) == 10)
        assert subscriber.events == [
            (f"loddis/mast_{number % 2}/track.confirmed", event) for number, event in enumerate(events)
        ]
        assert all(message.qos == 1 for message in subscriber.messages)
        wait_until(lambda: status(log).waiting == 0)


def test_availability_is_told_at_the_start_the_end_and_by_the_last_will(tmp_path: Path, started: Any) -> None:
    port = free_port()
    with running_broker(tmp_path, port), Subscriber(port) as subscriber:
        log = started(port)
        wait_until(lambda: subscriber.availability == ["online"])
        assert log.stop(timeout_s=5)
        wait_until(lambda: subscriber.availability == ["online", "offline"])
        with Subscriber(port) as late:
            wait_until(lambda: late.availability == ["offline"])  # retained
        again = started(port, client_id="loddis-1")
        wait_until(lambda: subscriber.availability[2:] == ["online"])
        # Another client of the same name: the broker cuts the first one off, as a dead network would.
        usurper = paho.Client(CallbackAPIVersion.VERSION2, client_id="loddis-1")
        usurper.connect("127.0.0.1", port)
        usurper.loop_start()
        wait_until(lambda: "offline" in subscriber.availability[3:])
        usurper.disconnect()
        usurper.loop_stop()
        wait_until(lambda: subscriber.availability[-1] == "online")  # it connects again by itself, without an event
        record(again, [make_event()])
        wait_until(lambda: len(subscriber.events) == 1)


def test_what_happens_without_a_broker_reaches_the_next_one(tmp_path: Path, started: Any) -> None:
    port = free_port()
    with running_broker(tmp_path, port) as broker, Subscriber(port) as subscriber:
        log = started(port)
        record(log, [make_event(0)])
        wait_until(lambda: len(subscriber.events) == 1)
        broker.kill()
        broker.wait()
    events = [make_event(number) for number in range(1, 6)]
    record(log, events)
    wait_until(lambda: status(log).state == "failing" and status(log).waiting >= 5)
    assert log.stop(timeout_s=5)  # so that the subscriber is there before the first is published
    with running_broker(tmp_path, port), Subscriber(port) as subscriber:
        started(port)
        wait_until(lambda: len(subscriber.events) >= 5)
        # The one before may come again: it was published, but not confirmed, when the broker was killed.
        assert [event for _, event in subscriber.events][-5:] == events


def test_a_broker_that_is_back_counts_as_working_though_there_is_nothing_to_tell(tmp_path: Path, started: Any) -> None:
    port = free_port()
    log = started(port)
    wait_until(lambda: status(log).state == "failing")
    assert status(log).failing_since is not None
    with running_broker(tmp_path, port):
        wait_until(lambda: status(log).state == "ok")
        assert (status(log).reason, status(log).failing_since) == (None, None)


# A socket whose handshake fails is left to the garbage collector by paho.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_tls_with_a_password(tmp_path: Path, started: Any) -> None:
    port = free_port()
    certificate, key = certificate_of(tmp_path)
    passwords = tmp_path / "passwords"
    subprocess.run(
        [needs_program("mosquitto_passwd"), "-b", "-c", passwords, USER, PASSWORD], check=True, capture_output=True
    )
    options = (f"certfile {certificate}", f"keyfile {key}", f"password_file {passwords}", "allow_anonymous false")
    secured = {"tls": True, "ca_file": certificate, "username": USER, "password": PASSWORD, "host": "localhost"}
    with running_broker(tmp_path, port, *options), Subscriber(port, ca_file=certificate) as subscriber:
        log = started(port, **secured)
        record(log, [make_event()])
        wait_until(lambda: len(subscriber.events) == 1)
        wait_until(lambda: status(log).waiting == 0)
        log.stop(timeout_s=5)
        wrongs: list[tuple[dict[str, Any], str]] = [
            ({"password": "guess"}, "refuses the user or the password"),
            ({"ca_file": None}, "its certificate is not trusted"),
        ]
        for wrong, cause in wrongs:
            refused = started(port, **{**secured, **wrong, "name": "refused"})
            record(refused, [make_event(1)])
            wait_until(lambda log=refused: status(log).state == "failing" and status(log).waiting > 0)  # type: ignore[misc]
            assert status(refused).reason == cause
            refused.stop(timeout_s=5)
        assert len(subscriber.events) == 1


def certificate_of(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for localhost that vouches for itself."""
    openssl = needs_program("openssl")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize(
    ("stream_id", "template", "topic"),
    [
        ("north-mast", "loddis/{stream}/{kind}", "loddis/north-mast/drift"),
        ("a/b+c#d", "{stream}", "a_b_c_d"),
        ("$SYS", "{stream}/{kind}", "_SYS/drift"),
        ("{kind}", "x/{stream}", "x/{kind}"),
        ("Süd ∞", "x/{stream}", "x/Süd ∞"),
    ],
)
def test_a_stream_is_one_level_of_its_topic(stream_id: str, template: str, topic: str) -> None:
    assert topic_of(make_event(kind="drift", stream_id=stream_id), template) == topic
