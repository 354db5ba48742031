"""The service as systemd sees it: a real socket, and the unit that comes with Loddis."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loddis_server.service import Service
from loddis_server.systemd import Notifier
from support.live_server import LiveServer, settings_for

TIMEOUT_S = 30.0
UNIT = Path(__file__).resolve().parents[2] / "packaging" / "systemd" / "loddis-server.service"


class Manager:
    """What listens where systemd would."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.bind(address)

    def hear(self) -> str:
        return self.socket.recv(4096).decode()

    def hear_until(self, wanted: Callable[[str], bool]) -> str:
        while not wanted(message := self.hear()):
            pass
        return message

    def is_silent_for(self, seconds: float) -> bool:
        self.socket.settimeout(seconds)
        try:
            self.socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(TIMEOUT_S)
        return False


@pytest.fixture
def path() -> Iterator[str]:
    """Give an address that fits into a socket's: pytest's own folders may be too deep."""
    with tempfile.TemporaryDirectory(prefix="loddis-") as folder:
        yield f"{folder}/notify"


@pytest.fixture
def manager(path: str) -> Iterator[Manager]:
    manager = Manager(path)
    yield manager
    manager.socket.close()


def test_a_process_tells_when_it_is_ready_alive_and_stopping(path: str, manager: Manager, repository: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LODDIS_")}
    environment |= {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "100000", "LODDIS_THREADS": "1", "LODDIS_MODELS": "spot"}
    command = [sys.executable, "-m", "loddis_server", "--port", "0", "--model-repository", str(repository)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        ready = manager.hear_until(lambda message: message != "WATCHDOG=1")
        assert ready == "READY=1\nSTATUS=serving spot:1"
        manager.hear_until(lambda message: message == "WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        stopping = manager.hear_until(lambda message: message != "WATCHDOG=1")
        assert stopping == "STOPPING=1\nSTATUS=draining, 0 requests under way"
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()


def test_a_service_that_hangs_falls_silent(
    path: str, manager: Manager, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LiveServer(settings_for(repository), notifier=Notifier(path, watchdog_s=0.1)):
        manager.hear_until(lambda message: message == "WATCHDOG=1")
        monkeypatch.setattr(Service, "is_alive", False)
        while not manager.is_silent_for(0.3):
            pass
        monkeypatch.setattr(Service, "is_alive", True)
        manager.hear_until(lambda message: message == "WATCHDOG=1")
    manager.hear_until(lambda message: message.startswith("STOPPING=1"))


def test_without_a_watchdog_only_the_states_are_told(path: str, manager: Manager, repository: Path) -> None:
    with LiveServer(settings_for(repository), notifier=Notifier(path)):
        assert manager.hear().startswith("READY=1")
        assert manager.is_silent_for(0.1)
    assert manager.hear().startswith("STOPPING=1")


def test_the_environment_is_taken_and_not_handed_on() -> None:
    environment = {
        "NOTIFY_SOCKET": "/run/x",
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/bin",
    }
    notifier = Notifier.from_environment(environment)
    assert notifier is not None
    assert notifier.interval_s == 1.5
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "environment",
    [{"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {}],
)
def test_a_watchdog_that_is_not_ours_is_left_alone(environment: dict[str, str]) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": "@loddis", **environment})
    assert notifier is not None
    assert notifier.interval_s is None


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_manager_there_is_nobody_to_tell(environment: dict[str, str]) -> None:
    assert Notifier.from_environment(environment) is None


def test_abstract_addresses_are_understood() -> None:
    name = f"loddis-test-{os.getpid()}-{time.monotonic_ns()}"
    manager = Manager(f"\0{name}")
    Notifier(f"@{name}").ready("here")
    assert manager.hear() == "READY=1\nSTATUS=here"
    manager.socket.close()


def test_a_manager_that_went_away_is_no_reason_to_stop(path: str, caplog: pytest.LogCaptureFixture) -> None:
    Notifier(path).alive()
    (record,) = caplog.records
    assert record.__dict__["told"] == "WATCHDOG=1"


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed")
    return found


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Give the unit with a command that exists here."""
    text = UNIT.read_text()
    assert text.count("/opt/loddis/bin/loddis-server") == 1
    path = tmp_path / UNIT.name
    path.write_text(text.replace("/opt/loddis/bin/loddis-server", sys.executable))
    return path


def test_the_unit_is_understood_by_systemd(analyze: str, unit: Path) -> None:
    checked = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    ours = [line for line in checked.stderr.splitlines() if UNIT.name in line]
    assert ours == []
    assert checked.returncode == 0, checked.stderr


def test_the_unit_exposes_little(analyze: str, unit: Path) -> None:
    """The threshold is in tenths of systemd's exposure level, of which 2 is safe and 10 is dangerous."""
    checked = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout[-2000:] + checked.stderr
