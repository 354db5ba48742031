"""The server image, run as compose.yaml runs it: starts, detects in a real frame, stops when told to."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.compose import load_compose
from support.images import ImageConfig
from support.sandbox import Container

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker" / "compose.yaml"
URL = "http://127.0.0.1:8080"
START_TIMEOUT_S = 60.0
UID = "10001"
STATE = "/var/lib/loddis"


def container(
    root: Path, config: ImageConfig, *, log: Path, models: Path | None = None, variables: dict[str, str] | None = None
) -> Container:
    """Describe the container that compose would start with these variables."""
    service = load_compose(COMPOSE, variables=variables)
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    return Container(
        root,
        config,
        log=log,
        environment=service["environment"],
        # The volume of what lasts is as good as a folder in memory for as long as a test.
        tmpfs=[*(entry.partition(":")[0] for entry in service["tmpfs"]), STATE],
        read_only_mounts={models: service["volumes"][0]["target"]} if models else {},
    )


@pytest.fixture(scope="module")
def server(
    image_root: Path, image_config: ImageConfig, own_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    """Give a healthy server with an own bundle beside the shipped ones."""
    log = tmp_path_factory.mktemp("server") / "log"
    with container(image_root, image_config, log=log, models=own_models) as running:
        running.wait_until_healthy(timeout_s=START_TIMEOUT_S)
        yield running


@pytest.fixture(scope="module")
def frame(loddis_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a real infrared frame as `frame.jpg`."""
    source = min((loddis_data / "ground" / "images").glob("*.jpg"))
    return Path(shutil.copy(source, tmp_path_factory.mktemp("frame") / "frame.jpg"))


