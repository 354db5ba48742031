"""A server in use holds no more after some time than before; the long form is `benchmarks/soak.py`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from support.benchmark_modules import benchmark_module, run_benchmark

MIB = 2**20


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    return benchmark_module("soak")


@pytest.mark.slow
def test_mixed_traffic_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    # In some seconds the allocator still takes its first arenas: a tenth is a leak all the same.
    done = run_benchmark("soak", "--minutes", "0.12", "--memory-limit", "0.1", "--json", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(out.read_text())
    assert figures["failures"] == []
    answered = {name.split()[0] for name in figures["answers"]}
    mixes = {mix.act.__name__ for mix in benchmark_module("soak_traffic").MIXES}
    assert answered == mixes  # none was idle
    assert figures["answers"]["raw_frames 200"] > 5
    # Streams, videos and sources were at work, not only refused.
    assert {"stateful_frames 409", "websocket_frames frame", "videos frame", "sources 204"} <= figures["answers"].keys()
    assert figures["most at once"]["children"] > 0


def samples_of(soak: ModuleType, resident_mib: list[float]) -> list[object]:
    watching = benchmark_module("process_watch")
    return [
        watching.ProcessSample(
            time_s=float(second), resident_bytes=int(level * MIB), threads=9, files=20, children=0, processor_s=0.0
        )
        for second, level in enumerate(resident_mib)
    ]


@pytest.mark.parametrize(
    ("resident_mib", "growth"),
    [
        ([200.0] * 100, 0.0),
        ([200.0] * 50 + [900.0] + [200.0] * 49, 0.0),  # one large body, once
        ([200.0] * 99 + [260.0], 0.0),  # and one at the very end
        ([200.0 + 0.1 * second for second in range(101)], 0.05),
        ([200.0 + 0.1 * second + (second % 7) for second in range(101)], 0.05),  # a leak under noise
    ],
)
def test_memory_is_judged_by_its_robust_slope(soak: ModuleType, resident_mib: list[float], growth: float) -> None:
    samples = samples_of(soak, resident_mib)
    figures = soak.judge(samples, samples[0], samples[0], [], memory_limit=0.02)
    assert figures["memory growth"] == pytest.approx(growth, abs=0.005)
    assert [("memory grew" in failure) for failure in figures["failures"]] == [True] * (growth > 0.02)


@pytest.mark.parametrize("name", ["threads", "files", "children"])
def test_what_is_left_at_rest_is_a_failure(soak: ModuleType, name: str) -> None:
    samples = samples_of(soak, [200.0] * 10)
    leaked = replace(samples[0], **{name: getattr(samples[0], name) + 1})  # type: ignore[type-var]
    assert soak.judge(samples, leaked, samples[0], [], memory_limit=0.02)["failures"] == []
    (failure,) = soak.judge(samples, samples[0], leaked, [], memory_limit=0.02)["failures"]
    assert failure.startswith(f"{name} at rest")


def test_what_clients_should_not_see_is_a_failure(soak: ModuleType) -> None:
    samples = samples_of(soak, [200.0] * 10)
    assert soak.judge(samples, samples[0], samples[0], ["files: 500"], memory_limit=0.02)["failures"] == ["files: 500"]
