"""`loddis-server config`: where each setting comes from, told without what is secret."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from loddis_runtime.command import run
from loddis_server.cli import Server
from loddis_server.config_origins import Origin, origin_of
from loddis_server.settings import ServerSettings
from support.events import SECRET

EVERYTHING_SECRET = """
api_keys: [{name: ops, secret: hush-1}]
tracing_endpoint: https://collector:hush-2@traces.example/v1/traces?token=hush-3#hush-10
streams:
  cameras: [{stream_id: mast, source: {url: "rtsp://admin:hush-4@camera.example/1?key=hush-5"}}]
sources: {hosts: [camera.example]}
events:
  database_url: postgresql://loddis:hush-6@db.example/loddis
  webhooks: [{name: control-room, url: "https://control.example/loddis#hush-7", secrets: [SECRET]}]
  mqtt: [{name: broker, host: mqtt.example, username: loddis, password: hush-8}]
""".replace("SECRET", SECRET)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("LODDIS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "250")


def write(folder: Path, text: str) -> Path:
    path = folder / "server.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def shown(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, str]:
    """Give each line of the table by its setting."""
    assert run(Server, [*flags, "config"]) == 0
    return {line.split()[0]: " ".join(line.split()) for line in capsys.readouterr().out.splitlines()}


def origins(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    assert run(Server, [*flags, "config", "--json", "--origins"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"settings", "origins"}
    return dict(document["origins"])


def test_each_setting_says_who_won(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # a short path fits the table
    path = write(tmp_path, "port: 1\nqueue_capacity: 1\nmax_batch_size: 4\nmodels: [a]\n")  # 4 is the default as well
    monkeypatch.setenv("LODDIS_PORT", "2")
    monkeypatch.setenv("LODDIS_QUEUE_CAPACITY", "2")
    monkeypatch.setenv("LODDIS_MODELS", "")  # an empty variable is none
    flags = ("--config-file", path.name, "--port", "3")
    found = origins(capsys, *flags)
    assert found["port"] == {"from": "flag"}
    assert found["queue_capacity"] == {"from": "environment", "variable": "LODDIS_QUEUE_CAPACITY"}
    assert found["max_batch_size"] == found["models"] == {"from": "file", "file": "server.yaml"}
    assert found["threads"] == {"from": "default"}
    lines = shown(capsys, *flags)
    assert lines["port"] == "port 3 flag LODDIS_PORT"
    assert lines["queue_capacity"] == "queue_capacity 2 environment LODDIS_QUEUE_CAPACITY"
    assert lines["max_batch_size"] == "max_batch_size 4 file server.yaml LODDIS_MAX_BATCH_SIZE"
    assert lines["threads"] == "threads default LODDIS_THREADS"


def test_groups_are_told_setting_by_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "events:\n  lock_timeout_s: 3\n  retention: {max_age_days: 9, interval_s: 9}\n")
    monkeypatch.setenv("LODDIS_CONFIG_FILE", str(path))
    monkeypatch.setenv("LODDIS_EVENTS__RETENTION__MAX_AGE_DAYS", "8")
    monkeypatch.setenv("LODDIS_EVENTS", '{"retention": {"max_age_days": 7, "undelivered_max_age_days": 70}}')
    found = origins(capsys, "--events.memory-max-bytes", "2000000")
    in_file = {"from": "file", "file": str(path)}
    assert {name: origin for name, origin in found.items() if name.startswith("events.")} == {
        "events.database_url": {"from": "default"},
        "events.lock_timeout_s": in_file,
        "events.memory_max_bytes": {"from": "flag"},
        "events.retention.max_age_days": {"from": "environment", "variable": "LODDIS_EVENTS__RETENTION__MAX_AGE_DAYS"},
        "events.retention.max_bytes": {"from": "default"},
        "events.retention.undelivered_max_age_days": {"from": "environment", "variable": "LODDIS_EVENTS"},
        "events.retention.interval_s": in_file,
        "events.webhooks": {"from": "default"},
        "events.mqtt": {"from": "default"},
    }
    assert found["config_file"] == {"from": "environment", "variable": "LODDIS_CONFIG_FILE"}
    line = shown(capsys)["events.retention.undelivered_max_age_days"]
    assert "environment LODDIS_EVENTS LODDIS_EVENTS__RETENTION__UNDELIVERED_MAX_AGE_DAYS" in line


def test_a_variable_is_named_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("loddis_threads", "2")
    assert origins(capsys)["threads"] == {"from": "environment", "variable": "loddis_threads"}


def test_the_document_without_origins_is_the_settings_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = ["--config-file", str(write(tmp_path, EVERYTHING_SECRET))]
    assert run(Server, [*flags, "config", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert set(plain) == set(ServerSettings.model_fields)
    assert run(Server, [*flags, "config", "--json", "--origins"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"] == plain


@pytest.mark.parametrize("options", [[], ["--json"], ["--json", "--origins"]])
def test_secrets_are_hidden_wherever_they_are(
    options: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LODDIS_API_KEY", "hush-9")
    assert run(Server, ["--config-file", str(write(tmp_path, EVERYTHING_SECRET)), "config", *options]) == 0
    text = capsys.readouterr().out
    assert "hush" not in text
    assert SECRET not in text
    for address in ("traces.example/v1/traces", "https://control.example/loddis", "mqtt.example"):
        assert address in text


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://collector:hush@traces.example/v1", "https://**********@traces.example/v1"),
        ("https://collector:hu/hush@traces.example/v1", "https://**********@traces.example/v1"),
        ("https://collector:hush@hush@traces.example/v1", "https://**********@traces.example/v1"),
        ("https://traces.example/v1?token=hush", "https://traces.example/v1?**********"),
        ("https://traces.example/v1#token=hush", "https://traces.example/v1#**********"),
        ("https://traces.example/v1#token=hush?hush", "https://traces.example/v1#**********"),
        # What belongs to the password and what to the query, nobody can say.
        ("https://collector:hush?x@traces.example/v1", "https://**********"),
        ("https://collector:hush#x@traces.example/v1?hush", "https://**********"),
        ("https://traces.example/v1?token=x@hush", "https://**********"),
        ("https://traces.example/v1", "https://traces.example/v1"),
    ],
)
def test_addresses_that_are_not_quite_urls_show_no_secret(
    address: str, expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flags = ["--config-file", str(write(tmp_path, f'tracing_endpoint: "{address}"\n'))]
    assert run(Server, [*flags, "config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tracing_endpoint"] == expected
    assert expected in shown(capsys, *flags)["tracing_endpoint"].split()


def test_settings_made_in_code_know_what_they_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODDIS_EVENTS__LOCK_TIMEOUT_S", "3")
    settings = ServerSettings(port=8080)
    notes = settings.origin_notes
    assert origin_of(("port",), notes) == Origin("argument")
    assert origin_of(("events", "lock_timeout_s"), notes) == Origin("environment", "LODDIS_EVENTS__LOCK_TIMEOUT_S")
    assert origin_of(("host",), notes) == Origin("default")
    assert settings == ServerSettings(port=8080)
    assert ServerSettings.model_validate({"port": 8080}) == settings


def test_what_is_noted_holds_no_secret(tmp_path: Path) -> None:
    settings = ServerSettings(config_file=write(tmp_path, EVERYTHING_SECRET))
    assert "hush" not in repr(settings.origin_notes)


def test_a_whole_group_from_above_hides_what_is_below_it() -> None:
    notes = ({("a",): Origin("flag")}, {("a", "b"): Origin("environment", "A__B"), ("c", "d"): Origin("file", "f")})
    assert origin_of(("a", "b"), notes) == Origin("flag")
    assert origin_of(("c", "d"), notes) == Origin("file", "f")


def test_settings_are_equal_wherever_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ServerSettings(queue_capacity=7)
    monkeypatch.setenv("LODDIS_QUEUE_CAPACITY", "7")
    assert ServerSettings() == given
    assert ServerSettings(queue_capacity=8) != given
    assert given != 7
