"""Sources that are damaged, contradictory or hostile: refused in one line each, and nothing is lost unsaid."""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from loddis_runtime.command import run
from loddis_trainer.cli import Trainer
from loddis_trainer.data import DataError
from loddis_trainer.data.importers.records import ImportedFrame, ImportedSet
from loddis_trainer.data.importers.writing import write_domain
from support.domains import SIZE_HW, spot_frame, write_drone_csv_domain
from support.importing import boxes_seen, import_set, put, put_image
from support.recordings import write_video

HIGH, WIDE = SIZE_HW
DEEP = 100_000
SPLITS = ("train", "val", "test")
UNCOUNTED = {"movflags": "frag_keyframe+empty_moov"}  # an MP4 whose header says nothing of how many frames there are

Refusal = Callable[..., str]


@pytest.fixture
def refusal(out: Path, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Import what must be refused, in one line and without a trace; give the line."""

    def refuse(source: Path, *flags: str) -> str:
        assert import_set(source, out, *flags) == 1
        error = capsys.readouterr().err
        assert error.startswith("loddis-trainer: error: ")
        assert error.count("\n") == 1
        assert not out.exists()
        return error

    return refuse


def warnings_of(capsys: pytest.CaptureFixture[str]) -> str:
    return "\n".join(json.loads(capsys.readouterr().out)["warnings"])


def coco(split: str) -> dict[str, Any]:
    return {
        "images": [{"id": 3, "file_name": f"{split}.png", "height": HIGH, "width": WIDE, "video_id": 5, "frame_id": 2}],
        "annotations": [{"id": 7, "image_id": 3, "category_id": 1, "bbox": [10, 20, 6, 9]}],
        "categories": [{"id": 1, "name": "drone"}],
        "videos": [{"id": 5, "name": split}],
    }


@pytest.fixture
def splits(source: Path) -> Path:
    """A COCO file a split, and an image each."""
    for split in SPLITS:
        put_image(source, f"{split}.png")
        put(source, f"{split}.json", json.dumps(coco(split)))
    return source


@pytest.fixture
def pascal(source: Path) -> Path:
    put_image(source, "images/a.png")
    put(source, "a.xml", "<annotation><filename>a.png</filename></annotation>")
    return source


@pytest.fixture
def yolo(source: Path) -> Path:
    for split in SPLITS:
        put_image(source, f"{split}/images/a.png")
        put(source, f"{split}/labels/a.txt", "0 0.5 0.5 0.125 0.25\n")
    return source


@pytest.fixture
def uestc(source: Path) -> Path:
    for split in SPLITS:
        put_image(source, f"{split}/a/0.png")
        put(source, f"{split}_list.txt", f"{split}/a/0.png 10,20,16,29,0\n")
    return source


@pytest.fixture
def videos(source: Path) -> Path:
    write_drone_csv_domain(source, splits={"train": 2, "val": 1}, frames=2)
    return source


@pytest.mark.parametrize("name", [b"\xff9.png", "目标.png".encode("gbk")])
@pytest.mark.parametrize("folder", ["train/images", "masks", "JPEGImages"])
def test_a_name_that_is_not_utf8_is_refused(yolo: Path, refusal: Refusal, folder: str, name: bytes) -> None:
    (yolo / folder).mkdir(exist_ok=True)
    picture = yolo / "train/images/a.png"
    (yolo / folder / os.fsdecode(name)).write_bytes(picture.read_bytes())
    assert f"{name!r} is no UTF-8: rename it".removeprefix("b'") in refusal(yolo, "--format", "yolo")


def test_a_domain_whose_name_is_not_utf8_is_refused(yolo: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_set(yolo, out.with_name(os.fsdecode(b"\xff"))) == 1
    assert "is no UTF-8: rename it" in capsys.readouterr().err


def test_a_mask_that_was_cut_short_is_refused(source: Path, refusal: Refusal) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, SIZE_HW).astype(np.uint8)
    put_image(source, "images/a.png")
    path = put_image(source, "masks/a.jpg", pixels)
    path.write_bytes(path.read_bytes()[:2000])
    assert "masks/a.jpg is cut short" in refusal(source, "--split", "train=1")


def test_a_mask_of_colours_is_read(source: Path, out: Path) -> None:
    pixels = np.zeros((HIGH, WIDE, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[20:22, 10:13, 2] = 200
    put_image(source, "images/a.png")
    put_image(source, "masks/a.png", pixels)
    assert import_set(source, out, "--split", "train=1") == 0
    assert boxes_seen(out, "train") == {"a.png": [[(10, 20, 13, 22)]]}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("text", ["", "{", "[" * DEEP, "\0" * 64], ids=["empty", "cut short", "deep", "zeros"])
def test_a_coco_file_called_as_a_split_is_never_passed_over(
    splits: Path, refusal: Refusal, split: str, text: str
) -> None:
    put(splits, f"{split}.json", text)
    assert f"{split}.json cannot be read" in refusal(splits)


def test_a_coco_file_in_a_folder_of_a_split_is_never_passed_over(splits: Path, refusal: Refusal) -> None:
    put(splits, "test/_annotations.coco.json", "{")
    assert "test/_annotations.coco.json cannot be read" in refusal(splits)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_coco_may_begin_with_a_mark_of_its_encoding(splits: Path, out: Path, encoding: str) -> None:
    (splits / "test.json").write_text(json.dumps(coco("test")), encoding=encoding)
    assert import_set(splits, out) == 0
    assert boxes_seen(out, "test") == {"test": [[(10, 20, 16, 29)]]}


@pytest.mark.parametrize(
    ("name", "text", "warning"),
    [
        ("notes.json", "{", "notes.json cannot be read"),
        ("notes.json", "[" * DEEP, "notes.json cannot be read: it is nested too deeply"),
        ("test_extra.json", '{"images": []}', "test_extra.json holds no images and categories: it was left out"),
    ],
)
def test_other_json_files_are_left_out_with_a_word(
    splits: Path, out: Path, name: str, text: str, warning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(splits, name, text)
    assert import_set(splits, out) == 0
    assert warning in warnings_of(capsys)


def change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Set a value of a COCO document by its dotted path."""

    def apply(document: dict[str, Any]) -> None:
        at: Any = document
        *folders, last = (int(part) if part.isdigit() else part for part in path.split("."))
        for part in folders:
            at = at[part]
        if value is None:
            del at[last]
        else:
            at[last] = value

    return apply


def repeat(key: str, **fields: object) -> Callable[[dict[str, Any]], None]:
    """Repeat the first entry of a list, with other fields."""
    return lambda document: document[key].append({**document[key][0], **fields})


BBOX = "annotation 7: bbox must be 4 finite numbers (x, y, width, height), got "


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            change("images.0.frame_id", -1),
            "image 'train.png': frame_id must be a whole number from 0 to 2^63 - 1, got -1",
        ),
        (change("images.0.frame_id", 10**30), "frame_id must be a whole number from 0 to 2^63 - 1, got 1000000000"),
        (change("images.0.frame_id", 1.7), "frame_id must be a whole number from 0 to 2^63 - 1, got 1.7"),
        (change("images.0.frame_id", float("inf")), "frame_id must be a whole number from 0 to 2^63 - 1, got inf"),
        (change("images.0.frame_id", None), "image 'train.png': 'frame_id' is missing"),
        (change("images.0.video_id", 9), "image 'train.png' names video 9, not there"),
        (change("images.0.height", float("inf")), "image 'train.png': height must be a whole number from 1"),
        (change("images.0.width", 95.5), "image 'train.png': width must be a whole number from 1"),
        (change("images.0.id", [3]), "image number 0: id must be a number or a text, got [3]"),
        (change("images.0.id", None), "image number 0: 'id' is missing"),
        (change("images.0.file_name", None), "image 3: 'file_name' is missing"),
        (change("images.0.file_name", ["a"]), "image 3: file_name must be a text, got ['a']"),
        (change("annotations.0.bbox", "1234"), f"{BBOX}'1234'"),
        (change("annotations.0.bbox", {"1": 0, "2": 0, "3": 0, "4": 0}), f"{BBOX}{{'1': 0, '2': 0, '3': 0, '4': 0}}"),
        (change("annotations.0.bbox", [1, 2, [3], 4]), f"{BBOX}[1, 2, [3], 4]"),
        (change("annotations.0.bbox", [1, 2, True, 4]), f"{BBOX}[1, 2, True, 4]"),
        (change("annotations.0.bbox", [1, 2, "3", 4]), f"{BBOX}[1, 2, '3', 4]"),
        (change("annotations.0.bbox", [1, 2, 10**400, 4]), f"{BBOX}[1, 2, 10000"),
        (change("annotations.0.bbox", [1, 2, float("nan"), 4]), f"{BBOX}[1, 2, nan, 4]"),
        (change("annotations.0.bbox", 5), f"{BBOX}5"),
        (change("annotations.0.bbox", None), "annotation 7: 'bbox' is missing"),
        (change("annotations.0.iscrowd", "no"), "annotation 7: iscrowd must be 0 or 1, got 'no'"),
        (change("annotations.0.image_id", {}), "annotation 7: image_id must be a number or a text, got {}"),
        (change("annotations.0.category_id", None), "annotation 7: 'category_id' is missing"),
        (change("annotations", None), "is not COCO: 'annotations' is missing"),
        (change("annotations", {}), "is not COCO: 'annotations' must be a list of objects, got {}"),
        (change("annotations.0", 3), "is not COCO: 'annotations' must be a list of objects, got [3]"),
        (change("images", None), "is not COCO: 'images' is missing"),
        (change("images", []), "train.json lists no images"),
        (change("categories", None), "is not COCO: 'categories' is missing"),
        (change("categories", 3), "is not COCO: 'categories' must be a list of objects, got 3"),
        (change("categories.0.name", []), "category 1: name must be a text, got []"),
        (change("categories.0.name", "\ud800"), "names category '\\ud800', which is not UTF-8: rename it"),
        (repeat("categories", name="bird"), "train.json: category id 1 repeats"),
        (repeat("videos", name="other"), "train.json: video id 5 repeats"),
        (repeat("images", file_name="val.png"), "train.json: image id 3 repeats"),
        (repeat("annotations"), "train.json, annotation 7: its id repeats"),
        (change("annotations.0.id", [1]), "id must be a number or a text, got [1]"),
        (repeat("annotations", iscrowd=1), "train.json, annotation 7: its id repeats"),
    ],
)
def test_coco_that_cannot_be_taken_as_it_is_names_what_is_wrong(
    splits: Path, refusal: Refusal, damage: Callable[[dict[str, Any]], None], message: str
) -> None:
    document = coco("train")
    damage(document)
    put(splits, "train.json", json.dumps(document))
    error = refusal(splits, "--format", "coco", "--train-list", "train.json")
    assert message in error


