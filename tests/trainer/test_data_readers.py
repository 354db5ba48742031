"""Readers: what is annotated comes out, and what is annotated wrongly names its file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from loddis_trainer.data import DataError, DomainDataset, find_domain
from loddis_trainer.data.boxes import boxes_from_xywh
from loddis_trainer.data.readers import read_split
from support.domains import SIZE_HW, write_coco_domain, write_drone_csv_domain


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return write_drone_csv_domain(tmp_path / "videos", splits={"train": 2, "val": 1}, frames=5)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_coco_domain(tmp_path / "images_domain", splits={"train": 3, "val": 1})


def open_domain(root: Path, split: str = "train", **options: object) -> DomainDataset:
    return DomainDataset.open(root, split, cache_dir=root.parent / "cache", progress=False, **options)  # type: ignore[arg-type]


def brightest(dataset: DomainDataset, number: int) -> tuple[float, float]:
    frame = dataset.frame(number)
    row, column = np.unravel_index(int(frame.argmax()), frame.shape)
    return float(column) + 0.5, float(row) + 0.5


@pytest.mark.parametrize("kind", ["videos", "images", "clips"])
def test_boxes_sit_on_the_targets(tmp_path: Path, kind: str) -> None:
    """Coordinates, frame order and decoding are right together: the brightest pixel lies within 2 px of the centre."""
    root = tmp_path / kind
    if kind == "videos":
        write_drone_csv_domain(root)
    else:
        write_coco_domain(root, clips=kind == "clips")
    dataset = open_domain(root)
    assert len(dataset) > 0
    for number in range(len(dataset)):
        box = dataset.boxes(number)
        assert box.dtype == np.float32
        assert box.shape == (1, 4)
        centre = (box[0, :2] + box[0, 2:]) / 2
        assert np.abs(centre - brightest(dataset, number)).max() < 2
        assert dataset.frame(number).shape == SIZE_HW
        assert dataset.class_ids(number).tolist() == [0]


def test_clips_are_sequences_in_the_order_of_time_and_images_stand_alone(tmp_path: Path) -> None:
    clips = open_domain(write_coco_domain(tmp_path / "clips", clips=True, splits={"train": 2}))
    assert {name: len(numbers) for name, numbers in clips.sequences.items()} == {"train_0": 4, "train_1": 4}
    for numbers in clips.sequences.values():
        assert [clips.records[number].frame_index for number in numbers] == [0, 1, 2, 3]
    stills = open_domain(write_coco_domain(tmp_path / "stills", splits={"train": 3}))
    assert [len(numbers) for numbers in stills.sequences.values()] == [1, 1, 1]


def test_frames_without_a_row_are_left_out_not_taken_for_empty(videos: Path) -> None:
    table = videos / "labels" / "TRAIN_000.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[2], lines[5]]) + "\n")
    dataset = open_domain(videos)
    assert [dataset.records[i].frame_index for i in dataset.sequences["TRAIN_000"]] == [1, 4]
    for number in dataset.sequences["TRAIN_000"]:
        centre = (dataset.boxes(number)[0, :2] + dataset.boxes(number)[0, 2:]) / 2
        assert np.abs(centre - brightest(dataset, number)).max() < 2


def test_an_image_without_annotations_is_an_empty_frame(images: Path) -> None:
    path = images / "instances_train.json"
    document = json.loads(path.read_text())
    document["annotations"] = document["annotations"][:1]
    path.write_text(json.dumps(document))
    dataset = open_domain(images)
    assert sorted(len(dataset.boxes(number)) for number in range(3)) == [0, 0, 1]


def test_crowds_are_no_targets(images: Path) -> None:
    path = images / "instances_train.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(document))
    dataset = open_domain(images)
    assert sum(len(dataset.boxes(number)) for number in range(3)) == 2


def test_classes_are_one_or_matched_by_name(videos: Path) -> None:
    both = open_domain(videos, classes=("bird", "Drone"))
    assert both.class_ids(0).tolist() == [1]
    with pytest.raises(DataError, match="labels a 'DRONE', which is not among the classes bird, plane"):
        open_domain(videos, classes=("bird", "plane"))


def test_a_domain_is_found_by_path_root_and_environment(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_domain(videos) == videos
    assert find_domain("videos", data_root=tmp_path) == videos
    monkeypatch.setenv("LODDIS_DATA", str(tmp_path))
    assert find_domain("videos") == videos
    with pytest.raises(DataError, match=r"no domain 'sea' under .*; there are: videos"):
        find_domain("sea")
    monkeypatch.delenv("LODDIS_DATA")
    with pytest.raises(DataError, match="neither a data root nor LODDIS_DATA"):
        find_domain("sea")


def edit_json(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: (r / "videos" / "TRAIN_000.mp4").unlink(), r"names 'TRAIN_000', but .*TRAIN_000\.mp4 is missing"),
        (lambda r: (r / "labels" / "TRAIN_001.csv").unlink(), r"TRAIN_001\.csv is missing"),
        (lambda r: (r / "splits.json").write_text("{"), r"splits\.json cannot be read"),
        (lambda r: (r / "splits.json").write_text('{"val": []}'), r"has no split 'train'"),
        (lambda r: (r / "splits.json").write_text('{"train": []}'), "'videos' is empty: its split 'train'"),
        (lambda r: (r / "labels" / "TRAIN_000.csv").write_text("a,b\n1,2\n"), "columns must be frame,label,x"),
        (
            lambda r: (r / "labels" / "TRAIN_000.csv").write_text("frame,label,x,y,width,height\n0,A,1,2,x,4\n"),
            r"TRAIN_000\.csv, line 2: could not convert",
        ),
        (
            lambda r: (r / "labels" / "TRAIN_000.csv").write_text("frame,label,x,y,width,height\n0,A,1,2,nan,4\n"),
            r"frame 0: box .* is not finite",
        ),
        (
            lambda r: (r / "labels" / "TRAIN_000.csv").write_text("frame,label,x,y,width,height\n0,A,1,2,0,4\n"),
            r"frame 0: box .* has no area",
        ),
        (
            lambda r: (r / "labels" / "TRAIN_000.csv").write_text("frame,label,x,y,width,height\n0,A,500,2,9,4\n"),
            r"frame 0: box .* lies outside the 96 x 64 frame",
        ),
        (
            lambda r: (r / "labels" / "TRAIN_000.csv").write_text("frame,label,x,y,width,height\n99,A,5,2,9,4\n"),
            r"TRAIN_000\.mp4 ends before frame 99",
        ),
        (lambda r: (r / "videos" / "TRAIN_000.mp4").write_bytes(b"not a video"), r"TRAIN_000\.mp4 is no video"),
        (lambda r: (r / "videos" / "TRAIN_000.mp4").write_bytes(b""), r"TRAIN_000\.mp4 is no video"),
    ],
)
def test_a_damaged_video_domain_names_the_cause(videos: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(videos)
    with pytest.raises(DataError, match=message):
        open_domain(videos)


def test_a_video_that_is_cut_short_is_named(videos: Path) -> None:
    path = videos / "videos" / "TRAIN_001.mp4"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(DataError, match=r"TRAIN_001\.mp4"):
        open_domain(videos)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["images"][0].update(file_name="gone.png"), r"names image 'gone\.png', but .* is missing"),
        (lambda d: d["annotations"][0].update(image_id=999), "names image 999, not there"),
        (lambda d: d["annotations"][0].update(category_id=9), "is not COCO: 9"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, -3, 4]), "has no area"),
        (lambda d: d["annotations"][0].update(bbox=[-50, 2, 3, 4]), "lies outside the 96 x 64 frame"),
        (lambda d: d.pop("categories"), "is not COCO: 'categories'"),
        (lambda d: d.update(images=[], annotations=[]), "is empty: its split 'train'"),
    ],
)
def test_a_damaged_coco_domain_names_the_cause(
    images: Path, change: Callable[[dict[str, object]], object], message: str
) -> None:
    edit_json(images / "instances_train.json", change)
    with pytest.raises(DataError, match=message):
        open_domain(images)


def test_other_faults_of_coco_domains(images: Path) -> None:
    with pytest.raises(DataError, match="has no split 'night'"):
        open_domain(images, "night")
    (images / "images" / "train_0000.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"train_0000\.png is no image"):
        open_domain(images)
    (images / "instances_train.json").write_text("[1, 2")
    with pytest.raises(DataError, match="cannot be read"):
        open_domain(images)


def test_folders_of_no_known_format(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_split(tmp_path / "none", "train")
    with pytest.raises(DataError, match="of no known format; known are: videos with CSV"):
        read_split(tmp_path, "train")


def test_a_box_over_the_border_is_cut_and_counted(images: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit_json(images / "instances_train.json", lambda d: d["annotations"][0].update(bbox=[90, 10, 12, 5]))  # type: ignore[index]
    dataset = open_domain(images)
    assert max(float(dataset.boxes(number)[:, 2].max()) for number in range(3)) == SIZE_HW[1]
    assert "1 boxes reached over the border and were cut" in caplog.text


def test_boxes_become_corners() -> None:
    boxes, cut = boxes_from_xywh([[1, 2, 3, 4]], size_hw=(20, 20), where="here")
    assert boxes.tolist() == [[1, 2, 4, 6]]
    assert cut == 0
    none, _ = boxes_from_xywh([], size_hw=(20, 20), where="here")
    assert none.shape == (0, 4)


def test_the_real_domains_are_read_as_their_readme_counts_them(loddis_data: Path, tmp_path: Path) -> None:
    counts = {
        ("ground", "train"): 887,
        ("ground", "val"): 222,
        ("ground", "test"): 243,
        ("city", "train"): 778,
        ("city", "val"): 90,
        ("city", "test"): 202,
    }
    for (domain, split), expected in counts.items():
        index = read_split(loddis_data / domain, split)
        assert sum(len(sequence.records) for sequence in index.sequences) == expected
    sky = {split: len(read_split(loddis_data / "sky", split).sequences) for split in ("train", "val", "test")}
    assert sky == {"train": 178, "val": 25, "test": 42}


def test_real_boxes_sit_on_warm_targets(loddis_data: Path, tmp_path: Path) -> None:
    dataset = DomainDataset.open(loddis_data / "city", "val", cache_dir=tmp_path, sequences=None, progress=False)
    contrast = []
    for number in range(0, len(dataset), 10):
        x1, y1, x2, y2 = dataset.boxes(number)[0].astype(int)
        frame = dataset.frame(number).astype(np.float32)
        contrast.append(
            frame[y1 + 2 : y2 - 1, x1 + 2 : x2 - 1].max()
            - np.median(frame[max(0, y1 - 8) : y2 + 8, max(0, x1 - 8) : x2 + 8])
        )
    assert np.median(contrast) > 5
    shutil.rmtree(tmp_path, ignore_errors=True)
