"""mAP50 and the field's Pr, Re, F1: by table, by hand, and against a public evaluator."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from loddis_trainer.metrics import ImageResult, mean_average_precision, paper_scores, precision_recall

TARGET = [10.0, 10.0, 20.0, 20.0]
BESIDE = [12.0, 10.0, 22.0, 20.0]  # IoU 2/3 with the target
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
    scores = paper_scores(empty, score_threshold=0.5)
    assert all(math.isnan(value) for value in (scores.pr, scores.re, scores.f1, scores.plain_precision))


def public_map50(results: list[ImageResult]) -> float:
    """What faster-coco-eval says."""
    classes = sorted({int(c) for r in results for c in (*r.truth_class_ids, *r.class_ids)})
    truth: dict[str, list[dict[str, object]]] = {
        "images": [{"id": i, "width": 100, "height": 100} for i in range(len(results))],
        "annotations": [],
        "categories": [{"id": c + 1, "name": str(c)} for c in classes],
    }
    found: list[dict[str, object]] = []
    for i, r in enumerate(results):
        for box, label in zip(r.truth_boxes_xyxy, r.truth_class_ids, strict=True):
            x, y, w, h = *box[:2], *(box[2:] - box[:2])
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": i,
                    "category_id": int(label) + 1,
                    "iscrowd": 0,
                    "bbox": [float(x), float(y), float(w), float(h)],
                    "area": float(w * h),
                }
            )
        for box, score, label in zip(r.boxes_xyxy, r.scores, r.class_ids, strict=True):
            x, y, w, h = *box[:2], *(box[2:] - box[:2])
            found.append(
                {
                    "image_id": i,
                    "category_id": int(label) + 1,
                    "score": float(score),
                    "bbox": [float(x), float(y), float(w), float(h)],
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(truth)
        evaluation = COCOeval_faster(coco, coco.loadRes(found), "bbox", print_function=lambda *_: None)
        evaluation.run()
    return float(evaluation.stats_as_dict["AP_50"])


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


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.booleans(), st.booleans())
def test_map50_equals_the_public_evaluators(seed: int, classes: int, crowded: bool, ties: bool) -> None:
    results = random_results(seed, classes=classes, crowded=crowded, ties=ties)
    if any(len(r.truth_boxes_xyxy) for r in results) and any(len(r.boxes_xyxy) for r in results):
        assert mean_average_precision(results) == pytest.approx(public_map50(results), abs=1e-6)


def test_the_order_of_frames_does_not_matter() -> None:
    results = random_results(3, classes=2, crowded=True, ties=False)
    assert mean_average_precision(results[::-1]) == pytest.approx(mean_average_precision(results), abs=1e-12)


def test_a_precision_recall_curve_by_hand() -> None:
    """Hit, miss, hit over three targets: P 1, 1/2, 2/3 at R 1/3, 1/3, 2/3."""
    frame = result([TARGET, AWAY, OTHER], [0.9, 0.8, 0.7], [TARGET, OTHER, [80, 80, 90, 90]])
    curve = precision_recall([frame], class_id=0)
    assert curve.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert curve.recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    # Recall points 0 … 0.33 at precision 1 (34 of them), 0.34 … 0.66 at 2/3 (33), the rest 0.
    assert curve.average_precision() == pytest.approx((34 + 33 * 2 / 3) / 101)


def test_the_fields_scores_by_hand() -> None:
    frame = result([TARGET, AWAY, OTHER], [0.9, 0.8, 0.7], [TARGET, OTHER, [80, 80, 90, 90]])
    at_all = paper_scores([frame], score_threshold=0.5)
    assert at_all.re == pytest.approx(2 / 3)
    assert at_all.pr == pytest.approx((34 + 33 * 2 / 3) / 67)
    assert at_all.f1 == pytest.approx(2 * at_all.pr * at_all.re / (at_all.pr + at_all.re))
    assert at_all.plain_precision == pytest.approx(2 / 3)
    at_first = paper_scores([frame], score_threshold=0.85)
    assert (at_first.pr, at_first.re, at_first.plain_precision) == pytest.approx((1.0, 1 / 3, 1.0))
    at_none = paper_scores([frame], score_threshold=0.95)
    assert (at_none.pr, at_none.re, at_none.f1) == (0.0, 0.0, 0.0)
    assert math.isnan(at_none.plain_precision)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_map50_is_about_pr_times_re_with_all_detections_reported(seed: int) -> None:
    """Exactly: the 101 points hold Re·100 + 1 that are reached, hence the bound of a point."""
    results = random_results(seed, classes=1, crowded=False, ties=False)
    if any(len(r.truth_boxes_xyxy) for r in results):
        scores = paper_scores(results, score_threshold=0.0)
        assert mean_average_precision(results) == pytest.approx(scores.pr * scores.re, abs=0.011)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes_xyxy": np.zeros((1, 3))}, r"boxes_xyxy must be \(N, 4\), got \(1, 3\)"),
        ({"boxes_xyxy": np.full((1, 4), np.nan)}, "boxes_xyxy must be finite"),
        ({"scores": np.array([np.nan])}, "scores must be finite"),
        ({"scores": np.zeros(2)}, "must fit their boxes"),
        ({"truth_snr": np.zeros(5)}, "truth_snr must be empty or fit 1, got 5"),
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