def test_a_coco_file_that_is_a_list_is_refused(splits: Path, refusal: Refusal) -> None:
    put(splits, "train.json", "[]")
    assert "train.json is not COCO: it must be an object, got []" in refusal(splits, "--train-list", "train.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("train/a/0.png 10,20,16,29,0\n".encode("utf-16"), "train_list.txt cannot be read: it is no UTF-8 text"),
        (
            "train/a/0.png 10,20,16,29,0\n".encode("utf-16-le"),
            "train_list.txt cannot be read: it is no text, byte 1 is 0",
        ),
        (b"\0" * 64, "train_list.txt cannot be read: it is no text, byte 0 is 0"),
        (b"", "train_list.txt lists nothing"),
        (codecs.BOM_UTF8 + b" \n\n", "train_list.txt lists nothing"),
    ],
    ids=["utf-16", "utf-16 without a mark", "zeros", "empty", "blank"],
)
@pytest.mark.parametrize("flags", [(), ("--train-list", "train_list.txt")])
def test_a_uestc_list_is_never_passed_over(
    uestc: Path, refusal: Refusal, data: bytes, message: str, flags: tuple[str, ...]
) -> None:
    (uestc / "train_list.txt").write_bytes(data)
    assert message in refusal(uestc, "--format", "uestc", *flags)


