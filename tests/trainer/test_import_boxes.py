"""Sets that label boxes come in as they are: COCO, Pascal VOC, YOLO, lists of UESTC, each in its originals' layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loddis_trainer.data.importers.yolo import pixel_box, share_box
from support.domains import SIZE_HW, write_coco_domain
from support.importing import boxes_seen, import_set, put, put_image

HIGH, WIDE = SIZE_HW


def voc(name: str, objects: str, *, size: str | None = None) -> str:
    stated = f"<size><width>{WIDE}</width><height>{HIGH}</height><depth>1</depth></size>" if size is None else size
    return f"<annotation><folder>JPEGImages</folder><filename>{name}</filename>{stated}{objects}</annotation>"


def voc_object(label: str, *corners: float) -> str:
    tags = "".join(f"<{t}>{v}</{t}>" for t, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return f"<object><name>{label}</name><bndbox>{tags}</bndbox></object>"


@pytest.fixture
def uestc(source: Path) -> Path:
    """The layout of DAUB in SSTNet's repository: paths are those of another machine, numbers go past 9."""
    for sequence, count in (("train/data5", 12), ("train/data7", 2), ("test/data6", 2)):
        for number in range(count):
            put_image(source, f"images/{sequence}/{number}.bmp", seed=number)
    lines = [f"/home/public/DAUB/images/train/data5/{n}.bmp {60 + n},20,{68 + n},28,0" for n in range(12)]
    lines.append("/home/public/DAUB/images/train/data7/0.bmp 1,37,8,38,0 30,16,31,17,0")
    put(source, "coco_train_DAUB.txt", "\n".join(lines) + "\n")
    put(source, "coco_val_DAUB.txt", "/home/public/DAUB/images/test/data6/1.bmp\n")
    return source


