"""Data runs one way, and torch stays in training and export: the contracts hold, and a breach does not pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("runtime", "trainer", "export", "server", "clients/python")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of all five packages, one beside the other, with the project's own contracts."""
    folder = tmp_path_factory.mktemp("copy")
    for part in FOLDERS:
        shutil.copytree(ROOT / part, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.onnx", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts over the packages in a folder."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--config", "pyproject.toml"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_contracts_hold(copy: Path) -> None:
    checked = lint_imports(copy)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("package", "module"),
    [
        ("loddis_runtime", "torch"),
        ("loddis_server", "torch"),
        ("loddis_client", "torch"),
        ("loddis_runtime", "loddis_trainer"),
        ("loddis_trainer", "loddis_export"),
        ("loddis_server", "loddis_trainer"),
        ("loddis_client", "loddis_runtime"),
    ],
)
def test_a_breach_does_not_pass(copy: Path, package: str, module: str) -> None:
    breach = copy / package / "breach.py"
    breach.write_text(f"def load() -> None:\n    import {module}\n")
    try:
        checked = lint_imports(copy)
    finally:
        breach.unlink()
    assert checked.returncode == 1
    assert f"{package}.breach -> {module}" in checked.stdout


@pytest.mark.parametrize("package", ["loddis_runtime", "loddis_server", "loddis_client"])
def test_every_module_of_what_detects_imports_without_torch(package: str) -> None:
    script = (
        "import importlib, pkgutil, sys\n"
        "sys.modules['torch'] = None\n"  # every import of it fails from here
        f"package = importlib.import_module({package!r})\n"
        "names = [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.')]\n"
        "for name in names: importlib.import_module(name)\n"
        "print(len(names))\n"
    )
    imported = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], check=False, capture_output=True, text=True
    )
    assert imported.returncode == 0, imported.stderr
    assert int(imported.stdout) > 0


@pytest.mark.parametrize("module", ["loddis_trainer.cli", "loddis_export.cli"])
def test_help_does_not_wait_for_torch(module: str) -> None:
    script = f"import sys; sys.modules['torch'] = None; import {module}"
    imported = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert imported.returncode == 0, imported.stderr
