"""The package as its users import it."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import loddis_runtime
from loddis_runtime.repository import ModelRepository
from support.bundles import write_spot_bundle


def test_the_example_of_the_package_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_spot_bundle(tmp_path, name="sky-nano", size_hw=(240, 320))
    monkeypatch.setattr("loddis_runtime.repository.shipped_repository", lambda: ModelRepository(tmp_path))
    outcome = doctest.testmod(loddis_runtime)
    assert outcome.attempted >= 6
    assert outcome.failed == 0


def test_importing_it_loads_neither_torch_nor_an_engine() -> None:
    code = "import sys, loddis_runtime; sys.exit(str({'torch', 'onnxruntime', 'onnx'} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_everything_promised_is_there() -> None:
    assert all(hasattr(loddis_runtime, name) for name in loddis_runtime.__all__)
    assert sorted(loddis_runtime.__all__) == list(loddis_runtime.__all__)
