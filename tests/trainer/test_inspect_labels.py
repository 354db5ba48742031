"""Labels that cannot be right are found and named; a clean domain gives nothing to mend."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from loddis_trainer.data.inspection import Finding, inspect_domain
from loddis_trainer.data.inspection.report import Inspection
from support.domains import write_drone_csv_domain
from support.views import Shot, clouds, spot_box, with_spot, write_shots

PLACE = (80.0, 60.0)


def inspect(root: Path) -> Inspection:
    return inspect_domain(root, cache_dir=root.parent / "cache", progress=False).inspection


def labels(found: Inspection) -> list[Finding]:
    return [finding for finding in found.findings if finding.subject == "labels"]


def shot(seed: int, boxes: list[list[float]] | None = None, **options: object) -> Shot:
    centre = (30.0 + 4 * (seed % 20), 40.0 + 2 * (seed % 25))
    pixels = with_spot(clouds(seed), centre, noise=seed)
    return Shot(f"{seed}.png", pixels, [spot_box(centre)] if boxes is None else boxes, **options)  # type: ignore[arg-type]


def test_a_clean_domain_has_no_faults_and_no_warnings(tmp_path: Path) -> None:
    splits = {
        split: [shot(seed) for seed in seeds]
        for split, seeds in (("train", range(110)), ("val", range(110, 220)), ("test", range(220, 330)))
    }
    found = inspect(write_shots(tmp_path / "clean", splits))
    assert [finding for finding in found.findings if finding.severity != "note"] == []
    assert [finding.subject for finding in found.findings] == ["frames", "boxes", "sizes"]


@pytest.mark.parametrize(
    ("boxes", "severity", "message"),
    [
        ([[0, 0, 160, 128]], "fault", "boxes that are as large as the frame: 1 in 'train', take them out"),
        ([[20, 20, 90, 80]], "warning", "boxes that fill a quarter of the frame or more: 1 in 'train'"),
        ([[30, 30, 9, 9], [30, 30, 9, 9]], "warning", "boxes that stand twice in their frame: 1 in 'train'"),
        ([[30, 30, 9, 0.5]], "warning", "boxes that are under 1 px wide or high: 1 in 'train'"),
        ([[155, 30, 9, 9]], "warning", "1 label file has boxes in 'train' that reach over the border"),
    ],
    ids=["whole frame", "large", "twice", "sliver", "over the border"],
)
def test_each_planted_fault_is_found(tmp_path: Path, boxes: list[list[float]], severity: str, message: str) -> None:
    train = [shot(seed) for seed in range(6)]
    train[3] = shot(3, [*train[3].boxes_xywh, *boxes])  # type: ignore[list-item]
    found = inspect(write_shots(tmp_path / "d", {"train": train, "val": [shot(seed) for seed in range(6, 10)]}))
    (finding,) = [f for f in labels(found) if message in f.message]
    assert (finding.severity, finding.splits) == (severity, ("train",))
    assert "3.png" in finding.examples[0] or "over the border" in finding.examples[0]


def test_a_size_stated_larger_than_the_file_is_a_fault(tmp_path: Path) -> None:
    train = [shot(seed) for seed in range(4)]
    train.append(shot(4, [[200, 100, 9, 9]], stated_hw=(256, 320)))
    found = inspect(write_shots(tmp_path / "d", {"train": train}))
    (finding,) = [f for f in found.findings if f.severity == "fault"]
    assert finding.splits == ("train",)
    assert "4.png" in finding.message
    assert "annotated as 320 x 256 px" in finding.message


def test_boxes_that_hold_nothing_are_named_the_emptiest_first(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(60, 100, 160), (128, 1)).round().astype(np.uint8)
    train = [shot(seed) for seed in range(5)]
    train.append(Shot("nothing.png", ramp, [spot_box(PLACE)]))
    found = inspect(write_shots(tmp_path / "d", {"train": train}))
    (finding,) = labels(found)
    assert finding.severity == "warning"
    assert "in 1 of 6 boxes looked at in 'train' (16.7 %) nothing stands out" in finding.message
    assert finding.examples[0].startswith("nothing.png, box at 76, 56 of 9 x 9 px, SNR ")
    assert found.splits["train"].contrast.nothing == 1


def clip(shift: Callable[[int], tuple[float, float]], *, frames: int = 8, others: int = 0) -> list[Shot]:
    """Draw a clip of a moving spot, its box off by `shift`, and `others` still spots without a box."""
    shots = []
    for number in range(frames):
        centre = (40.0 + 3 * number, 50.0 + 2 * number)
        pixels = with_spot(clouds(3), centre, noise=number)
        for place in range(others):
            pixels = with_spot(pixels.astype(np.float64), (12.0 + 3 * place, 110.0), noise=100 + number)
        dx, dy = shift(number)
        box = spot_box((centre[0] + dx, centre[1] + dy))
        shots.append(Shot(f"clip/{number}.png", pixels, [box], video="clip", frame_id=number))
    return shots


def test_boxes_beside_their_targets_are_named_the_farthest_first(tmp_path: Path) -> None:
    shifts = {2: (14.0, -9.0), 5: (-20.0, 0.0)}
    found = inspect(write_shots(tmp_path / "d", {"train": clip(lambda number: shifts.get(number, (0.0, 0.0)))}))
    (finding,) = [finding for finding in labels(found) if "beside their targets" in finding.message]
    assert finding.severity == "warning"
    assert "2 of 8 boxes looked at in 'train' (25.0 %) lie beside their targets, by up to 20 px" in finding.message
    assert [example.partition(",")[0] for example in finding.examples] == ["clip frame 5", "clip frame 2"]
    assert finding.examples[1].endswith("target 17 px off, at -14, +9 of its box")
    assert found.splits["train"].astray.judged == 8


@pytest.mark.parametrize(
    "shots",
    [
        pytest.param(clip(lambda _: (0.0, 0.0), others=1), id="a clear spot far away"),
        pytest.param(clip(lambda number: (40.0, 0.0) if number == 3 else (0.0, 0.0)), id="too far to be the target"),
        pytest.param(clip(lambda number: (15.0, 0.0) if number == 3 else (0.0, 0.0), frames=4), id="too few to tell"),
        pytest.param(clip(lambda number: (15.0, 0.0) if number % 4 else (0.0, 0.0)), id="most of them miss it"),
    ],
)
def test_what_may_be_something_else_is_no_label_astray(tmp_path: Path, shots: list[Shot]) -> None:
    found = inspect(write_shots(tmp_path / "d", {"train": shots}))
    assert found.splits["train"].astray.count == 0
    assert not [finding for finding in labels(found) if "beside their targets" in finding.message]


def edit(table: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    rows = list(csv.DictReader(table.read_text().splitlines()))
    with table.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys())
        writer.writeheader()
        writer.writerows(change(row) for row in rows)


def test_what_the_reader_refuses_is_a_fault_and_the_other_splits_go_on(tmp_path: Path) -> None:
    root = write_drone_csv_domain(tmp_path / "d", splits={"train": 2, "val": 2}, frames=4)
    edit(root / "labels" / "VAL_001.csv", lambda row: row | ({"x": "500"} if row["frame"] == "2" else {}))
    found = inspect(root)
    assert list(found.splits) == ["train"]
    (finding,) = [f for f in found.findings if f.severity == "fault"]
    assert finding.message.startswith("split 'val' cannot be read, mend this first: ")
    assert "VAL_001.csv, frame 2: box" in finding.message
    assert "lies outside the 96 x 64 frame" in finding.message


def test_a_track_that_jumps_is_named(tmp_path: Path) -> None:
    def clip(name: str, places: list[tuple[float, float]]) -> list[Shot]:
        view = clouds(len(name))
        return [
            Shot(f"{name}/{i}.png", with_spot(view, place, noise=i), [spot_box(place)], video=name, frame_id=i)
            for i, place in enumerate(places)
        ]

    steady = [(30.0 + 2 * i, 40.0 + i) for i in range(12)]
    jumping = [*steady[:6], (120.0, 100.0), *steady[7:]]
    found = inspect(write_shots(tmp_path / "d", {"train": [*clip("steady", steady), *clip("jump", jumping)]}))
    assert found.splits["train"].motion.jumps == 2  # there and back
    (finding,) = labels(found)
    assert "targets of 'train' jump 2 times" in finding.message
    assert {example.split(":")[0] for example in finding.examples} == {"jump frame 6", "jump frame 7"}


def test_a_swinging_camera_is_no_jump(tmp_path: Path) -> None:
    wide = clouds(5, (128, 400))
    left = [0, 2, 4, 6, 40, 42, 44, 46]
    shots = [
        Shot(
            f"{i}.png",
            with_spot(wide[:, x : x + 160].copy(), (110.0 - x, 60.0), noise=i),
            [spot_box((110.0 - x, 60.0))],
            video="swing",
            frame_id=i,
        )
        for i, x in enumerate(left)
    ]
    found = inspect(write_shots(tmp_path / "d", {"train": shots}))
    assert found.splits["train"].motion.jumps == 0
    assert found.splits["train"].motion.camera_px_per_frame.quantiles["max"] == pytest.approx(34, abs=2)


def test_json_that_is_none_is_a_fault_not_an_end(tmp_path: Path) -> None:
    root = write_shots(tmp_path / "d", {"train": [shot(0)], "val": [shot(1)]})
    (root / "instances_val.json").write_text(json.dumps({"images": 3}))
    found = inspect(root)
    assert list(found.splits) == ["train"]
    assert [f.splits for f in found.findings if f.severity == "fault"] == [("val",)]
