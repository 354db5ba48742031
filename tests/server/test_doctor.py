"""`loddis-server doctor`: what keeps the server from starting is found without starting it, and nothing is changed."""

from __future__ import annotations

import socket
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from loddis_runtime.command import run
from loddis_runtime.errors import LoddisError
from loddis_server.app import create_app
from loddis_server.cli import Server
from loddis_server.doctor import Finding, examine
from loddis_server.events import EventLog, EventSettings, EventStore
from loddis_server.events.schema import VERSION_TABLE
from loddis_server.listening import listen
from loddis_server.metrics import Metrics
from loddis_server.settings import ServerSettings
from support.events import SECRET, make_event
from support.live_server import settings_for


def found(settings: ServerSettings) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine(settings).findings}


def faults(settings: ServerSettings) -> dict[str, str]:
    return {subject: finding.detail for subject, finding in found(settings).items() if finding.status == "fault"}


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def webhook(**fields: Any) -> dict[str, Any]:
    return {"name": "room", "url": "https://room.example", "secrets": [SECRET], **fields}


def broker(**fields: Any) -> dict[str, Any]:
    return {"name": "broker", "host": "broker.example", "tls": True, **fields}


def test_a_sound_machine_is_found_so_and_left_as_it_is(repository: Path, tmp_path: Path) -> None:
    events = {"database_url": f"sqlite:///{tmp_path}/new/events.db", "webhooks": [webhook()], "mqtt": [broker()]}
    settings = settings_for(repository, port=0, events=events, tracing_endpoint="http://127.0.0.1:9/v1/traces")
    findings = found(settings)
    assert findings["event database"].detail == f"SQLite, {tmp_path}/new/events.db: is made at the start"
    for subject in ("event database", "receiver room", "receiver broker", "tracing", "address", "model spot:1"):
        assert findings[subject].status == "ok", subject
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_in_use", [False, True])
def test_a_database_is_read_without_a_trace(repository: Path, tmp_path: Path, is_in_use: bool) -> None:
    database_url = f"sqlite:///{tmp_path}/events.db"
    settings = settings_for(repository, port=0, events={"database_url": database_url})
    with closing(EventStore(EventSettings(database_url=database_url).url)) as store:
        store.open()
        store.append([make_event(1)])
        if not is_in_use:
            store.close()
        before = files_below(tmp_path)
        assert len(before) == (3 if is_in_use else 1)  # a log, and what is shared by those who read it
        assert found(settings)["event database"].detail.endswith("events.db: schema 0001, of this release")
        assert files_below(tmp_path).keys() == before.keys()
        assert files_below(tmp_path)["events.db"] == before["events.db"]


def of_a_newer_release(path: Path) -> None:
    store = EventStore(EventSettings(database_url=f"sqlite:///{path}").url)
    store.open()
    with store.engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9000'"))
    store.close()


def of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE events (what TEXT)")


def no_database(path: Path) -> None:
    path.write_bytes(b"this was a database once" * 1000)


@pytest.mark.parametrize(
    ("make", "detail"),
    [
        (of_a_newer_release, "schema version 9000, this release knows up to 0001"),
        (of_another_program, "holds tables that are not Loddis's: events"),
        (no_database, "the event database is corrupt"),
    ],
)
def test_a_database_that_will_never_do_is_a_fault(
    repository: Path, tmp_path: Path, make: Callable[[Path], None], detail: str
) -> None:
    make(tmp_path / "events.db")
    before = files_below(tmp_path)
    settings = settings_for(repository, port=0, events={"database_url": f"sqlite:///{tmp_path}/events.db"})
    said = faults(settings)
    assert list(said) == ["event database"]
    assert detail in said["event database"]
    assert files_below(tmp_path) == before
    log = EventLog(settings.events, Metrics())
    with pytest.raises(LoddisError) as refused:  # the server says the same
        log.start()
    assert str(refused.value) == said["event database"]
    log.stop(timeout_s=5)


