"""Boxes off their image, over its edge or of no area are counted and named; all else is told of the others."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loddis_runtime.command import run
from loddis_trainer.cli import Trainer
from loddis_trainer.data import DataError, DomainDataset
from loddis_trainer.data.boxes import boxes_from_xywh
from loddis_trainer.data.inspection import InspectedDomain, inspect_domain
from loddis_trainer.data.inspection.contact_sheet import contact_sheet
from loddis_trainer.data.readers import read_split
from support.domains import write_drone_csv_domain
from support.views import Shot, clouds, spot_box, with_spot, write_shots

OFF, OVER, FLAT = [170.0, 30.0, 9.0, 9.0], [-4.0, 30.0, 9.0, 9.0], [40.0, 30.0, 0.0, 9.0]


def shot(seed: int, *more: list[float], own: bool = True) -> Shot:
    centre = (30.0 + 4 * (seed % 20), 40.0 + 2 * (seed % 25))
    boxes = [spot_box(centre)] if own else []
    return Shot(f"{seed}.png", with_spot(clouds(seed), centre, noise=seed), [*boxes, *more])


def train_of(planted: bool) -> list[Shot]:
    """Give twelve frames with a box each; three boxes off the image, one of no width and two over the edge."""
    bad = {0: [OFF], 3: [OFF, FLAT], 5: [OVER], 6: [OFF], 7: [OVER]} if planted else {5: [OVER], 7: [OVER]}
    return [shot(seed, *bad.get(seed, [])) for seed in range(12)]


def inspect(root: Path) -> InspectedDomain:
    return inspect_domain(root, cache_dir=root.parent / "cache", progress=False)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    return write_shots(tmp_path / "planted", {"train": train_of(planted=True), "val": [shot(20), shot(21)]})


def test_they_are_counted_and_named_all_in_one_go(planted: Path) -> None:
    found = inspect(planted).inspection
    counts = found.splits["train"].counts
    assert (counts.boxes_off_image, counts.boxes_over_edge, counts.boxes_of_no_area) == (3, 2, 1)
    named = {
        kind: finding.examples
        for finding in found.findings
        for kind in ("lie off the image: 3", "reach over the edge of the image: 2", "have no area: 1")
        if kind in finding.message
    }
    assert named == {
        "lie off the image: 3": tuple(f"{n}.png, box at 170, 30 of 9.0 x 9.0 px" for n in (0, 3, 6)),
        "reach over the edge of the image: 2": tuple(f"{n}.png, box at -4, 30 of 9.0 x 9.0 px" for n in (5, 7)),
        "have no area: 1": ("3.png, box at 40, 30 of 0.0 x 9.0 px",),
    }
    assert found.count("fault") == 2
    counts = found.splits["val"].counts
    assert (counts.boxes_off_image, counts.boxes_over_edge, counts.boxes_of_no_area) == (0, 0, 0)


def test_all_other_figures_are_those_of_the_other_boxes(planted: Path, tmp_path: Path) -> None:
    clean = write_shots(tmp_path / "clean", {"train": train_of(planted=False), "val": [shot(20), shot(21)]})
    ours, others = (inspect(root).inspection.to_dict()["splits"]["train"] for root in (planted, clean))
    for document, bad in ((ours, {"boxes_off_image": 3, "boxes_of_no_area": 1}), (others, {})):
        for name in ("boxes_off_image", "boxes_of_no_area"):
            assert document["counts"].pop(name) == bad.get(name, 0)
        for name in ("off_image", "no_area"):
            assert len(document["labels"].pop(name)) == bad.get(f"boxes_{'of_' if name == 'no_area' else ''}{name}", 0)
    assert ours == others
    assert ours["sizes"]["side_px"]["count"] == ours["contrast"]["snr"]["count"] == 14


def test_a_frame_with_such_boxes_alone_is_not_taken_for_empty(tmp_path: Path) -> None:
    train = [shot(0), shot(1, OFF, own=False), shot(2, own=False), shot(3, FLAT, own=False)]
    found = inspect(write_shots(tmp_path / "d", {"train": train}))
    counts = found.inspection.splits["train"].counts
    assert (counts.frames, counts.targets, counts.frames_without_targets) == (4, 1, 1)
    assert counts.categories == {"target": 1}


def test_a_split_with_no_other_boxes_is_described_all_the_same(tmp_path: Path) -> None:
    found = inspect(write_shots(tmp_path / "d", {"train": [shot(seed, OFF, own=False) for seed in range(15)]}))
    messages = {f.message.split(":")[0]: f for f in found.inspection.findings if f.severity == "fault"}
    assert len(messages["boxes that lie off the image"].examples) == 10
    assert "'train' has not one target in 15 frames" in messages
    assert contact_sheet(found).size


def test_the_sheet_has_a_row_of_the_others(planted: Path, tmp_path: Path) -> None:
    clean = write_shots(tmp_path / "planted_not", {"train": train_of(planted=False), "val": [shot(20), shot(21)]})
    sheets = [contact_sheet(inspect(root)) for root in (planted, clean)]
    below_the_titles = [sheet[140:] for sheet in sheets]  # which name the domain and count the findings
    assert (below_the_titles[0] == below_the_titles[1]).all()


@pytest.mark.parametrize("name", ["x", "width"])
def test_videos_with_csv_labels_are_read_on_too(tmp_path: Path, name: str) -> None:
    root = write_drone_csv_domain(tmp_path / "d", splits={"train": 2, "val": 1}, frames=4)
    table = root / "labels" / "TRAIN_001.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    for row in (rows[1], rows[2]):
        row[name] = "500" if name == "x" else "0"
    with table.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    counts = inspect(root).inspection.splits["train"].counts
    assert (counts.frames, counts.targets, counts.frames_without_targets) == (8, 6, 0)
    assert (counts.boxes_off_image, counts.boxes_of_no_area) == ((2, 0) if name == "x" else (0, 2))
    (finding,) = [f for f in inspect(root).inspection.findings if f.severity == "fault"]
    assert [example.split(",")[0] for example in finding.examples] == ["TRAIN_001 frame 1", "TRAIN_001 frame 2"]


def test_the_command_prints_the_figures_and_tells_by_its_status(
    planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "inspect", str(planted), "--cache-dir", str(planted.parent / "cache")]
    assert run(Trainer, [*words, "--strict"]) == 1
    printed = capsys.readouterr().out
    for label, count in (("off the image", 3), ("over its edge", 2), ("of no area", 1)):
        assert re.search(rf"boxes {label} +│ +{count} │ +0 │", printed)
    assert run(Trainer, [*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["splits"]["train"]["counts"]["boxes_off_image"] == 3
    assert document["counts"]["fault"] == 2


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        work()
    return str(caught.value)


def test_a_training_refuses_the_domain_and_says_who_counts_them(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = refusal(lambda: DomainDataset.open(planted, "train", cache_dir=tmp_path / "cache", progress=False))
    assert "image '0.png': box [170.0, 30.0, 9.0, 9.0] (x, y, width, height) lies outside the 160 x 128 frame" in text
    assert f"`loddis-trainer data inspect {planted}` counts and names all such boxes" in text
    command = ["fit", "--task", str(planted), "--out", str(tmp_path / "run"), "--cache-dir", str(tmp_path / "cache")]
    assert run(Trainer, command) == 1
    assert "lies outside the 160 x 128 frame" in capsys.readouterr().err


def test_boxes_are_taken_as_annotated_where_asked_for_alone(planted: Path) -> None:
    def read(*boxes: list[float], as_annotated: bool = False) -> list[list[float]]:
        return boxes_from_xywh(boxes, size_hw=(128, 160), where="here", as_annotated=as_annotated)[0].tolist()

    assert read(OFF, OVER, FLAT, as_annotated=True) == [[170, 30, 179, 39], [-4, 30, 5, 39], [40, 30, 40, 39]]
    assert "is not finite" in refusal(lambda: read([0, 0, float("nan"), 1], as_annotated=True))
    assert "has no area" in refusal(lambda: read(OFF, OVER, FLAT))
    with ThreadPoolExecutor(1) as pool:
        index = pool.submit(read_split, planted, "train", as_annotated=True).result()
    assert index.sequences[0].records[0].boxes_xyxy[1].tolist() == [170, 30, 179, 39]
    assert index.warnings == ()
