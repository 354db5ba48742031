"""Pd and false alarms per frame by centre distance, and the report of everything."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from loddis_trainer.metrics import ImageResult, detection_roc, evaluate_images
from loddis_trainer.metrics.matching import match_greedily


def frame(centres: list[tuple[float, float]], scores: list[float], truth: list[tuple[float, float]]) -> ImageResult:
    """Boxes of 4 x 4 about centres."""

    def boxes(points: list[tuple[float, float]]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        middle = np.array(points, dtype=np.float64).reshape(-1, 2)
        return np.concatenate((middle - 2, middle + 2), axis=1)

    return ImageResult(
        boxes(centres),
        np.array(scores),
        np.zeros(len(scores), dtype=np.int64),
        boxes(truth),
        np.zeros(len(truth), dtype=np.int64),
        np.full(len(truth), 7.0),
    )


def test_pd_and_false_alarms_by_hand() -> None:
    results = [
        frame([(10, 10), (50, 50)], [0.9, 0.6], [(12, 10)]),  # a hit 2 px away, a false alarm
        frame([(30, 30)], [0.8], [(34, 30)]),  # 4 px away: neither hit nor excuse
        frame([], [], [(5, 5)]),
        frame([(9, 9)], [0.3], []),
    ]
    roc = detection_roc(results, centre_distance_px=3.0)
    assert roc.thresholds.tolist() == [0.9, 0.8, 0.6, 0.3]
    assert roc.pd.tolist() == pytest.approx([1 / 3] * 4)
    assert roc.fa_per_frame.tolist() == pytest.approx([0, 0.25, 0.5, 0.75])
    assert roc.pd_at(0.0) == pytest.approx(1 / 3)
    assert roc.threshold_at(0.5) == 0.6
    assert roc.at_threshold(0.7) == pytest.approx((1 / 3, 0.25))
    assert detection_roc(results, centre_distance_px=5.0).pd_at(0.0) == pytest.approx(2 / 3)


def test_two_detections_on_one_target_are_a_hit_and_a_false_alarm() -> None:
    roc = detection_roc([frame([(10, 10), (11, 10)], [0.9, 0.8], [(10, 10)])])
    assert roc.pd[-1] == 1.0
    assert roc.fa_per_frame[-1] == 1.0


def test_equal_scores_are_one_operating_point() -> None:
    roc = detection_roc([frame([(10, 10), (50, 50)], [0.5, 0.5], [(10, 10)])])
    assert roc.thresholds.tolist() == [0.5]
    assert roc.pd_at(0.5) == 0.0  # one cannot have the hit without the alarm


def test_a_target_and_an_alarm_too_many() -> None:
    empty = detection_roc([frame([], [], [])])
    assert math.isnan(empty.pd_at(0.1))
    assert empty.threshold_at(0.1) == 1.0
    noisy = detection_roc([frame([(1, 1), (20, 20)], [0.5, 0.5], [(40, 40)])])
    assert noisy.pd_at(0.1) == 0.0
    assert noisy.threshold_at(0.1) == 1.0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_a_lower_threshold_never_loses_a_target_or_an_alarm(seed: int) -> None:
    generator = np.random.default_rng(seed)
    results = []
    for _ in range(8):
        truth = [tuple(point) for point in generator.uniform(0, 60, (int(generator.integers(0, 4)), 2)).tolist()]
        near = [(x + generator.normal(0, 2), y + generator.normal(0, 2)) for x, y in truth]
        results.append(frame(near, generator.random(len(near)).round(2).tolist(), truth))
    roc = detection_roc(results)
    assert (np.diff(roc.pd) >= 0).all()
    assert (np.diff(roc.fa_per_frame) >= 0).all()
    assert (np.diff(roc.thresholds) < 0).all()
    for threshold, pd, fa in zip(roc.thresholds, roc.pd, roc.fa_per_frame, strict=True):
        assert roc.at_threshold(float(threshold)) == pytest.approx((pd, fa))


def test_greedy_matching_lets_the_better_score_choose() -> None:
    affinity = np.array([[0.9, 0.8], [0.95, 0.1]])
    assert match_greedily(affinity, np.array([0.9, 0.5]), at_least=0.5).tolist() == [0, -1]
    assert match_greedily(affinity, np.array([0.5, 0.9]), at_least=0.5).tolist() == [1, 0]
    assert match_greedily(np.empty((2, 0)), np.array([0.5, 0.9]), at_least=0.5).tolist() == [-1, -1]


def test_the_report_says_everything_and_null_where_undefined() -> None:
    results = [frame([(10, 10)], [0.9], [(10, 10)]), frame([(30, 30)], [0.2], [(50, 50)])]
    metrics = evaluate_images(results, score_threshold=0.5)
    assert metrics.frames == 2
    assert metrics.targets == 2
    assert metrics.pd == 0.5
    assert metrics.fa_per_frame == 0.0
    assert [(group.targets, group.pd) for group in metrics.by_size if group.targets] == [(2, 0.5)]
    assert [group.label for group in metrics.by_snr if group.targets] == ["SNR 6–12"]
    document = json.loads(json.dumps(metrics.to_dict(), allow_nan=False))
    assert document["map50"] == pytest.approx(metrics.map50)
    assert document["pd_at_fa_per_frame"]["0.1"] == pytest.approx(0.5)

    nothing = evaluate_images([frame([], [], [])], score_threshold=0.5).to_dict()
    assert nothing["map50"] is None
    assert nothing["pd"] is None
    assert "map50" not in evaluate_images([frame([], [], [])], score_threshold=0.5).headline()

    text = io.StringIO()
    Console(file=text, width=120).print(metrics.table(title="sky:test"))
    assert "Pd at Fa ≤ 0.1 per frame" in text.getvalue()


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="no frames"):
        evaluate_images([], score_threshold=0.5)
    with pytest.raises(ValueError, match="centre_distance_px must be above 0"):
        detection_roc([frame([], [], [])], centre_distance_px=0.0)
