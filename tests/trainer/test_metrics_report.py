"""The report of everything: the whole, its groups, and what it looks like to people and programs."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from loddis_trainer.metrics import ImageResult, evaluate_images, mean_map50

Square = tuple[float, float, float]  # centre x, centre y, side


def frame(
    found: list[tuple[Square, float, float]], truth: list[tuple[Square, float]], *, sequence: str = "", label: int = 0
) -> ImageResult:
    """Detections as (square, score, SNR), targets as (square, SNR)."""

    def boxes(squares: list[Square]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        x, y, side = np.array(squares, dtype=np.float64).reshape(-1, 3).T
        return np.stack((x - side / 2, y - side / 2, x + side / 2, y + side / 2), axis=1)

    return ImageResult(
        boxes([square for square, _, _ in found]),
        np.array([score for _, score, _ in found], dtype=np.float64),
        np.full(len(found), label),
        boxes([square for square, _ in truth]),
        np.full(len(truth), label),
        truth_snr=np.array([snr for _, snr in truth], dtype=np.float64),
        snr=np.array([snr for _, _, snr in found], dtype=np.float64),
        sequence=sequence,
    )


SMALL, MIDDLE, LARGE = (10.0, 10.0, 4.0), (40.0, 40.0, 8.0), (80.0, 80.0, 30.0)
FALSE_SMALL, FALSE_LARGE = (120.0, 10.0, 3.0), (120.0, 80.0, 25.0)
RESULTS = [
    frame(
        [(SMALL, 0.9, 7.0), (MIDDLE, 0.8, 2.0), (FALSE_SMALL, 0.85, 1.0)],
        [(SMALL, 7.0), (MIDDLE, 2.0)],
        sequence="day",
    ),
    frame([(FALSE_LARGE, 0.95, 14.0), (LARGE, 0.2, 20.0)], [(LARGE, 20.0), (SMALL, 8.0)], sequence="night"),
    frame([(FALSE_SMALL, 0.7, 1.0)], [], sequence="night"),
]


def test_the_whole() -> None:
    metrics = evaluate_images(RESULTS, score_threshold=0.5)
    assert (metrics.frames, metrics.targets) == (3, 4)
    assert (metrics.hits, metrics.false_alarms, metrics.misses) == (2, 3, 2)
    assert (metrics.plain_precision, metrics.plain_recall) == pytest.approx((2 / 5, 1 / 2))
    assert metrics.plain_f1 == pytest.approx(4 / 9)
    assert (metrics.pd, metrics.fa_per_frame) == pytest.approx((1 / 2, 1.0))
    assert metrics.re == pytest.approx(1 / 2)
    # Ranked: miss, hit, miss, hit, miss, hit of four targets: best P at R of 1/4 and of any other is 1/2.
    assert metrics.pr == pytest.approx(1 / 2)
    assert metrics.map50 == pytest.approx(76 / 101 / 2)
    assert metrics.pd_at(1.0) == pytest.approx(3 / 4)
    assert metrics.threshold_at(1.0) == pytest.approx(0.2)


def test_groups_by_size() -> None:
    metrics = evaluate_images(RESULTS, score_threshold=0.5)
    small, middle, none, large = metrics.by_size
    assert [group.label for group in metrics.by_size] == ["< 5 px", "5–10 px", "10–20 px", "≥ 20 px"]
    assert (small.targets, small.pd, small.re) == pytest.approx((2, 1 / 2, 1 / 2))
    assert small.pr == pytest.approx(1.0)  # its false alarms rank below its hit
    assert small.map50 == pytest.approx(51 / 101)
    assert small.fa_per_frame == pytest.approx(2 / 3)
    assert (middle.targets, middle.pd, middle.map50, middle.fa_per_frame) == pytest.approx((1, 1, 1, 0))
    assert none.targets == 0
    assert all(math.isnan(value) for value in (none.pd, none.map50, none.pr, none.re, none.f1))
    assert none.fa_per_frame == 0.0
    assert (large.pd, large.map50, large.fa_per_frame) == pytest.approx((0, 1 / 2, 1 / 3))
    assert large.pd_at_fa_per_frame["1"] == pytest.approx(1.0)
    assert large.pd_at_fa_per_frame["0.1"] == pytest.approx(0.0)
    assert sum(group.targets for group in metrics.by_size) == metrics.targets
    assert sum(group.fa_per_frame for group in metrics.by_size) == pytest.approx(metrics.fa_per_frame)


def test_groups_by_snr() -> None:
    metrics = evaluate_images(RESULTS, score_threshold=0.5)
    assert [(group.label, group.targets, group.pd) for group in metrics.by_snr if group.targets] == [
        ("SNR < 3", 1, 1.0),
        ("SNR 6–12", 2, 0.5),
        ("SNR ≥ 12", 1, 0.0),
    ]
    assert [group.fa_per_frame for group in metrics.by_snr] == pytest.approx([2 / 3, 0, 0, 1 / 3])


def test_targets_of_unknown_snr_are_a_group_of_their_own() -> None:
    results = [frame([(SMALL, 0.9, 5.0)], [(SMALL, math.nan), (LARGE, 20.0)])]
    metrics = evaluate_images(results, score_threshold=0.5)
    assert [(group.label, group.targets) for group in metrics.by_snr if group.targets] == [
        ("SNR ≥ 12", 1),
        ("SNR unknown", 1),
    ]
    assert metrics.by_snr[-1].pd == 1.0


def test_without_the_snr_of_detections_nobody_knows_whose_the_false_alarms_are() -> None:
    box = np.array([[8.0, 8, 12, 12]])
    one, zero = np.array([0.9]), np.array([0])
    metrics = evaluate_images([ImageResult(box, one, zero, box, zero, truth_snr=np.array([7.0]))], score_threshold=0.5)
    (group,) = (group for group in metrics.by_snr if group.targets)
    assert (group.pd, group.re) == (1.0, 1.0)
    assert all(math.isnan(value) for value in (group.map50, group.pr, group.f1, group.fa_per_frame))
    assert evaluate_images([ImageResult(box, one, zero, box, zero)], score_threshold=0.5).by_snr == ()


def test_by_sequence() -> None:
    day, night = evaluate_images(RESULTS, score_threshold=0.5).by_sequence
    assert (day.sequence, day.frames, day.targets, day.pd, day.fa_per_frame) == ("day", 1, 2, 1.0, 1.0)
    assert (night.sequence, night.frames, night.targets, night.pd, night.fa_per_frame) == ("night", 2, 2, 0.0, 1.0)
    empty = evaluate_images([frame([], [], sequence="calm"), frame([], [])], score_threshold=0.5).by_sequence
    assert [(each.sequence, each.targets) for each in empty] == [("calm", 0)]
    assert math.isnan(empty[0].pd)


def test_by_class() -> None:
    results = [
        frame([(SMALL, 0.9, 5.0)], [(SMALL, 5.0)]),
        frame([(FALSE_LARGE, 0.9, 5.0)], [(LARGE, 5.0)], label=2),
        frame([], [(LARGE, 5.0)], label=7),
    ]
    metrics = evaluate_images(results, score_threshold=0.5, class_names=("drone", "bird", "plane"))
    assert [(each.label, each.targets, each.ap50) for each in metrics.by_class] == [
        ("drone", 1, 1.0),
        ("plane", 1, 0.0),
        ("7", 1, 0.0),
    ]
    assert metrics.map50 == pytest.approx(1 / 3)
    assert metrics.by_class[0].precision_at_recall == (1.0,) * 101


def test_the_order_of_frames_does_not_matter() -> None:
    forwards = evaluate_images(RESULTS, score_threshold=0.5).to_dict()
    backwards = evaluate_images(RESULTS[::-1], score_threshold=0.5).to_dict()
    assert forwards == backwards


def test_json_has_everything_and_null_where_undefined() -> None:
    metrics = evaluate_images(RESULTS, score_threshold=0.5)
    document = json.loads(metrics.to_json())
    assert document == metrics.to_dict()
    assert document["map50"] == pytest.approx(metrics.map50)
    assert document["pd_at_fa_per_frame"]["1"] == pytest.approx(0.75)
    assert document["by_size"][2]["pd"] is None
    assert document["by_size"][3]["high"] is None  # without bound
    assert document["roc"][-1] == {"fa_per_frame": 1.0, "pd": 0.75, "score_threshold": 0.2}
    assert len(document["by_class"][0]["precision_at_recall"]) == 101

    nothing = evaluate_images([frame([], [])], score_threshold=0.5)
    empty = json.loads(nothing.to_json())
    undefined = ("map50", "pr", "re", "f1", "plain_precision", "plain_recall", "plain_f1", "pd")
    assert [empty[name] for name in undefined] == [None] * len(undefined)
    assert empty["fa_per_frame"] == 0.0
    assert "map50" not in nothing.headline()
    assert nothing.headline()["frames"] == 1.0


def test_the_table_shows_figures_and_a_dash_where_undefined() -> None:
    text = io.StringIO()
    console = Console(file=text, width=120)
    console.print(evaluate_images(RESULTS, score_threshold=0.5).table(title="sky:test"))
    printed = text.getvalue()
    assert "sky:test" in printed
    assert "Pd at Fa ≤ 0.1 per frame" in printed
    assert "targets, < 5 px" in printed
    assert "10–20 px" not in printed  # no targets
    console.print(evaluate_images([frame([], [])], score_threshold=0.5).table(title="nothing"))
    assert "–" in text.getvalue()
    two_classes = [frame([], [(SMALL, 5.0)]), frame([], [(SMALL, 5.0)], label=1)]
    console.print(evaluate_images(two_classes, score_threshold=0.5, class_names=("drone", "bird")).table(title=""))
    assert "AP50 of 1 targets, bird" in text.getvalue()


def test_names_in_the_table_are_no_markup() -> None:
    text = io.StringIO()
    two_classes = [frame([], [(SMALL, 5.0)]), frame([], [(SMALL, 5.0)], label=1)]
    metrics = evaluate_images(two_classes, score_threshold=0.5, class_names=("drone[/b]", "bird[red]"))
    Console(file=text, width=120).print(metrics.table(title="sky[/a] :key:"))
    for name in ("sky[/a] :key:", "drone[/b]", "bird[red]"):
        assert name in text.getvalue()


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="no frames"):
        evaluate_images([], score_threshold=0.5)
    for threshold in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"score_threshold must be in \[0, 1\]"):
            evaluate_images(RESULTS, score_threshold=threshold)


def test_domains_weigh_alike_in_a_mean_however_many_targets_they_have() -> None:
    found, missed, empty = frame([(SMALL, 0.9, 7.0)], [(SMALL, 7.0)]), frame([], [(SMALL, 7.0)]), frame([], [])
    assert mean_map50([[found] * 2, [missed] * 50]) == pytest.approx(0.5)
    assert mean_map50([[found], [empty]]) == pytest.approx(1.0)
    assert math.isnan(mean_map50([[empty]]))
