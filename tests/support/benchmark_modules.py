"""Modules of `benchmarks/`, which is a folder of scripts and no package."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["benchmark_module", "run_benchmark"]

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"


def benchmark_module(name: str) -> ModuleType:
    """Import a module of the folder, under the name that its neighbours import it by."""
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    return importlib.import_module(name)


def run_benchmark(name: str, *words: str, timeout_s: float = 200.0) -> subprocess.CompletedProcess[str]:
    """Run one of the scripts as a user does."""
    command = [sys.executable, f"benchmarks/{name}.py", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)
