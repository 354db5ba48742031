"""`loddis-server` from its arguments: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from loddis_runtime import Bundle
from loddis_runtime.command import run
from loddis_server.cli import Server
from loddis_server.settings import ServerSettings
from support.bundles import write_spot_bundle
from support.tensorrt import write_fake_engine


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    for name in ServerSettings.model_fields:
        monkeypatch.delenv(f"LODDIS_{name.upper()}", raising=False)
    monkeypatch.setenv("LODDIS_MODEL_REPOSITORY", str(repository))
    monkeypatch.setenv("LODDIS_MODELS", "spot")
    monkeypatch.setenv("LODDIS_PORT", "0")
    monkeypatch.setenv("COLUMNS", "200")


def test_config_shows_what_is_in_effect_and_no_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Server, ["--port", "9000", "--api-key", "hunter2", "config"]) == 0
    shown = capsys.readouterr().out
    lines = {line.split()[0]: line for line in shown.splitlines()}
    assert "9000" in lines["port"]
    assert "LODDIS_PORT" in lines["port"]
    assert "spot" in lines["models"]
    assert "hunter2" not in shown


def test_config_as_json_has_every_setting(capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    assert run(Server, ["--api-key", "hunter2", "--queue-capacity", "3", "config", "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)
    assert set(settings) == set(ServerSettings.model_fields)
    assert settings["queue_capacity"] == 3
    assert settings["model_repository"] == str(repository)
    assert settings["models"] == ["spot"]
    assert settings["api_key"] == "**********"


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    report = json.loads(capsys.readouterr().out)
    return {finding["subject"]: finding for finding in report["findings"]}


def test_doctor_runs_every_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("LODDIS_")]:  # where data are, say
        monkeypatch.delenv(name)
    monkeypatch.setenv("LODDIS_MODEL_REPOSITORY", str(repository))
    monkeypatch.setenv("LODDIS_MODELS", "spot")
    monkeypatch.setenv("LODDIS_PORT", "0")
    monkeypatch.setenv("LODDIS_PROT", "8080")
    assert run(Server, ["--threads", "1", "doctor", "--json"]) == 0
    found = findings(capsys)
    assert found["cores"]["status"] == "ok"
    assert "onnxruntime " in found["packages"]["detail"]
    assert "spot:1" in found["model repository"]["detail"]
    assert found["model spot:1"]["status"] == "ok"
    assert "fp32 runs in ONNX Runtime" in found["model spot:1"]["detail"]
    assert "loddis-export engine builds them" in found["model spot:1, TensorRT"]["detail"]
    assert found["environment"] == {"subject": "environment", "status": "note", "detail": "LODDIS_PROT is no setting"}


def test_doctor_says_of_each_engine_why_it_is_not_used(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = Bundle.open(write_spot_bundle(tmp_path))
    write_fake_engine(bundle, compute_capability="sm_53")
    path, _ = write_fake_engine(bundle, compute_capability="sm_87")
    path.write_text("{")
    assert run(Server, ["--model-repository", str(tmp_path), "--threads", "1", "doctor", "--json"]) == 0
    found = findings(capsys)
    assert found["model spot:1"]["status"] == "ok"
    for target, reason in (("sm_53", ""), ("sm_87", "is no passport of an engine")):
        finding = found[f"model spot:1, TensorRT fp32.{target}.tensorrt-10.13.0.35"]
        assert finding["status"] == "note"
        assert finding["detail"].startswith("not used: ")
        assert reason in finding["detail"]
    assert "CUDA" in found["model spot:1, CUDA"]["detail"]


def test_doctor_names_what_keeps_the_server_from_starting(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Server, ["--models", "nope", "--threads", "1000", "doctor"]) == 1
    captured = capsys.readouterr()
    assert "no model nope in" in captured.out
    assert "they will take turns" in captured.out
    assert captured.err == "loddis-server: error: the server would not start: models\n"


def test_doctor_names_a_precision_that_a_model_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Server, ["--precision", "int8", "doctor", "--json"]) == 1
    found = findings(capsys)
    assert found["model spot:1"]["status"] == "fault"
    assert "has no int8 graph; there is: fp32" in found["model spot:1"]["detail"]


def test_doctor_without_own_models(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LODDIS_MODEL_REPOSITORY")
    run(Server, ["doctor", "--json"])
    assert findings(capsys)["model repository"] == {
        "subject": "model repository",
        "status": "ok",
        "detail": "none is set",
    }


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "many"], "--port: input should be a valid integer"),
        (["--host", "0.0.0.0"], "refusing to serve on 0.0.0.0 without an API key"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
        (["--api-key", "two words"], "--api-key: must be visible ASCII"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
    ],
)
def test_wrong_use_is_named_and_exits_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Server, arguments) == 2
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.err.count("\n") == 1
    assert "two words" not in captured.err


@pytest.mark.parametrize("arguments", [[], ["doctor"], ["config"]])
def test_help_says_where_flags_stand(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Server, [*arguments, "--help"]) == 0
    text = capsys.readouterr().out
    assert "stand before" in text
    assert f"{(arguments or ['doctor'])[0]}.\n" in text


def test_serving_gets_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[ServerSettings] = []
    monkeypatch.setattr("loddis_server.serving.serve", served.append)
    assert run(Server, ["--port", "0", "--max-batch-size", "2"]) == 0
    assert served[0].port == 0
    assert served[0].max_batch_size == 2


def test_help_is_enough_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Server, ["--help"]) == 0
    text = capsys.readouterr().out
    for name in ServerSettings.model_fields:
        assert f"--{name.replace('_', '-')}" in text
        assert f"[LODDIS_{name.upper()}]" in text


def test_a_refused_address_is_not_repeated_with_its_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Server, ["--tracing-endpoint", "collector:hush@traces.example", "config"]) == 2
    said = capsys.readouterr().err
    assert "--tracing-endpoint" in said
    assert "hush" not in said


WEBHOOK = {"name": "room", "url": "http://room.example", "secrets": [f"whsec_{'A' * 32}"]}
BROKER = {"name": "broker", "host": "broker.example", "username": "me"}


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("EVENTS__WEBHOOKS", [WEBHOOK | {"secret": "hunter2"}], "0.secret: there is no such setting"),
        ("EVENTS__WEBHOOKS", [WEBHOOK | {"secrets": ["hunter2"]}], "0.secrets.0: expected whsec_ and the base64 of"),
        ("EVENTS__WEBHOOKS", [WEBHOOK | {"secrets": "hunter2"}], "0.secrets: input should be a valid tuple"),
        ("EVENTS__WEBHOOKS", [WEBHOOK | {"url": "htp://room.example/hunter2"}], "0.url: URL scheme should be"),
        ("EVENTS__WEBHOOKS", WEBHOOK | {"secrets": ["hunter2"]}, "input should be a valid tuple"),
        ("EVENTS__WEBHOOKS", '[{"secrets": ["hunter2"]},]', "0: input should be a valid dictionary"),
        ("EVENTS__MQTT", [BROKER | {"passwort": "hunter2"}], "0.passwort: there is no such setting"),
        ("EVENTS__MQTT", [BROKER | {"password": ["hunter2"]}], "0.password: input should be a valid string"),
        ("EVENTS", {"mqtt": [BROKER | {"passwort": "hunter2"}]}, "mqtt.0.passwort: there is no such setting"),
        ("EVENTS", {"database": "sqlite:///hunter2"}, "database: there is no such setting"),
        ("EVENTS", '{"database_url": "hunter2"', "input should be a valid dictionary"),
        ("API_KEYS", [{"name": "a", "secret": "b", "secrt": "hunter2"}], "0.secrt: there is no such setting"),
        ("API_KEYS", {"name": "a", "secret": "hunter2"}, "input should be a valid tuple"),
        ("API_KEYS", "camera:hunter2:detect", "0.scopes.0: input should be 'detect' or 'manage'"),
        ("STREAMS__CAMERAS", [{"stream_id": "a", "source": "rtsp://hunter2/x"}], "0.source: input should be a valid"),
        ("SOURCES__HOSTS", "rtsp://me:hunter2@camera/x", "expected NAME, ADDRESS or NETWORK/BITS"),
        ("TRACING_ENDPOINT", "traces.example?token=hunter2", "string should match pattern"),
    ],
)
def test_a_refused_variable_is_named_to_the_last_key_and_its_secrets_are_not_repeated(
    variable: str, value: object, complaint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"LODDIS_{variable}", value if isinstance(value, str) else json.dumps(value))
    assert run(Server, ["config"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"loddis-server: error: LODDIS_{variable}: {complaint}")
    assert "hunter2" not in said


def test_an_unknown_setting_is_named_by_its_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LODDIS_EVENTS__DATABASE", "postgresql://me:hunter2@db/loddis")
    assert run(Server, ["config"]) == 2
    complaint = "loddis-server: error: LODDIS_EVENTS__DATABASE: there is no such setting\n"
    assert capsys.readouterr().err == complaint


def test_what_is_wrong_is_repeated_where_no_secret_can_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LODDIS_EVENTS", '{"lock_timeout_s": "long"}')
    assert run(Server, ["config"]) == 2
    assert run(Server, ["--events.lock-timeout-s", "short", "config"]) == 2
    by_variable, by_flag = capsys.readouterr().err.splitlines()
    assert by_variable.startswith("loddis-server: error: LODDIS_EVENTS: lock_timeout_s: input should be a valid number")
    assert by_variable.endswith("got 'long'")
    assert by_flag.startswith("loddis-server: error: --events.lock-timeout-s: input should be a valid number")
    assert by_flag.endswith("got 'short'")
