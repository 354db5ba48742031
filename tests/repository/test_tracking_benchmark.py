"""The measures of the tracking benchmark, against cases counted by hand, and one small run of it."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from support.domains import write_drone_csv_domain

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
Seen = dict[int, float]  # x of everything in a frame, by identity


@pytest.fixture(scope="module")
def metrics() -> ModuleType:
    """Import a module of a folder that is no package."""
    spec = importlib.util.spec_from_file_location("track_metrics", BENCHMARKS / "track_metrics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def counted(metrics: ModuleType, targets: Sequence[Seen], tracks: Sequence[Seen]) -> Any:
    """Score a sequence along one line, 5 px near."""

    def places(seen: Seen) -> tuple[Any, Any]:
        return np.array(list(seen), dtype=np.int64), np.array([(x, 0.0) for x in seen.values()]).reshape(-1, 2)

    frames = [metrics.FramePlaces(*places(there), *places(found)) for there, found in zip(targets, tracks, strict=True)]
    return metrics.score_sequence(frames, distance_px=5.0)


def test_a_perfect_track(metrics: ModuleType) -> None:
    scores = counted(metrics, [{1: 10.0}] * 4, [{7: 12.0}] * 4)
    assert scores == metrics.TrackScores(hits=4, identity_hits=4)
    assert (scores.recall, scores.precision, scores.idf1) == (1.0, 1.0, 1.0)


def test_misses_and_false_alarms(metrics: ModuleType) -> None:
    # Found in 2 of 4 frames; 5.1 px is too far; one track of nothing.
    scores = counted(metrics, [{1: 10.0}] * 4, [{7: 10.0}, {7: 15.1}, {}, {7: 15.0, 8: 90.0}])
    assert scores == metrics.TrackScores(hits=2, misses=2, false_alarms=2, identity_hits=2)
    assert (scores.recall, scores.precision) == (0.5, 0.5)
    assert scores.idf1 == pytest.approx(2 * 2 / (4 + 4))


def test_a_track_that_breaks_is_one_switch_and_the_longer_piece_counts(metrics: ModuleType) -> None:
    scores = counted(metrics, [{1: 10.0}] * 5, [{7: 10.0}, {7: 10.0}, {}, {8: 10.0}, {8: 10.0}])
    assert scores == metrics.TrackScores(hits=4, misses=1, switches=1, identity_hits=2)
    assert scores.idf1 == pytest.approx(2 * 2 / (5 + 4))


def test_targets_that_swap_their_tracks(metrics: ModuleType) -> None:
    targets = [{1: 10.0, 2: 50.0}] * 4
    tracks = [{7: 10.0, 8: 50.0}] * 3 + [{8: 10.0, 7: 50.0}]
    scores = counted(metrics, targets, tracks)
    assert scores == metrics.TrackScores(hits=8, switches=2, identity_hits=6)
    assert scores.idf1 == pytest.approx(6 / 8)


def test_a_target_keeps_its_track_while_that_is_near_enough(metrics: ModuleType) -> None:
    scores = counted(metrics, [{1: 10.0}] * 2, [{7: 10.0}, {7: 14.0, 8: 10.0}])
    assert scores == metrics.TrackScores(hits=2, false_alarms=1, identity_hits=2)


def test_as_many_pairs_as_can_be_are_matched(metrics: ModuleType) -> None:
    # Nearest first would give 8 to target 1 and leave target 2 alone.
    scores = counted(metrics, [{1: 10.0, 2: 16.0}], [{7: 6.0, 8: 12.0}])
    assert scores == metrics.TrackScores(hits=2, identity_hits=2)


def test_a_track_cannot_be_two_targets_over_a_sequence(metrics: ModuleType) -> None:
    scores = counted(metrics, [{1: 10.0}] * 3 + [{2: 10.0}] * 2, [{7: 10.0}] * 5)
    assert scores == metrics.TrackScores(hits=5, identity_hits=3)
    assert scores.idf1 == pytest.approx(2 * 3 / 10)


def test_sequences_add_up_and_nothing_is_no_number(metrics: ModuleType) -> None:
    empty = counted(metrics, [{}] * 2, [{}] * 2)
    assert all(math.isnan(value) for value in (empty.recall, empty.precision, empty.idf1))
    one = counted(metrics, [{1: 10.0}], [{7: 10.0}])
    both = one + counted(metrics, [{1: 10.0}], [{}])
    assert both == metrics.TrackScores(hits=1, misses=1, identity_hits=1)


@pytest.mark.slow
def test_the_benchmark_compares_trackers_on_the_same_detections(tmp_path: Path) -> None:
    write_drone_csv_domain(tmp_path / "sky", splits={"train": 1, "val": 1, "test": 2}, frames=8)
    out, table = tmp_path / "tracking.json", tmp_path / "tracking.md"
    command = [sys.executable, "benchmarks/tracking.py", "--sequences", "1", "--clip-frames", "10"]
    environment = os.environ | {"LODDIS_DATA": str(tmp_path), "LODDIS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [*command, "--json", str(out), "--table", str(table)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    rows = json.loads(out.read_text())["rows"]
    recall = {(row["clips"], row["tracker"]): row["recall"] for row in rows}
    drawn = "scenes, 12 px a frame, drawn"
    assert recall[drawn, "plain IoU: parts off"] < 0.1
    assert recall[drawn, "buffered IoU, gate, camera motion"] > 0.3  # the first frames of ten go by before confirmation
    assert len(table.read_text().splitlines()) == len(rows) + 2
    assert len({row["targets"] for row in rows if row["clips"] == drawn}) == 1
