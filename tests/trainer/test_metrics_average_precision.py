"""mAP50: by table, by hand, and against a public evaluator."""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped]
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from loddis_trainer.metrics import ImageResult, evaluate_images, mean_average_precision, precision_recall
from loddis_trainer.metrics.images import pool_frames
from loddis_trainer.metrics.matching import match_greedily, pairs_by_overlap

TARGET = [10.0, 10.0, 20.0, 20.0]
BESIDE = [12.0, 10.0, 22.0, 20.0]  # IoU 2/3 with the target
STORED_MAP50 = 0.4712399811409712
AWAY = [60.0, 60.0, 70.0, 70.0]
OTHER = [40.0, 40.0, 50.0, 50.0]


def result(
    boxes: ArrayLike, scores: ArrayLike, truth: ArrayLike, classes: ArrayLike = (), truth_classes: ArrayLike = ()
) -> ImageResult:
    boxes_xyxy = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    truth_xyxy = np.asarray(truth, dtype=np.float64).reshape(-1, 4)
    class_ids = np.asarray(classes, dtype=np.int64)
    truth_ids = np.asarray(truth_classes, dtype=np.int64)
    return ImageResult(
        boxes_xyxy,
        np.asarray(scores, dtype=np.float64),
        class_ids if len(class_ids) else np.zeros(len(boxes_xyxy), dtype=np.int64),
        truth_xyxy,
        truth_ids if len(truth_ids) else np.zeros(len(truth_xyxy), dtype=np.int64),
    )


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        pytest.param([result([TARGET], [0.9], [TARGET])], 1.0, id="perfect"),
        pytest.param([result([BESIDE], [0.9], [TARGET])], 1.0, id="overlap of two thirds"),
        pytest.param([result([AWAY], [0.9], [TARGET])], 0.0, id="elsewhere"),
        pytest.param([result([], [], [TARGET])], 0.0, id="no detections"),
        pytest.param([result([TARGET, BESIDE], [0.9, 0.8], [TARGET])], 1.0, id="duplicate, worse score"),
        pytest.param([result([TARGET, BESIDE], [0.8, 0.9], [TARGET])], 1.0, id="duplicate, better score"),
        pytest.param([result([AWAY, TARGET], [0.9, 0.8], [TARGET])], 0.5, id="false alarm ranked first"),
        pytest.param([result([TARGET], [0.9], [TARGET, OTHER])], 51 / 101, id="one of two"),
        pytest.param([result([TARGET], [0.9], [TARGET]), result([AWAY], [0.95], [])], 0.5, id="alarm in empty frame"),
        pytest.param([result([TARGET], [0.9], [TARGET], [1], [0])], 0.0, id="wrong class"),
        pytest.param(
            [result([TARGET, OTHER], [0.9, 0.8], [TARGET, OTHER], [0, 0], [0, 1])], 0.5, id="one class of two"
        ),
    ],
)
def test_map50_by_table(results: list[ImageResult], expected: float) -> None:
    assert mean_average_precision(results) == pytest.approx(expected, abs=1e-9)


def test_without_ground_truth_nothing_is_defined() -> None:
    empty = [result([AWAY], [0.9], []), result([], [], [])]
    assert math.isnan(mean_average_precision(empty))
    assert math.isnan(mean_average_precision([]))
    curve = precision_recall(empty, class_id=0)
    assert curve.scores.tolist() == [0.9]
    assert np.isnan(curve.recall).all()
    assert math.isnan(curve.average_precision())


def public_ap50(results: list[ImageResult], *, areas_px2: tuple[float, float] | None = None) -> float:
    """What faster-coco-eval says, of all targets or of those whose area lies in a closed interval."""
    classes = sorted({int(c) for r in results for c in (*r.truth_class_ids, *r.class_ids)})
    annotations: list[dict[str, object]] = []
    found: list[dict[str, object]] = []
    for number, r in enumerate(results):
        for box, label in zip(r.truth_boxes_xyxy, r.truth_class_ids, strict=True):
            size = box[2:] - box[:2]
            annotations.append(coco_box(number, label, box) | {"id": len(annotations) + 1, "iscrowd": 0})
            annotations[-1]["area"] = float(size[0] * size[1])
        for box, score, label in zip(r.boxes_xyxy, r.scores, r.class_ids, strict=True):
            found.append(coco_box(number, label, box) | {"score": float(score)})
    truth = {
        "images": [{"id": i, "width": 100, "height": 100} for i in range(len(results))],
        "annotations": annotations,
        "categories": [{"id": c + 1, "name": str(c)} for c in classes],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(truth)
        evaluation = COCOeval_faster(coco, coco.loadRes(found), "bbox", print_function=lambda *_: None)
        if areas_px2 is not None:
            evaluation.params.areaRng = [list(areas_px2)] * 4
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, -1]  # (recalls, classes) at IoU 0.5, 100 detections
    with_truth = precision[:, (precision > -1).all(axis=0)]
    return float(with_truth.mean()) if with_truth.size else math.nan