def test_the_image_says_how_it_wants_to_be_run(image_config: ImageConfig) -> None:
    assert image_config.user == f"{UID}:{UID}"
    assert image_config.entrypoint == ("loddis-server",)
    assert image_config.stop_signal == "SIGTERM"
    assert image_config.exposed_ports == ("8080/tcp",)
    assert image_config.volumes == ("/models", STATE)
    assert image_config.health_check == tuple(load_compose(COMPOSE)["healthcheck"]["test"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert image_config.labels["org.opencontainers.image.version"] == project["version"]
    assert image_config.labels["org.opencontainers.image.licenses"] == project["license"]


def test_the_image_holds_nothing_that_only_builds(image_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = image_root / "opt" / "loddis"
    packages = {path.name for path in environment.glob("lib/python*/site-packages/*")}
    assert "loddis_server" in packages
    assert not {"torch", "pip", "setuptools", "hatchling", "loddis_trainer", "loddis_export"} & packages
    assert not any((image_root / "root" / ".cache").glob("**/*"))
    assert not [name for name in ("src", "wheels", "tools") if (image_root / name).exists()]
    ours_mb, all_mb = (
        sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6
        for folder in (environment, image_root)
    )
    with capsys.disabled():
        print(f"\nserver image: {all_mb:.0f} MB, {ours_mb:.0f} MB of it in /opt/loddis")
    # OpenCV, ONNX Runtime and NumPy take 310 MB, SciPy 145, PyAV with FFmpeg 105, SQLAlchemy 30.
    assert ours_mb < 720, f"/opt/loddis takes {ours_mb:.0f} MB: what came in?"


def test_the_process_has_no_rights_to_lose(server: Container) -> None:
    status = server.status()
    assert set(status["Uid"].split()) == {UID}
    assert set(status["Gid"].split()) == {UID}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert server.execute("touch", "/opt/loddis/mark").returncode != 0
    assert server.execute("touch", "/tmp/mark").returncode == 0


def test_events_are_stored_where_they_last(server: Container) -> None:
    assert server.execute("test", "-s", f"{STATE}/events.db").returncode == 0
    asked = server.beside("curl", "--silent", "--fail-with-body", f"{URL}/v1/events")
    assert json.loads(asked.stdout)["events"] == []


def test_the_console_is_whole(server: Container) -> None:
    page = server.beside("curl", "--silent", "--fail-with-body", "--header", "Accept: text/html", f"{URL}/")
    assert "console/main.js" in page.stdout
    client = server.beside("curl", "--silent", "--fail-with-body", f"{URL}/console/client/index.js")
    assert "Client" in client.stdout


def test_torch_is_not_there(server: Container) -> None:
    asked = server.execute("python3", "-c", "import loddis_server, loddis_runtime, torch")
    assert "No module named 'torch'" in asked.stderr


def test_the_curl_of_the_readme_detects(server: Container, frame: Path) -> None:
    command = next(line for line in (ROOT / "docker" / "README.md").read_text().splitlines() if line.startswith("curl"))
    words = [word.replace("frame.jpg", str(frame)) for word in shlex.split(command)]
    answer = json.loads(server.beside(*words, "--silent", "--show-error", "--fail-with-body").stdout)
    assert answer["frame"] == {"width": 320, "height": 256, "dtype": "uint8"}
    assert answer["model"]["name"]
    for detection in answer["detections"]:
        x1, y1, x2, y2 = detection["box_xyxy"]
        assert 0 <= x1 < x2 <= 320
        assert 0 <= y1 < y2 <= 256
        assert 0 <= detection["score"] <= 1


def test_an_own_bundle_is_served_from_the_volume(server: Container, frame: Path) -> None:
    client = str(Path(sys.executable).with_name("loddis-client"))
    asked = server.beside(client, "detect", str(frame), "--url", URL, "--model", "spot", "--json")
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)


def test_sigterm_ends_it_within_the_grace(
    image_root: Path, image_config: ImageConfig, own_models: Path, tmp_path: Path
) -> None:
    grace_s = float(load_compose(COMPOSE)["stop_grace_period"].removesuffix("s"))
    with container(image_root, image_config, log=tmp_path / "log", models=own_models) as running:
        running.wait_until_healthy(timeout_s=START_TIMEOUT_S)
        assert running.stop(timeout_s=grace_s) == 0, (tmp_path / "log").read_text()


def test_nothing_of_it_is_left_running(
    image_root: Path, image_config: ImageConfig, own_models: Path, tmp_path: Path
) -> None:
    with container(image_root, image_config, log=tmp_path / "log", models=own_models) as running:
        running.wait_until_healthy(timeout_s=START_TIMEOUT_S)
        process = Path(f"/proc/{running.pid}")
        assert process.is_dir()
    assert not process.is_dir()


def test_published_off_loopback_it_refuses_to_start_without_a_key(
    image_root: Path, image_config: ImageConfig, own_models: Path, tmp_path: Path
) -> None:
    variables = {"LODDIS_BIND": "0.0.0.0"}
    log = tmp_path / "log"
    with container(image_root, image_config, log=log, models=own_models, variables=variables) as running:
        assert running.wait(timeout_s=START_TIMEOUT_S) in (1, 2)
    assert "LODDIS_API_KEY" in log.read_text().upper().replace("-", "_")


def test_published_off_loopback_only_the_key_opens(
    image_root: Path, image_config: ImageConfig, own_models: Path, frame: Path, tmp_path: Path
) -> None:
    variables = {"LODDIS_BIND": "0.0.0.0", "LODDIS_API_KEY": "correct-horse-battery-staple"}
    log = tmp_path / "log"
    ask = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", f"{URL}/v1/detect?model=spot"]
    ask += ["--header", "Content-Type: image/jpeg", "--data-binary", f"@{frame}"]
    with container(image_root, image_config, log=log, models=own_models, variables=variables) as running:
        running.wait_until_healthy(timeout_s=START_TIMEOUT_S)  # the probe needs no key
        assert running.beside(*ask).stdout == "401"
        key = f"Authorization: Bearer {variables['LODDIS_API_KEY']}"
        assert running.beside(*ask, "--header", key).stdout == "200"
    assert variables["LODDIS_API_KEY"] not in log.read_text()