def test_a_text_called_as_a_split_is_left_out_with_a_word(
    uestc: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(uestc, "train_list.txt", "nothing of the kind\n")
    put(uestc, "test/a/0.txt", "")
    assert import_set(uestc, out, "--format", "uestc") == 0
    warnings = warnings_of(capsys)
    assert "train_list.txt is called as a split, but does not begin with an image's path" in warnings
    assert "there is no split 'train', which a training needs" in warnings


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_list_of_nothing_is_refused(yolo: Path, tmp_path: Path, refusal: Refusal, text: str) -> None:
    names = put(tmp_path, "names.lst", text)
    val = put(tmp_path, "val.lst", "val/images/a.png\n")
    lists = ("--format", "yolo", "--train-list", str(names), "--val-list", str(val))
    assert "names.lst lists nothing" in refusal(yolo, *lists)


@pytest.mark.parametrize("kind", ["yolo", "coco", "uestc"])
def test_a_list_that_is_no_file_is_refused(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    source = request.getfixturevalue("splits" if kind == "coco" else kind)
    refuse: Refusal = request.getfixturevalue("refusal")
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    for path in ("/dev/null", str(pipe)):
        error = refuse(source, "--format", kind, "--train-list", path)
        assert f"{path} cannot be read: it is no regular file" in error


def test_a_table_of_nothing_is_refused(videos: Path, refusal: Refusal) -> None:
    put(videos, "labels/TRAIN_000.csv", "frame,label,x,y,width,height\n")
    assert "labels/TRAIN_000.csv has no row below its heading" in refusal(videos)


def test_a_table_of_no_centroids_is_refused(source: Path, refusal: Refusal) -> None:
    for sequence, rows in (("a", "0,30,20\n"), ("b", "")):
        put_image(source, f"{sequence}/0.png")
        put(source, f"labels/{sequence}.csv", f"frame,x,y\n{rows}")
    assert "labels/b.csv has no line of frame,x,y" in refusal(source, "--box-px", "7", "--split", "train=1")


def test_a_missing_train_is_said(yolo: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_set(yolo, out, "--split", "val=0.5,test=0.5") == 0
    assert "there is no split 'train', which a training needs" in warnings_of(capsys)


def test_videos_in_no_split_are_left_out_with_a_word(
    videos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(videos, "splits.json", json.dumps({"train": ["TRAIN_000"], "val": ["VAL_000"]}))
    assert import_set(videos, out) == 0
    assert "1 labelled videos are in no split of splits.json and were left out" in warnings_of(capsys)


@pytest.mark.parametrize("number", ["nan", "inf", "1e400", "-5", "64.5"])
@pytest.mark.parametrize("side", ["height", "width"])
def test_a_size_in_xml_is_a_whole_number(pascal: Path, refusal: Refusal, side: str, number: str) -> None:
    other = "width" if side == "height" else "height"
    size = f"<size><{side}>{number}</{side}><{other}>64</{other}></size>"
    put(pascal, "a.xml", f"<annotation><filename>a.png</filename>{size}</annotation>")
    assert f"a.xml: {side} must be a " in refusal(pascal, "--split", "train=1")


@pytest.mark.parametrize("number", ["inf", "-inf", "nan", "1e400"])
def test_a_corner_in_xml_is_finite(pascal: Path, refusal: Refusal, number: str) -> None:
    corners = f"<xmin>{number}</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    target = f"<object><name>a</name><bndbox>{corners}</bndbox></object>"
    put(pascal, "a.xml", f"<annotation><filename>a.png</filename>{target}</annotation>")
    assert f"object 0: xmin must be a finite number, got '{number}'" in refusal(pascal, "--split", "train=1")


def test_an_infinite_share_of_yolo_is_refused(yolo: Path, refusal: Refusal) -> None:
    put(yolo, "test/labels/a.txt", "0 inf 0.5 inf 0.1\n")
    assert "test/labels/a.txt: box [nan, " in refusal(yolo, "--format", "yolo")


@pytest.mark.parametrize("flag", ["--box-px", "--centroid-offset-px"])
@pytest.mark.parametrize("number", ["inf", "nan"])
def test_sides_and_offsets_are_finite(flag: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Trainer, ["data", "import", "a", "b", flag, number]) == 2
    error = capsys.readouterr().err
    assert f"{flag}: input should be " in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"0,{'A' * 200_000},1,2,3,4", "TRAIN_000.csv, line 2: field larger than field limit (131072)"),
        (f"{10**30},A,1,2,3,4", "TRAIN_000.csv, line 2: frame must be a whole number from 0 to 2^63 - 1, got '1000"),
        ("-1,A,1,2,3,4", "TRAIN_000.csv, line 2: frame must be a whole number from 0 to 2^63 - 1, got '-1'"),
        ("0,A,1,x,3,4", "TRAIN_000.csv, line 2: could not convert string to float: 'x'"),
    ],
)
def test_a_row_of_a_table_that_cannot_be_read_is_named(videos: Path, refusal: Refusal, row: str, message: str) -> None:
    put(videos, "labels/TRAIN_000.csv", f"frame,label,x,y,width,height\n{row}\n")
    assert message in refusal(videos)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * DEEP, "data.yaml cannot be read: it is nested too deeply"),
        ("names: [a, [b]]", "data.yaml: the name of class id 1 must be a text, got ['b']"),
        ("names: abc", "data.yaml has no list of `names`"),
        ("names: {1.5: a}", "data.yaml: class id must be a whole number from 0 to 2^63 - 1, got 1.5"),
        ("names: [no, yes]", "data.yaml: the name of class id 0 must be a text, got False"),
        ("names: [2001-99-99]", "data.yaml is no YAML: month must be in 1..12"),
    ],
)
def test_names_of_classes_that_cannot_be_taken(yolo: Path, refusal: Refusal, text: str, message: str) -> None:
    put(yolo, "data.yaml", text)
    assert message in refusal(yolo, "--format", "yolo")