def test_uestc_lists(uestc: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_set(uestc, out, "--test-list", "coco_val_DAUB.txt", "--train-list", "coco_train_DAUB.txt") == 0
    train = boxes_seen(out, "train")
    assert train["train/data5"] == [[(60.0 + n, 20.0, 68.0 + n, 28.0)] for n in range(12)]
    assert train["train/data7"] == [[(1, 37, 8, 38), (30, 16, 31, 17)]]
    assert boxes_seen(out, "test") == {"test/data6": [[]]}
    report = json.loads(capsys.readouterr().out)
    assert report["splits"][0] == {
        "split": "train",
        "sequences": 2,
        "frames": 13,
        "targets": 14,
        "empty_frames": 0,
        "median_box_side_px": 8.0,
    }
    warning = "2 images are in no list and were left out, the first of them images/test/data6/0.bmp"
    assert warning in report["warnings"]


def test_uestc_is_recognised_by_its_lists_and_their_names_are_the_splits(
    uestc: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert import_set(uestc, out) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["format"] == "uestc"
    assert report["recognised_by"] == "coco_train_DAUB.txt lists images with boxes"
    assert [split["split"] for split in report["splits"]] == ["train", "val"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/home/x/images/train/data7/0.bmp 1,2,3,4", "line 2: a box has 5 values, x1,y1,x2,y2,class, got '1,2,3,4'"),
        ("/home/x/images/train/data7/0.bmp 1,2,a,4,0", "line 2: could not convert string to float: 'a'"),
        ("/home/x/images/train/data7/0.bmp 1,2,3,4,1", "line 2: class id 1 has no name; there are: 0 target"),
        ("/home/x/images/train/data9/0.bmp 1,2,3,4,0", "line 2: image '/home/x/images/train/data9/0.bmp' is missing"),
        ("/home/x/../train/data7/0.bmp 1,2,3,4,0", "line 2: '/home/x/../train/data7/0.bmp' leaves the source folder"),
        ("/home/x/images/train/data5/0.bmp 1,2,3,4,0", "both name the image 'images/train/data5/0.bmp'"),
        ("/home/x/images/train/data7/0.bmp 9,2,9,4,0", "line 2: box [9.0, 2.0, 0.0, 2.0] (x, y, width, height) has no"),
        ("/home/x/images/train/data7/0.bmp 99,2,104,4,0", "lies outside the 96 x 64 frame"),
        ("no image 1,2,3,4,0", "line 2: a line begins with the path of an image"),
    ],
)
def test_a_wrong_line_of_a_list_is_named(
    uestc: Path, out: Path, line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(uestc, "coco_train_DAUB.txt", f"/home/x/images/train/data5/0.bmp 1,2,3,4,0\n{line}\n")
    assert import_set(uestc, out, "--format", "uestc") == 1
    error = capsys.readouterr().err
    assert message in error
    assert "coco_train_DAUB.txt, line " in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_coco_with_videos_comes_back_as_it_was(source: Path, out: Path) -> None:
    write_coco_domain(source, clips=True, splits={"train": 3, "val": 1})
    assert import_set(source, out) == 0
    for split in ("train", "val"):
        assert boxes_seen(out, split) == boxes_seen(source, split)


def hit_uav(source: Path) -> dict[str, dict[str, Any]]:
    """Write HIT-UAV's layout: `filename` and `annotation`, a folder a split beside the JSON files."""
    documents = {}
    for split, file in (("train", "train.json"), ("val", "instances_val.json"), ("test", "test.json")):
        name = f"0_60_30_0_{split}.jpg"
        put_image(source, f"{split}/{name}")
        documents[file] = {
            "images": [{"filename": name, "height": HIGH, "width": WIDE, "id": 7, "date_captured": "20210114"}],
            "categories": [{"id": 0, "name": "Person"}, {"id": 1, "name": "Car"}, {"id": 4, "name": "DontCare"}],
            "annotation": [
                {"id": 1, "image_id": 7, "category_id": 0, "bbox": [10, 20, 6, 9.5]},
                {"id": 2, "image_id": 7, "category_id": 1, "bbox": [80, 20, 40, 30]},
            ],
        }
        put(source, f"annotations/{file}", json.dumps(documents[file]))
    return documents


def test_coco_of_hit_uav_with_categories_chosen(source: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hit_uav(source)
    assert import_set(source, out, "--only", "Person", "--category", "Person=person") == 0
    assert boxes_seen(out, "val", classes=("person", "x")) == {"val/0_60_30_0_val.jpg": [[(10, 20, 16, 29.5)]]}
    report = json.loads(capsys.readouterr().out)
    assert report["categories"] == ["person"]
    assert "3 boxes reached over the border and were cut" in report["warnings"]
    assert "3 targets of other categories were left out" in report["warnings"]
    assert import_set(source, out.with_name("cut")) == 0
    assert boxes_seen(out.with_name("cut"), "test")["test/0_60_30_0_test.jpg"][0][1] == (80, 20, 96, 50)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["images"][0].update(filename="gone.jpg"), "image 'gone.jpg' is missing"),
        (lambda d: d["images"][0].update(filename="../train/0_60_30_0_train.jpg"), "leaves the source folder"),
        (lambda d: d["images"][0].update(height=HIGH + 1), "is stated as 96 x 65 and is 96 x 64"),
        (lambda d: d["images"].append(d["images"][0]), "image id 7 repeats"),
        (lambda d: d["images"].append({**d["images"][0], "id": 8}), "both name the image 'train/0_60_30_0_train.jpg'"),
        (lambda d: d["annotation"][0].update(category_id=9), "annotation 1: category id 9 has no name"),
        (lambda d: d["annotation"][0].update(image_id=9), "annotation 1 names image 9, not there"),
        (
            lambda d: d["annotation"][0].update(bbox=[1, 2, 3]),
            "annotation 1: bbox must be 4 finite numbers (x, y, width, height), got [1, 2, 3]",
        ),
        (lambda d: d["annotation"][0].update(bbox=[1, 2, 0, 3]), "has no area"),
        (lambda d: d["annotation"][0].update(bbox=[1, -9, 2, 3]), "lies outside the 96 x 64 frame"),
        (lambda d: d.pop("annotation"), "is not COCO: 'annotations' is missing"),
    ],
)
def test_a_wrong_coco_file_is_named(
    source: Path, out: Path, change: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    document = hit_uav(source)["train.json"]
    change(document)
    put(source, "annotations/train.json", json.dumps(document))
    assert import_set(source, out, "--format", "coco") == 1
    error = capsys.readouterr().err
    assert message in error
    assert "train.json" in error
    assert error.count("\n") == 1


def test_one_image_in_two_coco_files_is_refused(source: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = hit_uav(source)["train.json"]
    put(source, "annotations/test.json", json.dumps(document))
    assert import_set(source, out) == 1
    error = capsys.readouterr().err
    assert "test.json" in error
    assert "train.json" in error
    assert "both name the image 'train/0_60_30_0_train.jpg'" in error
    put(source, "annotations/test.json", "{")
    assert import_set(source, out, "--test-list", "annotations/test.json") == 1
    assert "test.json cannot be read" in capsys.readouterr().err


@pytest.fixture
def pascal(source: Path) -> Path:
    for number in range(4):
        put_image(source, f"JPEGImages/XDU{number}.png", seed=number)
        target = voc_object("Target", 10 + number, 20, 17 + number, 26)
        put(source, f"Annotations/XDU{number}.xml", voc(f"XDU{number}.png", target if number else ""))
    put(source, "ImageSets/Main/trainval.txt", "XDU0\nXDU1\nXDU2\n")
    put(source, "ImageSets/Main/test.txt", "XDU3\n")
    return source


def test_pascal_voc_with_its_lists(pascal: Path, out: Path) -> None:
    lists = ("--train-list", "ImageSets/Main/trainval.txt", "--test-list", "ImageSets/Main/test.txt")
    assert import_set(pascal, out, *lists) == 0
    assert boxes_seen(out, "train") == {
        "JPEGImages/XDU0.png": [[]],
        "JPEGImages/XDU1.png": [[(11, 20, 18, 26)]],
        "JPEGImages/XDU2.png": [[(12, 20, 19, 26)]],
    }
    assert boxes_seen(out, "test") == {"JPEGImages/XDU3.png": [[(13, 20, 20, 26)]]}


def test_pascal_counts_pixels_from_one_if_told(pascal: Path, out: Path) -> None:
    assert import_set(pascal, out, "--voc-one-based", "--train-list", "ImageSets/Main/test.txt") == 0
    assert boxes_seen(out, "train") == {"JPEGImages/XDU3.png": [[(12, 19, 20, 26)]]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", "is no XML: no element found"),
        ("<other/>", "the root must be 'annotation', got 'other'"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>", "declares no document type and no entities"),
        (voc("gone.png", ""), "image 'gone.png' is missing"),
        (voc("../JPEGImages/XDU1.png", ""), "leaves the source folder"),
        (
            voc("XDU1.png", voc_object("A", 1, 2, 3, 4), size="<size><width>9</width><height>8</height></size>"),
            "is stated as 9 x 8 and is 96 x 64",
        ),
        (voc("XDU1.png", voc_object("A", 5, 2, 5, 4)), "has no area"),
        (voc("XDU1.png", voc_object("A", 96, 2, 99, 4)), "lies outside the 96 x 64 frame"),
        (voc("XDU1.png", voc_object("", 1, 2, 3, 4)), "object 0 has no name"),
        (voc("XDU1.png", "<object><name>A</name></object>"), "object 0: xmin must be a number, got None"),
        (voc("XDU2.png", ""), "both name the image 'JPEGImages/XDU2.png'"),
    ],
)
def test_a_wrong_xml_is_named(
    pascal: Path, out: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(pascal, "Annotations/XDU1.xml", text)
    assert import_set(pascal, out, "--format", "voc", "--split", "train=1") == 1
    error = capsys.readouterr().err
    assert message in error
    assert "XDU1.xml" in error
    assert error.count("\n") == 1


@pytest.fixture
def yolo(source: Path) -> Path:
    """The layout of YOLO exports: a folder a split, `data.yaml` with names, one image without a label file."""
    for split in ("train", "valid", "test"):
        for number in range(2):
            put_image(source, f"{split}/images/f{number}.png", seed=number)
        put(source, f"{split}/labels/f0.txt", "1 0.5 0.5 0.125 0.25\n0 0.25 0.25 0.0625 0.125\n")
    put(source, "data.yaml", "train: ../train/images\nnames: {0: bird, 1: drone}\n")
    return source


def test_yolo_text_labels(yolo: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_set(yolo, out) == 0
    assert boxes_seen(out, "val", classes=("drone", "bird")) == {
        "valid/images/f0.png": [[(42, 24, 54, 40), (21, 12, 27, 20)]],
        "valid/images/f1.png": [[]],
    }
    assert json.loads(capsys.readouterr().out)["categories"] == ["bird", "drone"]


def test_yolo_names_are_given_or_the_only_class_is_a_target(source: Path, out: Path) -> None:
    put_image(source, "images/train/a.png")
    put(source, "labels/train/a.txt", "0 0.5 0.5 0.125 0.25\n")
    assert import_set(source, out) == 0
    assert json.loads((out / "instances_train.json").read_text())["categories"] == [{"id": 1, "name": "target"}]
    assert import_set(source, out.with_name("b"), "--class-names", "uav,bird") == 0
    assert json.loads((out.with_name("b") / "instances_train.json").read_text())["categories"][0]["name"] == "uav"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", "line 2: a line has 5 values, class cx cy width height, got 4"),
        ("0 0.5 0.5 0.1 0.1 0.9", "line 2: a line has 5 values, class cx cy width height, got 6"),
        ("7 0.5 0.5 0.1 0.1", "line 2: class id 7 has no name; there are: 0 bird, 1 drone"),
        ("a 0.5 0.5 0.1 0.1", "line 2: a class id must be a whole number, got 'a'"),
        ("0 0.5 x 0.1 0.1", "line 2: could not convert string to float: 'x'"),
        ("0 0.5 nan 0.1 0.1", "is not finite"),
        ("0 0.5 0.5 0 0.1", "has no area"),
        ("0 1.5 0.5 0.1 0.1", "lies outside the 96 x 64 frame"),
    ],
)
def test_a_wrong_line_of_yolo_is_named(
    yolo: Path, out: Path, line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(yolo, "train/labels/f1.txt", f"0 0.5 0.5 0.1 0.1\n{line}\n")
    assert import_set(yolo, out) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "train/labels/f1.txt" in error
    assert error.count("\n") == 1


def test_a_label_file_without_image_and_an_unreadable_image_are_named(
    yolo: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(yolo, "train/labels/f9.txt", "0 0.5 0.5 0.1 0.1\n")
    assert import_set(yolo, out) == 1
    assert "train/labels/f9.txt labels an image that is missing" in capsys.readouterr().err
    (yolo / "train/labels/f9.txt").unlink()
    (yolo / "test/images/f1.png").write_bytes(b"no picture")
    assert import_set(yolo, out) == 1
    assert "test/images/f1.png is no image that can be read" in capsys.readouterr().err


SIDE = st.integers(1, 4096)


@given(size_hw=st.tuples(SIDE, SIDE), data=st.data())
def test_shares_and_pixels_are_each_others_inverse(size_hw: tuple[int, int], data: st.DataObject) -> None:
    high, wide = size_hw
    x, y = data.draw(st.floats(0, wide - 0.5)), data.draw(st.floats(0, high - 0.5))
    box = (x, y, data.draw(st.floats(0.25, wide - x)), data.draw(st.floats(0.25, high - y)))
    shares = share_box(box, size_hw)
    assert all(0 <= share <= 1 for share in shares)
    assert pixel_box(shares, size_hw) == pytest.approx(box, abs=1e-9 * max(size_hw))
