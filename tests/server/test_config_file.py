"""Settings from a file: below flags and the environment, with every fault named by its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict, SettingsError

from loddis_runtime.command import run
from loddis_server.cli import Server
from loddis_server.settings import ServerFields, ServerSettings


class Group(BaseModel):
    """Settings of some part of the server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database: str = Field(default="events.sqlite", description="Where.")
    password: SecretStr | None = Field(default=None, description="Of the database.")
    days: int = Field(default=30, ge=1, description="How long, days.")


class GroupedFields(ServerFields):
    """Settings of a server with that part."""

    group: Group = Field(default=Group(), description="Of the part.")


class GroupedSettings(GroupedFields, ServerSettings):
    """The same as a command."""

    model_config = SettingsConfigDict(cli_prog_name="grouped")
    file_fields = GroupedFields

    def cli_cmd(self) -> None:
        """Show what came of it."""
        print(self.group.model_dump_json())


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ServerSettings.model_fields:
        monkeypatch.delenv(f"LODDIS_{name.upper()}", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


def write(folder: Path, text: str) -> Path:
    path = folder / "loddis.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "port: 1\nqueue_capacity: 1\nmax_batch_size: 1\nmodels: [spot, 'sky-nano:4']\n")
    monkeypatch.setenv("LODDIS_CONFIG_FILE", str(path))
    monkeypatch.setenv("LODDIS_PORT", "2")
    monkeypatch.setenv("LODDIS_QUEUE_CAPACITY", "2")
    assert run(Server, ["--port", "3", "config", "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)
    assert [settings[name] for name in ("port", "queue_capacity", "max_batch_size")] == [3, 2, 1]
    assert settings["models"] == ["spot", "sky-nano:4"]
    assert settings["config_file"] == str(path)
    assert settings["threads"] is None


def test_the_file_of_a_flag_wins_over_the_one_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LODDIS_CONFIG_FILE", str(tmp_path / "missing.yaml"))
    assert ServerSettings(config_file=write(tmp_path, "port: 9\n")).port == 9


def test_keys_of_a_file_are_hidden_in_what_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path,
        "host: 0.0.0.0\n"
        "api_keys:\n"
        "  - {name: camera, secret: hunter2}\n"
        "  - name: ops\n"
        "    secret: hunter3\n"
        "    scopes: [detect, manage]\n",
    )
    assert run(Server, ["--config-file", str(path), "config"]) == 0
    shown = capsys.readouterr().out
    assert '"name":"ops"' in shown
    assert "hunter" not in shown
    ring = ServerSettings(config_file=path).keys
    assert {key.name: set(key.scopes) for key in ring} == {"camera": {"detect"}, "ops": {"detect", "manage"}}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("port: 1\nprot: 2\n", ":2: prot: there is no such setting"),
        ("port: many\n", ":1: port: input should be a valid integer"),
        ("# models\n\nmodels:\n  - spot\n  - ../etc\n", ":3: models: expected NAME or NAME:VERSION"),
        ("api_keys:\n  - {name: a, secret: b}\n  - {name: c}\n", ":3: api_keys.1.secret: field required"),
        ("api_keys:\n  - a:detect:hunter2 hunter3\n", ":2: api_keys.0.secret: must be visible ASCII"),
        ("port: 1\nhost: localhost\nport: 2\n", ":3: port is there twice, first in line 1"),
        ("config_file: other.yaml\n", ":1: config_file cannot be set in a file"),
        ("- port\n", "must hold settings as NAME: VALUE, got list"),
        ("port: [\n", ":2: is not YAML: "),
        ("port: 1\napi_key: hunter2: 3\n", ":2: is not YAML: mapping values are not allowed here"),
        ("api_key: *hunter2\n", ":1: is not YAML: found undefined alias"),
        ("api_key: !hunter2 x\n", ":1: is not YAML: could not determine a constructor for the tag"),
        ("cors_origins: ['https://me:hunter2@host']\n", ":1: cors_origins: expected SCHEME://HOST"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_exits_2(
    tmp_path: Path, text: str, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, text)
    assert run(Server, ["--config-file", str(path), "config"]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"loddis-server: error: {path}")
    assert fault in complaint
    assert complaint.count("\n") == 1
    assert "hunter" not in complaint


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r":1: port: .*; .*:2: threads: "):
        ServerSettings(config_file=write(tmp_path, "port: -1\nthreads: 0\n"))


def test_a_file_that_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Server, ["--config-file", str(tmp_path / "nope.yaml"), "config"]) == 1
    assert "nope.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n"])
def test_an_empty_file_sets_nothing(tmp_path: Path, text: str) -> None:
    assert ServerSettings(config_file=write(tmp_path, text)).port == 8080


def test_checks_across_settings_see_all_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "host: 0.0.0.0\n")
    with pytest.raises(ValidationError, match="without an API key"):
        ServerSettings(config_file=path)
    monkeypatch.setenv("LODDIS_API_KEY", "hunter2")
    assert ServerSettings(config_file=path).host == "0.0.0.0"


def test_settings_of_a_part_are_merged_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "group:\n  database: file\n  days: 7\n  password: hunter2\n")
    monkeypatch.setenv("LODDIS_GROUP__DAYS", "8")
    assert run(GroupedSettings, ["--config-file", str(path), "--group.database", "flag"]) == 0
    assert json.loads(capsys.readouterr().out) == {"database": "flag", "days": 8, "password": "**********"}
    monkeypatch.delenv("LODDIS_GROUP__DAYS")
    settings = GroupedSettings(config_file=path)
    assert (settings.group.database, settings.group.days) == ("file", 7)
    assert GroupedSettings().group == Group()


def test_faults_within_a_part_have_a_line_or_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "port: 1\ngroup:\n  days: 7\n  datbase: x\n")
    with pytest.raises(SettingsError, match=r":4: group\.datbase: there is no such setting"):
        GroupedSettings(config_file=path)
    monkeypatch.setenv("LODDIS_GROUP__DAYS", "0")
    assert run(GroupedSettings, []) == 2
    assert "LODDIS_GROUP__DAYS: input should be greater than or equal to 1" in capsys.readouterr().err
