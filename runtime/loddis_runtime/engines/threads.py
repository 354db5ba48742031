"""How many cores this process may really use, and how many threads it should not."""

from __future__ import annotations

import os
from numbers import Integral
from pathlib import Path

from loddis_runtime.errors import ConfigError

__all__ = ["available_cores", "check_threads"]

MOST_THREADS_PER_CORE = 8


def available_cores(*, cgroup_root: Path = Path("/sys/fs/cgroup"), own_cgroup: Path = Path("/proc/self/cgroup")) -> int:
    """Count the cores that the scheduler's affinity and the control group's quota leave to this process.

    A container with `--cpus 2` still sees every core of its host; a thread for each of them would spend its time
    waiting for the quota. A quota of 2.5 cores counts as 2: threads that are throttled now and then stall the others.

    Args:
        cgroup_root: Where control groups are mounted.
        own_cgroup: The list of this process's groups.

    Returns:
        At least 1.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_quota(folder) for folder in _groups(cgroup_root, own_cgroup)]
    return max(1, int(min([float(affinity), *(quota for quota in quotas if quota is not None)])))


def check_threads(threads: int) -> int:
    """Give a number of threads for an engine back, if it makes sense on this machine.

    Raises:
        ConfigError: No whole number, fewer than one, or more than eight a core: an engine's threads spin, and would
            starve each other.
    """
    most = MOST_THREADS_PER_CORE * (os.cpu_count() or 1)
    if not isinstance(threads, Integral) or not 1 <= threads <= most:
        raise ConfigError(f"threads must be a whole number from 1 to {most} on this machine, got {threads!r}")
    return int(threads)


def _groups(root: Path, own: Path) -> list[Path]:
    """Give the folders of this process's control group and of all above it, for version 2 and version 1."""
    folders = []
    for line in (_read(own) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / controllers if controllers else root
        relative = Path(path.lstrip("/"))
        folders += [mount / group for group in (relative, *relative.parents)]
    return folders


def _quota(folder: Path) -> float | None:
    """Give the cores that a group may use, None if it has no limit."""
    if (limit := _read(folder / "cpu.max")) is not None:  # version 2: "QUOTA PERIOD" or "max PERIOD", microseconds
        quota, period = limit.split()
        return None if quota == "max" else int(quota) / int(period)
    quota_us, period_us = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if quota_us is None or period_us is None or int(quota_us) <= 0:
        return None
    return int(quota_us) / int(period_us)


def _read(path: Path) -> str | None:
    """Give a file's text, None if it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return None
