"""Which software made something: goes into checkpoints and bundles."""

from __future__ import annotations

import platform
from importlib import metadata

__all__ = ["software_versions"]


def software_versions(*distributions: str) -> dict[str, str]:
    """Give the versions of Python, Loddis and other installed distributions, by name."""
    versions = {"python": platform.python_version()}
    for name in ("loddis", *distributions):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
