"""Spoiled files and bombs: decoded or refused, in little time and memory, and never the end of the server."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from support.benchmark_modules import benchmark_module, run_benchmark
from support.broken_decoder import decode_badly


@pytest.fixture(scope="module")
def fuzzing() -> ModuleType:
    return benchmark_module("fuzz_decoders")


def test_spoiled_files_and_bombs_end_in_frames_or_problems(tmp_path: Path) -> None:
    out = tmp_path / "fuzz.json"
    done = run_benchmark("fuzz_decoders", "--cases", "500", "--http", "100", "--seed", "1", "--json", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["failures"] == []
    assert sum(found["outcomes"].values()) == 500
    # Neither is all refused at the door, nor does what is spoiled go through unseen.
    assert {"frame", "bad-frame", "truncated-image", "frame-too-large"} <= found["outcomes"].keys()
    assert found["outcomes"]["frame"] < 250
    assert found["http"].keys() <= {"200", "400", "413", "415", "422", "431", "503"}
    assert sum(found["http"].values()) >= 90


def test_every_case_begins_with_a_body_that_decodes(fuzzing: ModuleType) -> None:
    outcomes = {seed.name: fuzzing.decode(seed) for seed in fuzzing.seeds()}
    assert set(outcomes.values()) == {"frame"}, outcomes
    assert {name.split()[0] for name in outcomes} == {"png", "jpeg", "tiff", "pgm", "npy", "raw", "form"}


def test_a_case_follows_from_its_seed_and_number_alone(fuzzing: ModuleType) -> None:
    assert [fuzzing.case_of(7, number) for number in range(80)] == [fuzzing.case_of(7, number) for number in range(80)]
    changed = sum(fuzzing.case_of(7, number) != fuzzing.case_of(8, number) for number in range(80))
    assert changed > 70


def test_the_fuzzer_finds_decoders_that_raise_die_or_take_too_much(fuzzing: ModuleType) -> None:
    failures, outcomes, _ = fuzzing.fuzz(0, 80, decode_badly)
    causes: dict[str, set[str]] = {}
    for failure in failures:
        assert fuzzing.case_of(0, int(failure.case)).name == failure.body
        causes.setdefault(failure.body.split()[0], set()).add(failure.cause.strip().splitlines()[-1])
    assert causes.pop("png") == {"ValueError: not meant"}
    assert causes.pop("tiff") == {"the process died, status -11"}
    assert all(cause.startswith("64 MiB of memory") for cause in causes.pop("jpeg"))
    assert causes == {}
    assert sum(outcomes.values()) + sum("died" in failure.cause for failure in failures) == 80


def test_spoiled_videos_batches_and_tensors_are_answered_and_the_server_lives_on(tmp_path: Path) -> None:
    out = tmp_path / "fuzz.json"
    done = run_benchmark("fuzz_streams", "--cases", "56", "--seed", "1", "--json", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["failures"] == []
    # The whole ones at the least.
    assert {"video 200 frame", "batch 200", "tensor 200"} <= found["answers"].keys()
    assert {"video 422", "tensor 400"} <= found["answers"].keys()
