"""The field's Pr, Re and F1: by hand, against its own table, and beside the plain ones that they are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from loddis_trainer.metrics import (
    ImageResult,
    PlainScores,
    mean_average_precision,
    paper_scores,
    plain_scores,
    precision_recall,
)

# mAP50, Pr, Re, F1 of table 1, per cent: its first and last rows, and those of the lowest and highest Re and Pr.
TABLE_1 = [
    (13.73, 36.32, 38.36, 37.31),
    (45.85, 48.19, 96.87, 64.36),
    (36.40, 57.37, 64.36, 60.66),
    (11.37, 32.55, 35.86, 34.12),
    (46.92, 96.35, 49.96, 65.81),
    (53.00, 58.09, 92.75, 71.44),
    (42.30, 60.78, 70.23, 65.16),
    (64.33, 92.48, 70.42, 79.96),
    (58.66, 81.00, 73.39, 77.00),
]


def boxes_at(places: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """10 x 10 boxes in a row; places 20 apart do not touch."""
    left = np.array(places, dtype=np.float64).reshape(-1, 1)
    return np.concatenate((left, np.zeros_like(left), left + 10, np.full_like(left, 10)), axis=1)


def frame(found: list[tuple[float, float]], truth: list[float], label: int = 0, truth_label: int = 0) -> ImageResult:
    """Detections as (place, score)."""
    return ImageResult(
        boxes_at([place for place, _ in found]),
        np.array([score for _, score in found], dtype=np.float64),
        np.full(len(found), label),
        boxes_at(truth),
        np.full(len(truth), truth_label),
    )


def ranked(hits: list[bool], targets: int) -> ImageResult:
    """Detections of falling score that hit or miss as told."""
    places = iter(range(targets))
    found = [(20.0 * next(places) if hit else 20.0 * (targets + i), 0.99 - 0.001 * i) for i, hit in enumerate(hits)]
    return frame(found, [20.0 * i for i in range(targets)])


def test_by_hand() -> None:
    """Hit, miss, hit over three targets: P 1, 1/2, 2/3 at R 1/3, 1/3, 2/3."""
    results = [ranked([True, False, True], 3)]
    scores = paper_scores(results, score_threshold=0.5)
    assert scores.re == pytest.approx(2 / 3)
    # The first 66 recall points, 0 … 0.65: precision 1 up to 0.33 (34 of them), 2/3 at the other 32.
    assert scores.pr == pytest.approx((34 + 32 * 2 / 3) / 66)
    assert scores.f1 == pytest.approx(2 * scores.pr * scores.re / (scores.pr + scores.re))
    plain = plain_scores(results, score_threshold=0.5)
    assert plain == PlainScores(hits=2, false_alarms=1, misses=1)
    assert (plain.precision, plain.recall, plain.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))


def test_what_lies_below_the_threshold_takes_no_part() -> None:
    results = [ranked([True, False, True], 3)]
    scores = paper_scores(results, score_threshold=0.9895)
    assert (scores.pr, scores.re) == pytest.approx((1.0, 1 / 3))
    assert plain_scores(results, score_threshold=0.9895) == PlainScores(hits=1, false_alarms=0, misses=2)
    at_its_score = paper_scores(results, score_threshold=0.988)
    assert at_its_score.re == pytest.approx(2 / 3)  # a score that equals the threshold is reported


@pytest.mark.parametrize("hits", [29, 35, 41, 47, 57, 58, 69, 70, 82, 83, 94, 95, 100])
def test_recalls_that_rounding_moves(hits: int) -> None:
    """All detections hit, so every reached recall point has precision 1, whatever 100 · Re rounds to."""
    assert paper_scores([ranked([True] * hits, 100)], score_threshold=0.0).pr == 1.0


def test_a_recall_below_the_first_step_has_a_precision() -> None:
    scores = paper_scores([ranked([False, True], 300)], score_threshold=0.0)
    assert scores.re == pytest.approx(1 / 300)
    assert scores.pr == pytest.approx(0.5)


def nan_to_text(values: tuple[float, ...]) -> list[float | str]:
    return ["nan" if math.isnan(value) else value for value in values]


@pytest.mark.parametrize(
    ("results", "paper", "plain"),
    [
        pytest.param([frame([], [])], ("nan", "nan", "nan"), ("nan", "nan", "nan"), id="nothing at all"),
        pytest.param([frame([(0, 0.9)], [])], ("nan", "nan", "nan"), (0, "nan", "nan"), id="no ground truth"),
        pytest.param([frame([], [0])], (0, 0, 0), ("nan", 0, 0), id="no detections"),
        pytest.param([frame([(0, 0.9)], [0])], (1, 1, 1), (1, 1, 1), id="perfect"),
        pytest.param([frame([(50, 0.9)], [0])], (0, 0, 0), (0, 0, 0), id="elsewhere"),
        pytest.param([frame([(0, 0.9)], [0], label=1)], (0, 0, 0), (0, 0, 0), id="wrong class"),
        pytest.param([frame([(0, 0.9), (1, 0.8)], [0])], (1, 1, 1), (1 / 2, 1, 2 / 3), id="duplicate"),
        pytest.param(
            [frame([(0, 0.9)], [0]), frame([(0, 0.8)], [])], (1, 1, 1), (1 / 2, 1, 2 / 3), id="alarm in an empty frame"
        ),
        pytest.param([frame([(0, 0.9)], [0]), frame([], [0])], (1, 1 / 2, 2 / 3), (1, 1 / 2, 2 / 3), id="missed frame"),
        pytest.param(
            [frame([(0, 0.9)], [0]), frame([], [0], truth_label=1)],
            (1 / 2, 1 / 2, 1 / 2),
            (1, 1 / 2, 2 / 3),
            id="a class never found: the mean over classes halves, hits over detections do not",
        ),
    ],
)
def test_by_table(results: list[ImageResult], paper: tuple[float, ...], plain: tuple[float, ...]) -> None:
    fields = paper_scores(results, score_threshold=0.5)
    counts = plain_scores(results, score_threshold=0.5)
    assert nan_to_text((fields.pr, fields.re, fields.f1)) == pytest.approx(list(paper))
    assert nan_to_text((counts.precision, counts.recall, counts.f1)) == pytest.approx(list(plain))


@pytest.mark.parametrize(("map50", "pr", "re", "f1"), TABLE_1)
def test_the_papers_table_is_computed_this_way(map50: float, pr: float, re: float, f1: float) -> None:
    points = math.floor(re)
    rounding = 0.005
    assert (pr - rounding) * points / 101 - rounding <= map50 <= (pr + rounding) * (points + 1) / 101 + rounding
    assert abs(map50 - pr * (points + 1) / 101) > 2 * rounding  # the point at Re itself does not count
    assert f1 == pytest.approx(2 * pr * re / (pr + re), abs=0.011)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), max_size=80), st.integers(0, 40))
def test_map50_lies_between_the_points_before_re_and_the_one_at_it(hits: list[bool], missed: int) -> None:
    targets = sum(hits) + missed
    assume(targets > 0)
    results = [ranked(hits, targets)]
    scores = paper_scores(results, score_threshold=0.0)
    map50 = mean_average_precision(results)
    points = math.floor(100 * scores.re + 1e-9)
    last = float(precision_recall(results, class_id=0).interpolated_precision()[min(points, 100)])
    if points:
        assert map50 == pytest.approx((scores.pr * points + last) / 101, abs=1e-9)
    assert map50 == pytest.approx(scores.pr * scores.re, abs=1 / 101 + 1e-9)
