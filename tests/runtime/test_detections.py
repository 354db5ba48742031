"""The result type."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from loddis_runtime.detections import Detections


def fields(**changes: Any) -> dict[str, Any]:
    """Give the fields of two valid detections."""
    valid: dict[str, Any] = {
        "boxes_xyxy": np.array([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=np.float32),
        "scores": np.array([0.75, 0.5], dtype=np.float32),
        "class_ids": np.array([1, 0], dtype=np.int32),
        "centroids": np.array([[2, 3], [6, 7]], dtype=np.float32),
        "snr": np.array([12, 4], dtype=np.float32),
        "class_names": ("drone", "bird"),
    }
    return {**valid, **changes}


def test_records_are_json_with_names() -> None:
    records = json.loads(json.dumps(Detections(**fields()).to_records()))
    assert records[0] == {
        "box_xyxy": [1.0, 2.0, 3.0, 4.0],
        "score": 0.75,
        "class_id": 1,
        "class_name": "bird",
        "centroid_xy": [2.0, 3.0],
        "snr": 12.0,
    }
    assert records[1]["class_name"] == "drone"


def test_empty_has_no_length_and_no_records() -> None:
    nothing = Detections.empty(("drone",))
    assert len(nothing) == 0
    assert nothing.to_records() == []
    assert nothing.boxes_xyxy.shape == (0, 4)
    assert nothing.class_names == ("drone",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes_xyxy": np.zeros((2, 5), dtype=np.float32)}, r"boxes_xyxy must be \(2, 4\) float32, got \(2, 5\)"),
        ({"boxes_xyxy": np.zeros((2, 4))}, r"boxes_xyxy must be .* float32, got \(2, 4\) float64"),
        ({"class_ids": np.zeros(2, dtype=np.int64)}, r"class_ids must be \(2,\) int32"),
        ({"centroids": np.zeros((3, 2), dtype=np.float32)}, r"centroids must be \(2, 2\)"),
        ({"snr": np.zeros(1, dtype=np.float32)}, r"snr must be \(2,\)"),
        ({"class_ids": np.array([0, 2], dtype=np.int32)}, r"class_ids must be below 2, got \[0, 2\]"),
        ({"class_ids": np.array([0, -1], dtype=np.int32)}, r"class_ids must be below 2"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Detections(**fields(**changes))