def coco_box(image_id: int, label: int, box_xyxy: NDArray[np.floating[Any]]) -> dict[str, object]:
    x1, y1, x2, y2 = (float(value) for value in box_xyxy)
    return {"image_id": image_id, "category_id": int(label) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}


def random_results(seed: int, *, classes: int, crowded: bool, ties: bool) -> list[ImageResult]:
    generator = np.random.default_rng(seed)
    results = []
    for _ in range(12):
        targets = int(generator.integers(0, 12 if crowded else 3))
        truth = generator.uniform(0, 40 if crowded else 80, (targets, 2)).repeat(2, axis=0).reshape(-1, 4)
        truth[:, 2:] += generator.uniform(4, 14, (targets, 2))
        near = truth[generator.random(targets) < 0.8] + generator.normal(0, 1.5, 4)
        far = generator.uniform(0, 80, (int(generator.integers(0, 5)), 2)).repeat(2, axis=0).reshape(-1, 4)
        far[:, 2:] += 8
        boxes = np.concatenate((near, near + generator.normal(0, 0.5, near.shape), far))
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        scores = generator.random(len(boxes))
        if ties:
            scores = np.round(scores, 1)
        labels, truth_labels = generator.integers(0, classes, len(boxes)), generator.integers(0, classes, targets)
        results.append(ImageResult(boxes, scores, labels, truth, truth_labels))
    return results


def random_squares(seed: int) -> list[ImageResult]:
    """Whole coordinates and few scores: exact overlaps of a half, equal boxes and equal scores abound."""
    generator = np.random.default_rng(seed)
    results = []
    for _ in range(6):
        boxes, truth = (generator.integers(0, 8, (int(generator.integers(0, count)), 4)) for count in (25, 8))
        for some in (boxes, truth):
            some[:, 2:] = some[:, :2] + 1 + some[:, 2:] % 6
        scores = generator.integers(1, 5, len(boxes)) / 5
        labels, truth_labels = generator.integers(0, 2, len(boxes)), generator.integers(0, 2, len(truth))
        results.append(ImageResult(boxes.astype(np.float32), scores, labels, truth.astype(np.float32), truth_labels))
    return results


def something_to_compare(results: list[ImageResult]) -> bool:
    return any(len(r.truth_boxes_xyxy) for r in results) and any(len(r.boxes_xyxy) for r in results)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.booleans(), st.booleans())