@pytest.mark.parametrize(
    "name", ["{tmp}/evil/x", "../../evil/x", "a/../../../evil/x", "./TRAIN_000", "TRAIN_000/", " TRAIN_000", "a\\b"]
)
def test_a_name_in_splits_stays_below_its_folder(videos: Path, tmp_path: Path, refusal: Refusal, name: str) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    for suffix in ("csv", "mp4"):
        folder = videos / ("labels" if suffix == "csv" else "videos")
        (evil / f"x.{suffix}").write_bytes((folder / f"TRAIN_000.{suffix}").read_bytes())
    before = (evil / "x.csv").read_bytes()
    put(videos, "splits.json", json.dumps({"train": [name.format(tmp=tmp_path)], "val": ["VAL_000"]}))
    error = refusal(videos, "--format", "drone-csv")
    assert "splits.json" in error
    assert (evil / "x.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"train": [["TRAIN_000"]]}', "splits.json: a name must be a text, got ['TRAIN_000']"),
        ('["TRAIN_000"]', "splits.json must be an object of lists, got ['TRAIN_000']"),
        ("[" * DEEP, "splits.json cannot be read: it is nested too deeply"),
        ("{", "splits.json cannot be read"),
    ],
)
def test_splits_that_cannot_be_read_are_named(videos: Path, refusal: Refusal, text: str, message: str) -> None:
    put(videos, "splits.json", text)
    assert message in refusal(videos, "--format", "drone-csv")


