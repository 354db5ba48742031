"""Counting cores in made-up control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loddis_runtime.engines.threads import available_cores


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def cores(root: Path, own: str, limits: dict[str, str]) -> int:
    """Lay out the files of a control group and count."""
    for name, text in limits.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    (root / "own").write_text(own)
    return available_cores(cgroup_root=root, own_cgroup=root / "own")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("3200000 100000", 8),
        ("150000 50000", 3),
    ],
)
def test_quota_of_version_2(tmp_path: Path, limit: str, expected: int) -> None:
    assert cores(tmp_path, "0::/\n", {"cpu.max": limit}) == expected


def test_the_tightest_group_on_the_way_up_counts(tmp_path: Path) -> None:
    limits = {"pods/cpu.max": "300000 100000", "pods/app/cpu.max": "max 100000", "cpu.max": "600000 100000"}
    assert cores(tmp_path, "0::/pods/app\n", limits) == 3


def test_quota_of_version_1(tmp_path: Path) -> None:
    own = "12:cpuset:/\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n"
    limits = {
        "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "400000",
        "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
    }
    assert cores(tmp_path, own, limits) == 4


def test_no_control_groups_leave_the_affinity(tmp_path: Path) -> None:
    assert available_cores(cgroup_root=tmp_path, own_cgroup=tmp_path / "missing") == 8


def test_systems_without_affinity_count_all_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cores(cgroup_root=tmp_path, own_cgroup=tmp_path / "missing") == 6


def test_this_machine_has_a_core() -> None:
    assert 1 <= available_cores() <= 8