def test_map50_equals_the_public_evaluators(seed: int, classes: int, crowded: bool, ties: bool) -> None:
    results = random_results(seed, classes=classes, crowded=crowded, ties=ties)
    assume(something_to_compare(results))
    assert mean_average_precision(results) == pytest.approx(public_ap50(results), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_map50_equals_the_public_evaluators_where_everything_ties(seed: int) -> None:
    results = random_squares(seed)
    assume(something_to_compare(results))
    assert mean_average_precision(results) == pytest.approx(public_ap50(results), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_map50_by_size_equals_the_public_evaluators_by_area(seed: int, squares: bool) -> None:
    results = random_squares(seed) if squares else random_results(seed, classes=2, crowded=True, ties=True)
    assume(something_to_compare(results))
    for group in evaluate_images(results, score_threshold=0.5).by_size:
        areas = (group.low**2, math.nextafter(group.high**2, 0) if math.isfinite(group.high) else 1e10)
        assert group.map50 == pytest.approx(public_ap50(results, areas_px2=areas), abs=1e-6, nan_ok=True)


def test_a_crowd_beyond_a_hundred_detections_is_cut_as_the_public_evaluator_cuts_it() -> None:
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 80, (300, 2))
    boxes = np.concatenate((corners, corners + generator.uniform(3, 9, (300, 2))), axis=1)
    truth = boxes[::3] + generator.normal(0, 0.2, (100, 4))
    labels = generator.integers(0, 2, 300)
    results = [ImageResult(boxes, generator.random(300).round(2), labels, truth, labels[::3])] * 2
    mine = mean_average_precision(results)
    assert mine == pytest.approx(public_ap50(results), abs=1e-6)
    curve = precision_recall(results, class_id=0)
    assert len(curve.scores) == 200  # 100 of each frame
    assert curve.scores.min() > 0.2  # the best of them


def test_stored_numbers() -> None:
    """Boxes by arithmetic, and what faster-coco-eval 1.8.0 said of them: neither side can drift with the other."""
    results = []
    for number in range(9):
        places = np.array([[13.0 * i, 7.0 * (i * number % 5)] for i in range(number % 4)]).reshape(-1, 2)
        truth = np.concatenate((places, places + 9), axis=1)
        shifts = np.array([(i * 37 + number * 11) % 5 / 2 for i in range(len(truth))], dtype=np.float64)
        boxes = np.concatenate((truth + shifts[:, None], [[70.0, 70, 79, 79]]))
        scores = np.array([(i * 53 + number * 29) % 97 / 97 for i in range(len(boxes))])
        labels = np.arange(len(boxes)) % 2
        results.append(ImageResult(boxes, scores, labels, truth, labels[:-1]))
    assert mean_average_precision(results) == pytest.approx(STORED_MAP50, abs=1e-6)
    assert mean_average_precision(results) == pytest.approx(STORED_MAP50, abs=1e-6)
    assert public_ap50(results) == pytest.approx(STORED_MAP50, abs=1e-6)


def test_the_order_of_frames_does_not_matter() -> None:
    results = random_results(3, classes=2, crowded=True, ties=False)
    assert mean_average_precision(results[::-1]) == pytest.approx(mean_average_precision(results), abs=1e-12)


def test_a_precision_recall_curve_by_hand() -> None:
    """Hit, miss, hit over three targets: P 1, 1/2, 2/3 at R 1/3, 1/3, 2/3."""
    frame = result([TARGET, AWAY, OTHER], [0.9, 0.8, 0.7], [TARGET, OTHER, [80.0, 80.0, 90.0, 90.0]])
    curve = precision_recall([frame], class_id=0)
    assert curve.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert curve.recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    # Recall points 0 … 0.33 at precision 1 (34 of them), 0.34 … 0.66 at 2/3 (33), the rest 0.
    assert curve.average_precision() == pytest.approx((34 + 33 * 2 / 3) / 101)


def test_the_better_score_chooses_and_an_ignored_target_is_the_last_choice() -> None:
    two = [result([TARGET, BESIDE], [0.5, 0.9], [TARGET, BESIDE])]
    near = [result([TARGET, TARGET], [0.5, 0.9], [TARGET, BESIDE])]
    cases: list[tuple[list[ImageResult], list[bool] | None, list[int]]] = [
        (two, None, [0, 1]),
        (near, None, [1, 0]),  # the second chooses first and takes the one that fits best
        (near, [True, False], [0, 1]),  # although it fits better, the ignored one is left to the other
        ([result([TARGET], [0.5], [])], None, [-1]),
    ]
    for results, ignored, expected in cases:
        pool = pool_frames(results)
        pairs = pairs_by_overlap(pool, iou_threshold=0.5)
        flags = None if ignored is None else np.array(ignored)
        assert match_greedily(pool, pairs, ignored=flags).tolist() == expected


def test_pairs_of_crowds_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    results = random_results(5, classes=2, crowded=True, ties=False)
    whole = mean_average_precision(results)
    monkeypatch.setattr("loddis_trainer.metrics.matching.PAIRS_AT_ONCE", 3)
    assert mean_average_precision(results) == whole


@pytest.mark.parametrize("iou_threshold", [0.0, 1.1, math.nan])
def test_an_overlap_that_cannot_be_is_refused(iou_threshold: float) -> None:
    with pytest.raises(ValueError, match=r"iou_threshold must be in \(0, 1\]"):
        mean_average_precision([result([TARGET], [0.9], [TARGET])], iou_threshold=iou_threshold)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes_xyxy": np.zeros((1, 3))}, r"boxes_xyxy must be \(N, 4\), got \(1, 3\)"),
        ({"boxes_xyxy": np.full((1, 4), np.nan)}, "boxes_xyxy must be finite"),
        ({"scores": np.array([np.nan])}, "scores must be finite"),
        ({"scores": np.array([1.5])}, r"scores must be finite and in \[0, 1\]"),
        ({"scores": np.zeros(2)}, r"scores must fit its boxes, \(1,\), got \(2,\)"),
        ({"truth_boxes_xyxy": np.array([[5.0, 5, 4, 9]])}, "truth_boxes_xyxy must have x1 ≤ x2"),
        ({"truth_boxes_xyxy": np.array([[5.0, 5, np.inf, 9]])}, "truth_boxes_xyxy must be finite"),
        ({"truth_class_ids": np.array([0.0])}, "truth_class_ids must be whole numbers, got float64"),
        ({"truth_snr": np.zeros(5)}, r"truth_snr must be empty or fit 1, got \(5,\)"),
        ({"snr": np.array([np.inf])}, "snr must be finite, or NaN where unknown"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    values: dict[str, object] = {
        "boxes_xyxy": np.array([TARGET]),
        "scores": np.array([0.5]),
        "class_ids": np.array([0]),
        "truth_boxes_xyxy": np.array([TARGET]),
        "truth_class_ids": np.array([0]),
    }
    with pytest.raises(ValueError, match=message):
        ImageResult(**(values | change))  # type: ignore[arg-type]
