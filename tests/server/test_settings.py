"""Settings: from the environment and flags, with defaults that are safe."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from loddis_server.settings import ServerSettings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ServerSettings.model_fields:
        monkeypatch.delenv(f"LODDIS_{name.upper()}", raising=False)


def test_the_environment_sets_what_no_argument_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODDIS_PORT", "9000")
    monkeypatch.setenv("LODDIS_QUEUE_CAPACITY", "5")
    monkeypatch.setenv("LODDIS_MODEL_REPOSITORY", "/models")
    monkeypatch.setenv("LODDIS_MODELS", "sky-nano,mine:3")
    settings = ServerSettings(queue_capacity=7)
    assert settings.port == 9000
    assert settings.queue_capacity == 7
    assert settings.model_repository == Path("/models")
    assert settings.models == ("sky-nano", "mine:3")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert ServerSettings(host=host).api_key is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "camera.local", "128.0.0.1"])
def test_off_loopback_needs_a_key(host: str) -> None:
    with pytest.raises(ValidationError, match=f"refusing to serve on {host} without an API key"):
        ServerSettings(host=host)
    assert ServerSettings(host=host, api_key=SecretStr("secret")).host == host


def test_what_counts_is_where_it_is_published() -> None:
    assert ServerSettings(host="0.0.0.0", published_host="127.0.0.1").api_key is None
    with pytest.raises(ValidationError, match=r"refusing to serve on 0\.0\.0\.0"):
        ServerSettings(host="127.0.0.1", published_host="0.0.0.0")


def test_an_empty_key_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODDIS_API_KEY", "")
    assert ServerSettings().api_key is None
    monkeypatch.setenv("LODDIS_HOST", "0.0.0.0")
    with pytest.raises(ValidationError, match="without an API key"):
        ServerSettings()


@pytest.mark.parametrize("key", ["with space", "schlüssel", "line\nbreak", ""])
def test_a_key_must_fit_a_header(key: str) -> None:
    with pytest.raises(ValidationError, match="visible ASCII"):
        ServerSettings(api_key=SecretStr(key))


def test_a_key_is_not_shown() -> None:
    settings = ServerSettings(api_key=SecretStr("hunter2"))
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", 70_000),
        ("threads", 0),
        ("queue_capacity", 0),
        ("max_batch_size", 0),
        ("max_body_bytes", 0),
        ("request_timeout_s", 0),
        ("request_timeout_s", float("inf")),
        ("drain_timeout_s", -1),
        ("batch_deadline_ms", 2000),
        ("models", ("../etc",)),
        ("log_level", "loud"),
        ("no_such_setting", 1),
    ],
)
def test_what_makes_no_sense_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        ServerSettings.model_validate({field: value})