def overwrite_a_frame(video: Path, *, frame: int) -> None:
    data = bytearray(video.read_bytes())
    with av.open(str(video)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    at = (packets[frame].pos or 0) + 20
    data[at : at + 200] = np.random.default_rng(1).bytes(200)
    video.write_bytes(data)


def test_a_video_that_is_damaged_in_the_middle_stops_the_import(source: Path, out: Path, refusal: Refusal) -> None:
    write_drone_csv_domain(source, splits={"train": 2, "val": 1}, frames=40)
    table = source / "labels" / "TRAIN_001.csv"
    whole = table.read_text()
    overwrite_a_frame(source / "videos" / "TRAIN_001.mp4", frame=20)
    assert re.search(r"videos/TRAIN_001\.mp4 is corrupt near frame (1\d|2\d): ", refusal(source))
    table.write_text("".join(whole.splitlines(keepends=True)[:11]))  # the trainer looks no further than labels go
    assert import_set(source, out) == 0
    assert len(boxes_seen(out, "train")["TRAIN_001"]) == 10


def test_a_video_in_colour_stops_the_import(videos: Path, refusal: Refusal) -> None:
    picture = np.zeros((HIGH, WIDE, 3), np.uint8)
    picture[..., 0] = 200
    write_video(videos / "videos" / "VAL_000.mp4", [picture] * 2, codec="libx264rgb", array_format="rgb24")
    assert "videos/VAL_000.mp4, frame 0: true colour is refused" in refusal(videos)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--only", "dron"), "no target is a 'dron'"),
        (("--stills",), "a video is one sequence: --sequence-from, --stills and --stretch are for images"),
        (("--split", "train=0.1,test=0.9"), "0.1 of 3 sequences is none for 'train'"),
        (("--val-from-train", "0.5"), "there is a split 'val' already"),
    ],
)
def test_no_video_is_decoded_before_all_else_is_settled(
    videos: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr("loddis_trainer.data.importers.videos.decode_frames", lambda *_: pytest.fail("decoded"))
    assert message in refusal(videos, *flags)


def test_frames_of_videos_that_are_left_out_stop_no_import(videos: Path, out: Path) -> None:
    picture = np.full((HIGH, WIDE, 3), 90, np.uint8)
    coloured = picture.copy()
    coloured[..., 0] = 200
    path = videos / "videos" / "TRAIN_000.mp4"
    write_video(path, [picture, coloured], codec="libx264rgb", array_format="rgb24", options={"qp": "0"})
    table = videos / "labels" / "TRAIN_000.csv"
    head, first, second = table.read_text().splitlines()
    table.write_text("\n".join([head, first, second.replace("DRONE", "BIRD")]) + "\n")
    assert import_set(videos, out, "--only", "DRONE") == 0
    assert len(boxes_seen(out, "train")["TRAIN_000"]) == 1


def test_a_video_that_ends_before_its_labels_stops_the_import(videos: Path, refusal: Refusal) -> None:
    shorter = [spot_frame((20, 20), seed=1)]
    write_video(videos / "videos" / "VAL_000.mp4", shorter, array_format="gray", container_options=UNCOUNTED)
    assert "videos/VAL_000.mp4 ends before frame 1, which its labels name" in refusal(videos)


def test_a_video_of_another_size_than_its_header_says_stops_the_import(
    videos: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loddis_trainer.data.importers.drone_csv.size_and_count", lambda _: ((HIGH, 2 * WIDE), 0))
    assert "TRAIN_000.mp4, frame 0: is 96 x 64 px, but the video's header says 192 x 64 px" in refusal(videos)


def test_frames_of_several_sizes_in_one_sequence_stop_the_import(yolo: Path, out: Path, refusal: Refusal) -> None:
    for number, size_hw in enumerate((SIZE_HW, SIZE_HW, (48, 64))):
        put_image(yolo, f"train/images/seq/{number}.png", np.full(size_hw, 60 + number, np.uint8))
    flags = ("--format", "yolo")
    error = refusal(yolo, *flags)
    assert (
        "the frames of sequence 'train/seq' must be of one size, but train/images/seq/0.png is 96 x 64 px and"
        " train/images/seq/2.png is 64 x 48 px: say by --sequence-from what a sequence is, or let every image stand"
        " alone by --stills"
    ) in error
    assert import_set(yolo, out, *flags, "--stills") == 0
    assert len(boxes_seen(out, "train")) == 4


def test_frames_of_several_sizes_in_a_video_of_coco_stop_the_import(splits: Path, refusal: Refusal) -> None:
    document = coco("train")
    document["images"].append({"id": 4, "file_name": "b.png", "video_id": 5, "frame_id": 3})
    put_image(splits, "b.png", np.full((48, 64), 60, np.uint8))
    put(splits, "train.json", json.dumps(document))
    assert "frames of sequence 'train' must be of one size, but train.png is 96 x 64 px and b.png is" in refusal(splits)


def test_two_files_that_put_images_in_one_place_of_a_video_stop_the_import(splits: Path, refusal: Refusal) -> None:
    document = coco("train")
    document["images"][0] |= {"file_name": "b.png"}
    put_image(splits, "b.png")
    put(splits, "train_more.json", json.dumps(document))
    assert "train.png and b.png are both frame 2 of sequence 'train': say by" in refusal(splits)


@pytest.mark.parametrize(
    ("kind", "because"), [("splits", "are in no annotation file"), ("pascal", "have no annotation")]
)
def test_images_that_no_annotation_names_are_left_out_with_a_word(
    kind: str, because: str, out: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    source: Path = request.getfixturevalue(kind)
    flags = ("--split", "train=1") if kind == "pascal" else ()
    assert import_set(source, out, *flags) == 0
    assert "left out" not in warnings_of(capsys)
    for name in ("night/7.png", "night/8.png"):
        put_image(source, name)
    assert import_set(source, out.with_name("more"), *flags) == 0
    assert f"2 images {because} and were left out, the first of them night/7.png" in warnings_of(capsys)


def test_a_video_in_a_folder_keeps_its_place(videos: Path, out: Path) -> None:
    for folder, suffix in (("labels", "csv"), ("videos", "mp4")):
        (videos / folder / "A").mkdir()
        (videos / folder / f"TRAIN_001.{suffix}").rename(videos / folder / "A" / f"clip.{suffix}")
    put(videos, "splits.json", json.dumps({"train": ["TRAIN_000", "A/clip"], "val": ["VAL_000"]}))
    assert import_set(videos, out) == 0
    assert boxes_seen(out, "train") == boxes_seen(videos, "train")


@pytest.mark.parametrize(
    ("file", "sequence"),
    [
        ("{tmp}/x.mp4", "x"),
        ("videos/../../x.mp4", "x"),
        ("videos/x.mp4", "{tmp}/x"),
        ("videos/x.mp4", "../../x"),
    ],
)
def test_writing_never_leaves_the_domain(tmp_path: Path, out: Path, file: str, sequence: str) -> None:
    put(tmp_path, "source/videos/x.mp4", "")
    file, sequence = (name.format(tmp=tmp_path) for name in (file, sequence))
    frame = ImportedFrame(file, sequence, 0, SIZE_HW, ((1.0, 2.0, 3.0, 4.0),), ("a",), "train")
    with pytest.raises(DataError, match="would be written outside the domain"):
        write_domain(ImportedSet(tmp_path / "source", "videos", (frame,)), out, link=False, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("name", ["notes.txt", "notes.json", "notes.xml", "notes.csv", "a.png"])
@pytest.mark.parametrize("form", ["auto", "yolo"])
def test_a_pipe_in_the_source_is_not_waited_for(yolo: Path, refusal: Refusal, name: str, form: str) -> None:
    os.mkfifo(yolo / name)
    assert f"{name} cannot be read: it is no regular file" in refusal(yolo, "--format", form)


def test_a_link_to_nothing_is_named_and_one_to_a_file_is_followed(yolo: Path, out: Path, refusal: Refusal) -> None:
    picture = yolo / "train/images/a.png"
    (yolo / "train/images/b.png").symlink_to(yolo / "gone.png")
    assert "train/images/b.png cannot be read: No such file or directory" in refusal(yolo)
    (yolo / "train/images/b.png").unlink()
    picture.rename(yolo.parent / "a.png")
    picture.symlink_to(yolo.parent / "a.png")
    assert import_set(yolo, out) == 0


def test_names_are_no_markup(source: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_image(source, "train/a.png")
    put(source, "train/a.txt", "0 0.5 0.5 0.125 0.25\n")
    put(source, "classes.txt", "[/]\n")
    odd = out.with_name("r") / "[/x]"
    assert run(Trainer, ["data", "import", str(source), str(odd), "--format", "yolo"]) == 0
    shown = "".join(capsys.readouterr().out.split())
    assert "[/x]fromyolo:[/]" in shown
    assert boxes_seen(odd, "train") == {"train/a.png": [[(42, 24, 54, 40)]]}


@pytest.mark.parametrize("place", ["domain", ".domain", "train/images/domain", "../source/domain", "../link/domain"])
def test_a_domain_within_its_source_is_refused(yolo: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    (yolo.parent / "link").symlink_to(yolo)
    assert import_set(yolo, yolo / place) == 1
    assert f"lies in the source {yolo}" in capsys.readouterr().err
    assert not (yolo / place).exists()


def test_numbers_that_no_computer_word_holds_are_counted_instead(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (10**30 + 1, 10**30 + 2):
        put_image(source, f"images/a/{number}.png")
        put(source, f"labels/a/{number}.txt", "")
    assert import_set(source, out, "--format", "yolo", "--split", "train=1") == 0
    assert boxes_seen(out, "train") == {"a": [[], []]}
    document = {**coco("train"), "videos": [{"id": 5, "name": "9" * 5000}]}
    put_image(source, "train.png")
    put(source, "train.json", json.dumps(document))
    assert import_set(source, out.with_name("b"), "--format", "coco", "--split", "train=1") == 0
    capsys.readouterr()


def test_an_image_larger_than_can_be_decoded_is_named(
    yolo: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> None:
        raise cv2.error("CV_IO_MAX_IMAGE_PIXELS")

    monkeypatch.setattr("cv2.imdecode", too_large)
    assert "a.png is no image that can be read" in refusal(yolo)
