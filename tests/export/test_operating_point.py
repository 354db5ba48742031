"""The operating point keeps to its budget of false alarms, and something is found there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from loddis_export.bundle import export_bundle
from loddis_export.errors import ExportError
from loddis_export.operating_point import choose_threshold
from loddis_export.settings import ExportSettings
from loddis_trainer.metrics import DetectionRoc, ImageResult, detection_roc
from support.domains import write_coco_domain

NOWHERE = [[90.0, 90.0, 96.0, 96.0]]  # x1, y1, x2, y2 pixels


def curve(hits: list[float], false_alarms: list[float], *, frames: int, targets: bool = True) -> DetectionRoc:
    """Give the curve of a split: a target in each frame, found with the scores of `hits`; alarms elsewhere."""
    results = []
    for number in range(frames):
        truth = [[10.0 * number, 10, 10.0 * number + 5, 15]] if targets else []
        boxes = [(truth[0], hits[number])] if number < len(hits) else []
        boxes += [(NOWHERE[0], false_alarms[number])] if number < len(false_alarms) else []
        results.append(
            ImageResult(
                boxes_xyxy=np.array([box for box, _ in boxes], dtype=np.float32).reshape(-1, 4),
                scores=np.array([score for _, score in boxes], dtype=np.float32),
                class_ids=np.zeros(len(boxes), dtype=np.int32),
                truth_boxes_xyxy=np.array(truth, dtype=np.float32).reshape(-1, 4),
                truth_class_ids=np.zeros(len(truth), dtype=np.int64),
                truth_snr=np.full(len(truth), np.nan, dtype=np.float32),
                snr=np.full(len(boxes), np.nan, dtype=np.float32),
            )
        )
    return detection_roc(results)


def test_a_budget_that_few_frames_cannot_meet_is_refused_rather_than_met_by_silence() -> None:
    """One false alarm on nine frames is more than a tenth a frame, and it scores higher than any target."""
    nine = curve([0.8] * 9, [0.95], frames=9)
    message = r"0\.1 false alarms a frame leave no target of sky:val to find on 9 frames: the score .* be 1\. Give more"
    with pytest.raises(ExportError, match=message):
        choose_threshold({"sky:val": nine}, 0.1)
    assert choose_threshold({"sky:val": nine}, 0.2) == pytest.approx(0.8)
    assert choose_threshold({"sky:val": curve([0.8] * 10, [0.95], frames=10)}, 0.1) == pytest.approx(0.8)


def test_a_domain_that_loses_all_its_targets_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    curves = {"sky:val": curve([0.9] * 5, [], frames=5), "city:val": curve([0.2] * 5, [0.3] * 5, frames=5)}
    assert 0.3 < choose_threshold(curves, 0.1) <= 0.9
    assert [record.getMessage() for record in caplog.records] == [
        "no target of city:val reaches the operating point, a score of 0.6"
    ]


def test_frames_without_targets_have_their_say_on_false_alarms_alone(caplog: pytest.LogCaptureFixture) -> None:
    empty = curve([], [0.5] * 10, frames=10, targets=False)
    assert choose_threshold({"sky:val": curve([0.9, 0.4], [], frames=2), "clutter:val": empty}, 0.1) > 0.5
    assert not caplog.records


def test_no_bundle_is_made_of_a_model_that_finds_nothing_at_its_operating_point(
    checkpoint: Path, tmp_path: Path
) -> None:
    root = write_coco_domain(tmp_path / "data" / "dark", splits={"val": 3}, level=60)
    annotations = json.loads((root / "instances_val.json").read_text())
    for one in annotations["annotations"]:
        one["bbox"] = [0, 0, 3, 3]  # where nothing is
    (root / "instances_val.json").write_text(json.dumps(annotations))
    settings = ExportSettings.model_validate(
        {"data_root": tmp_path / "data", "cache_dir": tmp_path / "cache", "precisions": ["fp32"], "threads": 1}
    )
    with pytest.raises(ExportError, match=re.escape("or set --score-threshold")):
        export_bundle(checkpoint, tmp_path / "m" / "1", settings, progress=False)
    assert not (tmp_path / "m").exists()