def test_a_database_that_does_not_work_now_is_none(repository: Path) -> None:
    events = {"database_url": "postgresql://me:hunter2@127.0.0.1:9/loddis"}
    finding = found(settings_for(repository, port=0, events=events))["event database"]
    assert finding.status == "note"
    assert finding.detail.startswith("the event database is unreachable: ")
    assert finding.detail.endswith("; the server starts, and tries again")
    assert "hunter2" not in finding.detail


def without(package: str) -> Callable[[pytest.MonkeyPatch, Path], None]:
    def hide(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
        for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)

    return hide


def a_file_of_words(_: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "ca.pem").write_text("no certificate")


def nothing_more(_: pytest.MonkeyPatch, __: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("settings", "prepare", "subject", "detail"),
    [
        (
            {"events": {"database_url": "postgresql://me@127.0.0.1:9/loddis"}},
            without("psycopg"),
            "event database",
            "events.database_url is of PostgreSQL, but psycopg is not installed; "
            "pip install 'loddis[postgresql]' brings its driver",
        ),
        (
            {"tracing_endpoint": "http://127.0.0.1:9/v1/traces"},
            without("opentelemetry.exporter.otlp.proto.http.trace_exporter"),
            "tracing",
            "tracing_endpoint is set, but opentelemetry.exporter.otlp.proto.http.trace_exporter is not installed; "
            "pip install 'loddis[opentelemetry]' brings it",
        ),
        (
            {"events": {"webhooks": [webhook(ca_file="ca.pem")]}},
            nothing_more,
            "receiver room",
            "ca_file of receiver room: ca.pem: No such file or directory",
        ),
        (
            {"events": {"webhooks": [webhook(ca_file="ca.pem")]}},
            a_file_of_words,
            "receiver room",
            "ca_file of receiver room: ca.pem cannot be used: no certificate or crl found",
        ),
        (
            {"events": {"mqtt": [broker(ca_file="ca.pem")]}},
            nothing_more,
            "receiver broker",
            "ca_file of receiver broker: ca.pem: No such file or directory",
        ),
        (
            {"events": {"mqtt": [broker(certificate_file="ca.pem", key_file="key.pem")]}},
            a_file_of_words,
            "receiver broker",
            "key_file of receiver broker: key.pem: No such file or directory",
        ),
        (
            {"events": {"mqtt": [broker(certificate_file="ca.pem", key_file="ca.pem")]}},
            a_file_of_words,
            "receiver broker",
            "certificate_file of receiver broker: ca.pem cannot be used: ",
        ),
        (
            {"default_model": "spot:7"},
            nothing_more,
            "models",
            "the default model spot:7 is not served; there is: spot:1",
        ),
    ],
)
def test_what_keeps_the_server_from_starting_is_a_fault_with_the_words_of_the_server(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    prepare: Callable[[pytest.MonkeyPatch, Path], None],
    subject: str,
    detail: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(monkeypatch, tmp_path)
    events = {"database_url": f"sqlite:///{tmp_path}/events.db", **settings.get("events", {})}
    whole = settings_for(repository, port=0, **{**settings, "events": events})
    said = faults(whole)
    assert list(said) == [subject]
    assert said[subject].startswith(detail)
    with pytest.raises(LoddisError) as refused:
        create_app(whole)
    assert str(refused.value) == said[subject]


def test_a_port_that_is_taken_is_a_fault(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = settings_for(repository, port=port)
        assert faults(settings) == {"address": f"cannot listen on 127.0.0.1:{port}: Address already in use"}
    assert faults(settings) == {}
    for listener in listen("127.0.0.1", port):  # it is free again at once
        listener.close()


def test_brackets_of_findings_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    repository = tmp_path / "models[gpu] :key:"
    repository.mkdir()
    run(Server, ["--model-repository", str(repository), "--port", "0", "--models", "none", "doctor"])
    assert f"{repository}: empty" in capsys.readouterr().out
