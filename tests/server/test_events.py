"""The event itself, its picture, and what can be set about events."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from loddis_server.events import Event, EventSettings, MqttSettings, thumbnail_png
from loddis_server.events.event import from_epoch_us, new_event_id, to_epoch_us
from support.events import SECRET, make_event, webhook_settings


def test_ids_are_unique_and_sort_by_the_time_they_were_made() -> None:
    made = [new_event_id() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert all(each[14] == "7" and each[19] in "89ab" for each in made)  # UUIDs of version 7
    moment = int(made[0].replace("-", "")[:12], 16) / 1000
    assert abs(moment - datetime.now(UTC).timestamp()) < 60


def test_ids_of_several_threads_differ() -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend([new_event_id() for _ in range(2000)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8000


@pytest.mark.parametrize(
    "moment", [datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC), datetime(2025, 1, 2, 3, 4, 5, 6, UTC)]
)
def test_moments_are_kept_to_the_microsecond(moment: datetime) -> None:
    assert from_epoch_us(to_epoch_us(moment)) == moment


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "1"),
        ("kind", "track"),
        ("stream_id", ""),
        ("stream_id", "a\nb"),
        ("stream_id", "x" * 129),
        ("occurred_at", datetime(2025, 1, 1)),  # noqa: DTZ001
        ("frame_index", -1),
        ("frame_index", 2**63),
        ("score", 1.1),
        ("score", float("nan")),
        ("payload", {"x": np.float32(1)}),
        ("payload", {"x": "\ud800"}),
        ("payload", {"x": "y" * 65_536}),
        ("unknown", 1),
    ],
)
def test_what_could_not_be_stored_or_delivered_is_no_event(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        make_event(**{field: value})


def test_an_event_is_the_same_after_json() -> None:
    event = make_event(3, occurred_at=datetime.fromisoformat("2025-06-01T12:00:00.25+02:00"))
    assert Event.model_validate_json(event.model_dump_json()) == event
    assert event.model_dump(mode="json")["occurred_at"] == "2025-06-01T10:00:00.250000Z"


def picture(png: bytes) -> np.ndarray[Any, Any]:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


@pytest.mark.parametrize("centre_xy", [(100, 60), (2, 3), (157, 126)])
def test_a_thumbnail_shows_the_target_with_what_is_around_it(centre_xy: tuple[int, int]) -> None:
    x, y = centre_xy
    frame = np.random.default_rng(0).integers(0, 100, (128, 160)).astype(np.uint8)
    frame[y, x] = 255
    image = picture(thumbnail_png(frame, (x - 3, y - 3, x + 4, y + 4)))
    assert image.shape == (64, 64)
    row, column = np.unravel_index(image.argmax(), image.shape)
    top, left = y - row, x - column
    np.testing.assert_array_equal(image, frame[top : top + 64, left : left + 64])


def test_a_dim_target_in_a_16_bit_frame_is_seen() -> None:
    frame = np.random.default_rng(0).normal(8000, 3, (128, 160)).astype(np.uint16)
    frame[60:63, 100:103] += 40
    image = picture(thumbnail_png(frame, (99, 59, 104, 64)))
    assert image.dtype == np.uint8
    assert image[31:33, 31:33].mean() > image.mean() + 80


def test_thumbnails_of_small_frames_and_large_targets() -> None:
    frame = np.arange(40 * 50, dtype=np.float32).reshape(40, 50)
    assert picture(thumbnail_png(frame, (-5, -5, 3, 3))).shape == (40, 50)
    large = np.zeros((300, 400), np.uint8)
    assert picture(thumbnail_png(large, (100, 100, 150, 140))).shape == (150, 150)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://localhost/events", "sqlite or postgresql"),
        ("sqlite://", "a file"),
        ("sqlite:///:memory:", "a file"),
        ("events.db", "expected sqlite:///PATH"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused(url: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EventSettings(database_url=url)


def test_the_password_of_the_database_is_not_shown() -> None:
    settings = EventSettings(database_url="postgresql://loddis:hush@db/events")
    assert settings.url.password == "hush"
    assert settings.url.drivername == "postgresql+psycopg"
    assert "hush" not in repr(settings) + settings.model_dump_json()
    with pytest.raises(ValidationError) as raised:
        EventSettings(database_url="mysql://loddis:hush@db/events")
    assert "hush" not in str(raised.value)


def test_the_database_is_where_state_belongs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert EventSettings().url.database == str(tmp_path / "loddis" / "events.db")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/loddis:/var/lib/other")  # what systemd sets
    assert EventSettings().url.database == "/var/lib/loddis/events.db"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "ftp://host/"}, "http"),
        ({"url": "http://user:password@host/"}, "must not hold"),
        ({"secrets": ()}, "at least 1"),
        ({"secrets": (SECRET[6:],)}, "expected whsec_"),
        ({"secrets": ("whsec_c2hvcnQ=",)}, "24 to 64 bytes"),
        ({"name": "Control Room"}, "pattern"),
        ({"retry_min_s": 10, "retry_max_s": 1}, "is over retry_max_s"),
        ({"kinds": ["track"]}, "track.confirmed"),
    ],
)
def test_a_webhook_that_cannot_work_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        webhook_settings(**{"url": "http://host/", **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"topic": "loddis/{camera}"}, "got {camera}"),
        ({"topic": "loddis/#"}, "without"),
        ({"availability_topic": ""}, "1 to 1024"),
        ({"password": "hush"}, "needs a username"),
        ({"ca_file": "ca.pem"}, "need tls"),
        ({"tls": True, "key_file": "key.pem"}, "come together"),
    ],
)
def test_a_broker_that_cannot_work_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MqttSettings(**{"name": "broker", "host": "host", **fields})


def test_receivers_have_names_of_their_own() -> None:
    with pytest.raises(ValidationError, match="several receivers are called 'hook'"):
        EventSettings(webhooks=(webhook_settings("http://host/"),), mqtt=(MqttSettings(name="hook", host="host"),))
