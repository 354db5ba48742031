"""Pd and false alarms per frame by centre distance, over all thresholds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from loddis_trainer.metrics import DetectionRoc, ImageResult, common_threshold, detection_roc

Point = tuple[float, float]


def frame(
    centres: list[Point], scores: list[float], truth: list[Point], labels: list[int] | None = None
) -> ImageResult:
    """Boxes of 4 x 4 about centres; all targets are of class 0."""

    def boxes(points: list[Point]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        middle = np.array(points, dtype=np.float64).reshape(-1, 2)
        return np.concatenate((middle - 2, middle + 2), axis=1)

    return ImageResult(
        boxes(centres),
        np.array(scores, dtype=np.float64),
        np.array(labels or [0] * len(scores), dtype=np.int64),
        boxes(truth),
        np.zeros(len(truth), dtype=np.int64),
    )


def random_frames(seed: int, *, decimals: int = 2) -> list[ImageResult]:
    generator = np.random.default_rng(seed)
    results = []
    for _ in range(8):
        truth = [(float(x), float(y)) for x, y in generator.uniform(0, 30, (int(generator.integers(0, 4)), 2))]
        near = [(x + generator.normal(0, 2), y + generator.normal(0, 2)) for x, y in truth for _ in range(2)]
        results.append(frame(near, (0.99 * generator.random(len(near)).round(decimals)).tolist(), truth))
    return results


def count_by_definition(results: list[ImageResult], threshold: float, distance_px: float) -> tuple[float, float]:
    """Pd and Fa at a threshold, straight from the words: the slow way."""
    hit = alarms = targets = 0
    for r in results:
        targets += len(r.truth_boxes_xyxy)
        free = list(range(len(r.truth_boxes_xyxy)))
        for i in np.argsort(-r.scores, kind="stable"):
            if r.scores[i] < threshold:
                continue
            offsets = {j: (r.boxes_xyxy[i] - r.truth_boxes_xyxy[j])[:2] for j in free}
            distances = {j: math.hypot(*offset) for j, offset in offsets.items()}
            nearest = min(distances, key=lambda j: distances[j], default=None)
            if nearest is not None and distances[nearest] <= distance_px:
                free.remove(nearest)
                hit += 1
            else:
                alarms += 1
    return hit / targets, alarms / len(results)


def test_by_hand() -> None:
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
    assert roc.target_scores.tolist() == pytest.approx([0.9, math.nan, math.nan], nan_ok=True)
    assert roc.pd_at(0.0) == pytest.approx(1 / 3)
    assert roc.threshold_at(0.5) == pytest.approx(0.45)  # between 0.6, which is allowed, and 0.3, which is not
    assert roc.at_threshold(0.7) == pytest.approx((1 / 3, 0.25))
    assert detection_roc(results, centre_distance_px=5.0).pd_at(0.0) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("results", "pd", "fa_per_frame"),
    [
        pytest.param([frame([(10, 10)], [0.9], [(10, 10)])], 1, 0, id="perfect"),
        pytest.param([frame([(13, 10)], [0.9], [(10, 10)])], 1, 0, id="as far as allowed"),
        pytest.param([frame([(13.01, 10)], [0.9], [(10, 10)])], 0, 1, id="a little farther"),
        pytest.param([frame([(10, 10), (11, 10)], [0.9, 0.8], [(10, 10)])], 1, 1, id="duplicate"),
        pytest.param([frame([(11, 10), (11, 10)], [0.9, 0.8], [(10, 10), (13, 10)])], 1, 0, id="one each"),
        pytest.param([frame([(10, 10)], [0.9], [(10, 10)], labels=[1])], 0, 1, id="wrong class"),
        pytest.param([frame([(9, 9)], [0.9], []), frame([], [], [(9, 9)])], 0, 0.5, id="right place, wrong frame"),
        pytest.param([frame([(9, 9)], [0.9], [])], math.nan, 1, id="no ground truth"),
    ],
)
def test_by_table(results: list[ImageResult], pd: float, fa_per_frame: float) -> None:
    roc = detection_roc(results)
    assert roc.pd[-1] == pytest.approx(pd, nan_ok=True)
    assert roc.at_threshold(0.0) == pytest.approx((pd, fa_per_frame), nan_ok=True)


def test_equal_scores_are_one_operating_point() -> None:
    roc = detection_roc([frame([(10, 10), (50, 50)], [0.5, 0.5], [(10, 10)])])
    assert roc.thresholds.tolist() == [0.5]
    assert roc.pd_at(0.5) == 0.0  # one cannot have the hit without the alarm
    assert roc.threshold_at(0.5) == 1.0


def test_what_is_undefined_is_not_a_number() -> None:
    nothing = detection_roc([frame([], [], [])])
    assert math.isnan(nothing.pd_at(0.1))
    assert math.isnan(nothing.at_threshold(0.5)[0])
    assert nothing.threshold_at(0.1) == 1.0
    assert nothing.outline() == []
    only_missed = detection_roc([frame([], [], [(1, 1)])])
    assert only_missed.pd_at(0.1) == 0.0  # nothing reported: nothing found, and no false alarm


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2]))
def test_every_point_is_what_counting_gives_and_none_falls(seed: int, decimals: int) -> None:
    results = random_frames(seed, decimals=decimals)
    assume(any(len(r.truth_boxes_xyxy) for r in results))
    roc = detection_roc(results)
    assert (np.diff(roc.pd) >= 0).all()
    assert (np.diff(roc.fa_per_frame) >= 0).all()
    assert (np.diff(roc.thresholds) < 0).all()
    for threshold, pd, fa in zip(roc.thresholds, roc.pd, roc.fa_per_frame, strict=True):
        assert roc.at_threshold(float(threshold)) == pytest.approx((pd, fa))
        assert count_by_definition(results, float(threshold), 3.0) == pytest.approx((pd, fa))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=3), st.floats(0, 3))
def test_one_threshold_for_several_domains_keeps_the_mean_of_their_false_alarms(
    seeds: list[int], budget: float
) -> None:
    curves = [detection_roc(random_frames(seed)) for seed in seeds]
    threshold = common_threshold(curves, budget)
    assert np.mean([curve.at_threshold(threshold)[1] for curve in curves]) <= budget + 1e-9
    below = [score for curve in curves for score in curve.thresholds if score < threshold]
    if below:  # the next lower score would be too many
        assert np.mean([curve.at_threshold(max(below))[1] for curve in curves]) > budget - 1e-9


def test_a_budget_that_is_met_exactly_is_met_on_average_too() -> None:
    curve = detection_roc([frame([(50, 50)], [0.7], []), *[frame([], [], [(9, 9)])] * 9])  # 0.1 a frame
    for count in (1, 7, 11):
        assert common_threshold([curve] * count, 0.1) == pytest.approx(0.7)
    with pytest.raises(ValueError, match="one domain at least"):
        common_threshold([], 0.1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 3))
def test_the_threshold_for_a_budget_keeps_it_and_spends_it(seed: int, budget: float) -> None:
    results = random_frames(seed)
    assume(any(len(r.truth_boxes_xyxy) for r in results))
    roc = detection_roc(results)
    pd, fa = roc.at_threshold(roc.threshold_at(budget))
    assert fa <= budget
    assert pd == pytest.approx(roc.pd_at(budget))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_frames_does_not_matter(seed: int) -> None:
    results = random_frames(seed, decimals=1)
    forwards, backwards = detection_roc(results), detection_roc(results[::-1])
    assert forwards.thresholds.tolist() == backwards.thresholds.tolist()
    assert forwards.pd.tolist() == pytest.approx(backwards.pd.tolist(), nan_ok=True)
    assert forwards.fa_per_frame.tolist() == pytest.approx(backwards.fa_per_frame.tolist())


def test_the_outline_is_short_and_made_of_real_points() -> None:
    generator = np.random.default_rng(0)
    results = [
        frame([(10, 10), (50, 50)], generator.random(2).tolist(), [(10 + generator.uniform(0, 5), 10)])
        for _ in range(500)
    ]
    roc = detection_roc(results)
    rows = roc.outline(40)
    assert 20 < len(rows) <= 40
    assert rows[-1] == (roc.fa_per_frame[-1], roc.pd[-1], roc.thresholds[-1])
    for fa, pd, threshold in rows:
        assert roc.at_threshold(threshold) == pytest.approx((pd, fa))
        assert pd == roc.pd_at(fa)
    assert [row[:2] for row in rows] == sorted(row[:2] for row in rows)
    short = detection_roc(results[:3])
    assert len(short.outline()) <= len(short.thresholds)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no frames"):
        detection_roc([])
    for distance in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="centre_distance_px must be above 0"):
            detection_roc([frame([], [], [])], centre_distance_px=distance)
    roc: DetectionRoc = detection_roc([frame([], [], [(1, 1)])])
    for budget in (-0.1, math.nan):
        with pytest.raises(ValueError, match="fa_per_frame must be at least 0"):
            roc.pd_at(budget)
