"""The compose files: valid by the specification's own schema, closed by default, hardened."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from loddis_server.events.settings import EventSettings
from loddis_server.settings import ENV_PREFIX, ServerSettings
from support.compose import load_compose

DOCKER = Path(__file__).resolve().parents[2] / "docker"
CPU, GPU = DOCKER / "compose.yaml", DOCKER / "compose.gpu.yaml"


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    """Check a file against the schema of the compose specification."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("path", [CPU, GPU], ids=lambda path: path.name)
def test_the_specification_accepts_the_file(path: Path) -> None:
    checked = validate(path)
    assert checked.returncode == 0, checked.stdout


def test_the_specification_refuses_a_misspelt_key(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yaml"
    broken.write_text(CPU.read_text().replace("cap_drop:", "capdrop:"))
    assert "capdrop" in validate(broken).stdout


def loddis_variables(service: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in service["environment"].items() if name.startswith(ENV_PREFIX)}


def test_out_of_the_box_only_this_machine_reaches_the_server() -> None:
    service = load_compose(CPU)
    assert service["ports"] == ["127.0.0.1:8080:8080"]
    assert loddis_variables(service) == {"LODDIS_PUBLISHED_HOST": "127.0.0.1"}
    assert "network_mode" not in service


def test_the_server_is_told_where_it_is_published() -> None:
    service = load_compose(CPU, variables={"LODDIS_BIND": "192.0.2.7", "LODDIS_BIND_PORT": "80", "LODDIS_API_KEY": "k"})
    assert service["ports"] == ["192.0.2.7:80:8080"]
    assert loddis_variables(service) == {"LODDIS_PUBLISHED_HOST": "192.0.2.7", "LODDIS_API_KEY": "k"}


def test_the_container_may_do_nothing_it_need_not() -> None:
    service = load_compose(CPU, GPU)
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is True
    (writable,) = (volume for volume in service["volumes"] if not volume.get("read_only"))
    assert (writable["type"], writable["target"]) == ("volume", "/var/lib/loddis")
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode", "user"} & service.keys()


def test_it_can_run_for_months() -> None:
    service = load_compose(CPU)
    assert service["restart"] == "unless-stopped"
    assert {"max-size", "max-file"} <= service["logging"]["options"].keys()
    assert service["mem_limit"].endswith("g")
    assert service["pids_limit"] > 0
    assert "healthcheck" in service


def test_what_lasts_is_in_a_volume_that_the_image_gives_to_its_user() -> None:
    document = yaml.safe_load(CPU.read_text())
    (volume,) = (one for one in document["services"]["server"]["volumes"] if one["type"] == "volume")
    assert volume["source"] in document["volumes"]
    dockerfile = (DOCKER / "Dockerfile.server").read_text()
    assert f"STATE_DIRECTORY={volume['target']}\n" in dockerfile
    assert re.search(rf"install -d -o 10001 -g 10001 .*{volume['target']}", dockerfile)


def test_a_video_that_must_be_whole_has_room() -> None:
    """On disk: a folder in memory is small, and what lies in it takes the container's memory."""
    service = load_compose(CPU)
    on_disk = [volume["target"] for volume in service["volumes"] if volume["type"] == "volume"]
    assert service["environment"]["TMPDIR"] in on_disk


def test_the_settings_file_is_where_the_server_reads_it_and_empty_if_none_is_named() -> None:
    def source(**variables: str) -> str:
        service = load_compose(CPU, variables=variables)
        (mount,) = (one for one in service["volumes"] if one["target"].endswith(".yaml"))
        assert f"LODDIS_CONFIG_FILE={mount['target']} " in (DOCKER / "Dockerfile.server").read_text()
        assert mount["read_only"]
        return str(mount["source"])

    assert source(LODDIS_SETTINGS_FILE="./site.yaml") == "./site.yaml"
    unset = ServerSettings(config_file=Path(source()))
    assert unset.model_copy(update={"config_file": None}) == ServerSettings()


def test_the_server_knows_every_variable_it_is_given() -> None:
    known = {f"{ENV_PREFIX}{name}".upper() for name in ServerSettings.model_fields}
    known |= {f"{ENV_PREFIX}EVENTS__{name}".upper() for name in EventSettings.model_fields}
    given = set(loddis_variables(yaml.safe_load(CPU.read_text())["services"]["server"]))
    given |= set(re.findall(r"LODDIS_[A-Z_]+(?==)", (DOCKER / "Dockerfile.server").read_text()))
    assert given >= {"LODDIS_PUBLISHED_HOST", "LODDIS_API_KEY", "LODDIS_HOST", "LODDIS_MODEL_REPOSITORY"}
    assert given <= known


def test_the_grace_is_longer_than_the_drain() -> None:
    grace_s = float(load_compose(CPU)["stop_grace_period"].removesuffix("s"))
    assert grace_s >= 2 * ServerSettings.model_fields["drain_timeout_s"].default


def test_no_registry_is_asked_for_the_image() -> None:
    service = load_compose(CPU)
    assert service["pull_policy"] == "build"
    build = service["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).is_file()


def test_the_gpu_file_reserves_a_gpu_and_builds_for_it() -> None:
    service = load_compose(CPU, GPU)
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert service["build"]["args"] == {"EXTRA": "gpu"}
    assert service["image"] != load_compose(CPU)["image"]
