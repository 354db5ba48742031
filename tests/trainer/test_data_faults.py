"""Domains that would train on something else than their owner thinks, or not at all: one line says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from loddis_trainer.data import DataError, DomainDataset
from loddis_trainer.data.boxes import boxes_from_xywh
from support.domains import write_coco_domain, write_drone_csv_domain

HEADER = b"frame,label,x,y,width,height\n"


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return write_drone_csv_domain(tmp_path / "videos", splits={"train": 2, "val": 1}, frames=3)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_coco_domain(tmp_path / "stills", splits={"train": 3, "val": 2})


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return write_coco_domain(tmp_path / "clips", splits={"train": 2, "val": 1}, clips=True)


def open_domain(root: Path, split: str = "train") -> DomainDataset:
    return DomainDataset.open(root, split, cache_dir=root.parent / "cache", progress=False)


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"0,B\xe9,1,2,3,4", "byte 0xe9 is not UTF-8"),
        (b"0," + b"A" * 200_000 + b",1,2,3,4", "field larger than field limit"),
        (b"-1,A,1,2,3,4", "frame must be a whole number from 0 to .* got '-1'"),
        (b"9223372036854775808,A,1,2,3,4", "frame must be a whole number from 0 to .* got '9223372036854775808'"),
        (b"1.5,A,1,2,3,4", "frame must be a whole number from 0 to .* got '1.5'"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_its_line(videos: Path, row: bytes, message: str) -> None:
    (videos / "labels" / "TRAIN_000.csv").write_bytes(HEADER + b"0,A,1,2,3,4\n" + row + b"\n")
    with pytest.raises(DataError, match=rf"TRAIN_000\.csv, line 3: .*{message}"):
        open_domain(videos)


def test_a_table_saved_by_a_spreadsheet_is_read(videos: Path) -> None:
    table = videos / "labels" / "TRAIN_000.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert len(open_domain(videos)) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(train="TRAIN_000"), "split 'train' must be a list of names, got 'TRAIN_000'"),
        (lambda d: d.update(train=None), "split 'train' must be a list of names, got None"),
        (lambda d: d.update(train=[["TRAIN_000"]]), r"split 'train' must be a list of names, got \[\["),
        (lambda d: d["val"].append("TRAIN_001"), "lists sequence 'TRAIN_001' in 'train', which is in 'val' as well"),
        (lambda d: d["train"].append("TRAIN_001"), "lists sequence 'TRAIN_001' twice in 'train'"),
        (lambda d: d["train"].append("x" * 300), "names a file that cannot be read"),
    ],
)
def test_splits_that_cannot_be_meant(videos: Path, change: Callable[[Any], object], message: str) -> None:
    edit_json(videos / "splits.json", change)
    with pytest.raises(DataError, match=rf"splits\.json.*{message}"):
        open_domain(videos)


def test_remarks_among_the_splits_are_no_splits(videos: Path) -> None:
    edit_json(videos / "splits.json", lambda d: d.update(fps=30, comment="by hand", source={"camera": 1}))
    assert len(open_domain(videos)) == 6


@pytest.mark.parametrize("name", ["splits.json", "instances_train.json"])
def test_a_document_nested_too_deeply(videos: Path, images: Path, name: str) -> None:
    root = videos if name == "splits.json" else images
    (root / name).write_text("[" * 200_000)
    with pytest.raises(DataError, match=f"{name} cannot be read: it is nested too deeply"):
        open_domain(root)


@pytest.mark.parametrize(
    ("bbox", "message"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], "a box must be 4 numbers"),
        ([1, 2, 3], r"a box must be 4 numbers \(x, y, width, height\), got \[1, 2, 3\]"),
        ("1234", "a box must be 4 numbers"),
        (None, "a box must be 4 numbers"),
        ([[1], 2, 3, 4], "a box must be 4 numbers"),
        ([10**400, 2, 3, 4], "a box must be 4 numbers"),
        ([1, None, 3, 4], "is not finite"),
        ([1e308, 1e308, 1e308, 1e308], "is not finite or too large"),
    ],
)
def test_a_box_that_is_none_names_its_image(images: Path, bbox: object, message: str) -> None:
    edit_json(images / "instances_train.json", lambda d: d["annotations"][1].update(bbox=bbox))
    with pytest.raises(DataError, match=rf"instances_train\.json, image 'train_0001\.png': .*{message}"):
        open_domain(images)


def test_overflow_is_found_without_a_border_too() -> None:
    with pytest.raises(DataError, match="too large"):
        boxes_from_xywh([[3e38, 0, 3e38, 1]], size_hw=None, where="here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["images"][1].update(id=1), "image ids repeat: 1"),
        (
            lambda d: d["images"][1].update(file_name="train_0000.png"),
            r"lists image 'train_0000\.png' twice in 'train'",
        ),
        (lambda d: d["images"][1].update(file_name="./train_0000.png"), "lists image 'train_0000.png' twice"),
        (lambda d: d["images"][1].update(height=float("inf")), r"image 'train_0001\.png': height must be a whole"),
        (lambda d: d["images"][1].update(width=0), "width must be a whole number from 1 to .*, got 0"),
    ],
)
def test_images_that_cannot_be_meant(images: Path, change: Callable[[Any], object], message: str) -> None:
    edit_json(images / "instances_train.json", change)
    with pytest.raises(DataError, match=rf"instances_train\.json.*{message}"):
        open_domain(images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["images"][1].update(frame_id=2**63),
            r"image 'train_0/0001\.png': frame_id must be a whole number",
        ),
        (lambda d: d["images"][1].update(frame_id=-1), "frame_id must be a whole number from 0"),
        (lambda d: d["images"][1].update(frame_id=1.5), "frame_id must be a whole number from 0 .* got 1.5"),
        (lambda d: d["images"][1].update(frame_id=None), "frame_id must be a whole number from 0"),
        (
            lambda d: d["images"][1].update(frame_id=2),
            r"train_0/0001\.png and .*train_0/0002\.png are both frame 2 of 'train_0'",
        ),
        (
            lambda d: d["images"][2].update(height=480, width=640),
            r"frames of 'train_0' must be of one size, but .*0001\.png, frame 1, is 96 x 64 and .*0002\.png, frame 2,"
            " is 640 x 480",
        ),
        (lambda d: d["videos"][1].update(name="train_0"), "lists video 'train_0' twice in 'train'"),
        (lambda d: d["videos"][1].update(id=0), "lists video 'train_|video ids repeat: 0"),
    ],
)
def test_clips_that_cannot_be_meant(clips: Path, change: Callable[[Any], object], message: str) -> None:
    edit_json(clips / "instances_train.json", change)
    with pytest.raises(DataError, match=rf"instances_train\.json.*{message}"):
        open_domain(clips)


def test_a_split_measures_nothing_that_another_trains_on(images: Path, clips: Path) -> None:
    for root, kind, name in ((images, "image", r"train_0000\.png"), (clips, "video", "train_0")):
        whole = (root / "instances_train.json").read_text()
        edit_json(root / "instances_train.json", lambda d: d.update(images=d["images"][:1], annotations=[]))
        (root / "instances_test.json").write_text(whole)
        for split, other in (("train", "test"), ("test", "train")):
            with pytest.raises(DataError, match=f"lists {kind} '{name}' in '{split}', which is in '{other}' as well"):
                open_domain(root, split)
        assert len(open_domain(root, "val")) > 0


def test_a_list_of_all_videos_may_stand_in_every_split(clips: Path) -> None:
    known = [{"id": number, "name": name} for number, name in enumerate(("train_0", "train_1", "val_0"))]
    edit_json(clips / "instances_train.json", lambda d: d.update(videos=known))
    edit_json(
        clips / "instances_val.json", lambda d: (d.update(videos=known), [i.update(video_id=2) for i in d["images"]])
    )
    assert list(open_domain(clips).sequences) == ["train_0", "train_1"]
    assert list(open_domain(clips, "val").sequences) == ["val_0"]


@pytest.mark.parametrize("when", ["before the first use", "after it"])
def test_a_frame_of_another_size_than_annotated_is_refused(clips: Path, when: str) -> None:
    def stretch(document: Any) -> None:
        for image in document["images"][4:]:
            image.update(height=128, width=192)

    if when == "after it":
        open_domain(clips)
    edit_json(clips / "instances_train.json", stretch)
    with pytest.raises(DataError, match=r"0000\.png, frame 0: is 96 x 64 px, but annotated as 192 x 128 px"):
        open_domain(clips)
    small = cv2.resize(cv2.imread(str(clips / "images" / "val_0" / "0002.png"), cv2.IMREAD_UNCHANGED), (40, 30))
    cv2.imwrite(str(clips / "images" / "val_0" / "0002.png"), small)
    with pytest.raises(DataError, match=r"0002\.png, frame 2: is 40 x 30 px, but annotated as 96 x 64 px"):
        open_domain(clips, "val")


def remove_index(cache: Path) -> None:
    (cache / "index.npz").unlink()


def cut_index(cache: Path) -> None:
    (cache / "index.npz").write_bytes((cache / "index.npz").read_bytes()[:200])


def cut_frames(cache: Path) -> None:
    (cache / "frames.bin").write_bytes((cache / "frames.bin").read_bytes()[:-1])


def empty_frames(cache: Path) -> None:
    (cache / "frames.bin").write_bytes(b"")


@pytest.mark.parametrize("damage", [remove_index, cut_index, cut_frames, empty_frames])
def test_a_damaged_cache_is_built_anew(
    images: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    expected = [open_domain(images).frame(number).copy() for number in range(3)]
    (cache,) = (images.parent / "cache").iterdir()
    damage(cache)
    again = open_domain(images)
    assert all(np.array_equal(again.frame(number), frame) for number, frame in enumerate(expected))
    assert "is damaged" in caplog.text
    caplog.clear()
    open_domain(images)
    assert caplog.text == ""
    assert list((images.parent / "cache").iterdir()) == [cache]
