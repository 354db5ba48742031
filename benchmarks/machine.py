"""Describe the machine that figures were measured on, and keep them."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "describe_machine", "keep_result", "read_result"]

RESULTS = Path(__file__).parent / "results"
"""Of the figures that the documents show."""


def describe_machine(*distributions: str) -> dict[str, str]:
    """Give processor, cores, memory, system, and the versions of the distributions that matter."""
    facts = {
        "processor": _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": _field(Path("/proc/meminfo"), "MemTotal") or "unknown",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    for name in distributions:
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            facts[name] = "not installed"
    return facts


def keep_result(result: dict[str, Any], path: Path | None) -> None:
    """Write figures as JSON, where a file is asked for."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n")


def read_result(name: str) -> dict[str, Any]:
    """Read the figures that a benchmark left in `RESULTS`."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result


def _field(path: Path, name: str) -> str | None:
    if not path.is_file():
        return None
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
