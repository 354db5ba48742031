"""Pixels: those of the files that are named, whole, and of no other domain; what is damaged is refused by its name."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from loddis_trainer.data import DataError, DomainDataset
from loddis_trainer.data.readers import read_split
from loddis_trainer.data.readers.images import read_image
from loddis_trainer.data.readers.videos import STRICT
from support.domains import SIZE_HW, spot_frame, write_coco_domain, write_drone_csv_domain
from support.frame_files import jpeg_in_scans

START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
CODINGS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 3],
    "optimised": [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
}


def open_domain(root: Path, cache: Path) -> DomainDataset:
    return DomainDataset.open(root, "train", cache_dir=cache, progress=False)


def levels(root: Path, cache: Path) -> list[int]:
    """Give the grey level of a pixel of every frame, as a training sees it."""
    dataset = open_domain(root, cache)
    return [int(dataset.frame(number)[0, 0]) for number in range(len(dataset))]


def write_flat_clips(root: Path, levels: dict[str, int]) -> Path:
    """Write clips of one frame of one level each, as from an archive that keeps times: same sizes, same dates."""
    images = [
        {"id": n, "file_name": f"{name}/0.pgm", "height": 32, "width": 32, "video_id": n, "frame_id": 0}
        for n, name in enumerate(levels)
    ]
    document = {
        "images": images,
        "annotations": [],
        "categories": [],
        "videos": [{"id": n, "name": name} for n, name in enumerate(levels)],
    }
    for name, level in levels.items():
        path = root / "images" / name / "0.pgm"
        path.parent.mkdir(parents=True)
        write_flat(path, level)
    (root / "instances_train.json").write_text(json.dumps(document))
    return root


def write_flat(path: Path, level: int) -> None:
    cv2.imwrite(str(path), np.full((32, 32), level, np.uint8))
    os.utime(path, (1_700_000_000, 1_700_000_000))


def test_two_domains_of_one_name_do_not_share_pixels(tmp_path: Path) -> None:
    for version, level in (("v1", 10), ("v2", 200)):
        root = write_flat_clips(tmp_path / version / "night", {"a": level})
        assert levels(root, tmp_path / "cache") == [level]


def test_clips_that_swap_their_names_take_their_pixels_along(tmp_path: Path) -> None:
    root = write_flat_clips(tmp_path / "night", {"a": 10, "b": 200})
    assert levels(root, tmp_path / "cache") == [10, 200]
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        (root / "images" / old).rename(root / "images" / new)
    assert levels(root, tmp_path / "cache") == [200, 10]


def test_a_frame_that_is_written_over_with_its_old_date_is_decoded_anew(tmp_path: Path) -> None:
    root = write_flat_clips(tmp_path / "night", {"a": 10})
    assert levels(root, tmp_path / "cache") == [10]
    write_flat(root / "images" / "a" / "0.pgm", 200)
    assert levels(root, tmp_path / "cache") == [200]


def test_a_domain_is_decoded_once_whichever_way_leads_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_flat_clips(tmp_path / "night", {"a": 10})
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "night").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    for way in (root, Path("night"), Path("link/night")):
        assert levels(way, tmp_path / "cache") == [10]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def rename_image(root: Path, name: str, *, move: bool = True) -> None:
    path = root / "instances_train.json"
    document = json.loads(path.read_text())
    if move:
        (root / "images" / document["images"][0]["file_name"]).rename(root / "images" / name)
    document["images"][0]["file_name"] = name
    path.write_text(json.dumps(document))


def test_an_image_whose_name_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    root = write_coco_domain(tmp_path / "stills", splits={"train": 2})
    rename_image(root, os.fsdecode(b"caf\xe9.png"))
    with pytest.raises(DataError, match=r"instances_train\.json names image 'caf\\udce9\.png', which is not UTF-8"):
        open_domain(root, tmp_path / "cache")


@pytest.mark.parametrize(("key", "kind"), [("videos", "video"), ("categories", "category")])
def test_other_names_that_are_no_text_are_refused_too(tmp_path: Path, key: str, kind: str) -> None:
    root = write_coco_domain(tmp_path / "clips", splits={"train": 1}, clips=True)
    path = root / "instances_train.json"
    document = json.loads(path.read_text())
    document[key][0]["name"] = "\ud800"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=rf"names {kind} '\\ud800', which is not UTF-8"):
        open_domain(root, tmp_path / "cache")


@pytest.mark.parametrize("write", [write_coco_domain, write_drone_csv_domain])
def test_a_domain_may_lie_in_a_folder_whose_name_is_not_utf_8(tmp_path: Path, write: Callable[..., Path]) -> None:
    root = write(tmp_path / "plain" / "domain", splits={"train": 1})
    expected = open_domain(root, tmp_path / "cache").frame(0).copy()
    moved = tmp_path / os.fsdecode(b"na\xefve")
    root.parent.rename(moved)
    assert np.array_equal(open_domain(moved / "domain", tmp_path / "cache").frame(0), expected)


@pytest.mark.parametrize("name", ["../../outside.png", "a/../../../outside.png", "{tmp}/outside.png"])
def test_an_image_outside_of_the_domain_is_refused(tmp_path: Path, name: str) -> None:
    root = write_coco_domain(tmp_path / "stills", splits={"train": 2})
    (root / "images" / "a").mkdir()
    cv2.imwrite(str(tmp_path / "outside.png"), spot_frame((20, 20), seed=1))
    rename_image(root, name.format(tmp=tmp_path), move=False)
    with pytest.raises(DataError, match=r"instances_train\.json names image '.*', which lies outside of the domain's"):
        open_domain(root, tmp_path / "cache")
    rename_image(root, "../beside.png", move=False)
    shutil.copy(tmp_path / "outside.png", root / "beside.png")
    assert len(open_domain(root, tmp_path / "cache")) == 2


def test_a_video_outside_of_the_domain_is_refused(tmp_path: Path) -> None:
    root = write_drone_csv_domain(tmp_path / "videos", splits={"train": 1}, frames=2)
    (root / "splits.json").write_text('{"train": ["../../TRAIN_000"]}')
    with pytest.raises(DataError, match=r"splits\.json names sequence '\.\./\.\./TRAIN_000', which lies outside of"):
        open_domain(root, tmp_path / "cache")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_whole_jpeg_decodes_as_ever(tmp_path: Path, coding: str, channels: int) -> None:
    path = tmp_path / "frame.jpg"
    for height, width in (SIZE_HW, (17, 33), (1, 1)):
        frame = spot_frame((20, 20), seed=height, size_hw=(height, width))
        cv2.imwrite(str(path), np.dstack([frame] * channels), CODINGS[coding])
        assert np.array_equal(read_image(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        path.write_bytes(path.read_bytes() + b"what a camera appends")
        assert np.array_equal(read_image(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


@pytest.mark.parametrize("share", [0.0, 0.33, 0.66, 0.99])
@pytest.mark.parametrize(
    "suffix", [".jpg", ".progressive.jpg", ".closed.jpg", ".zeros.jpg", ".png", ".tif", ".bmp", ".pgm"]
)
def test_an_image_that_is_cut_short_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    coding = CODINGS["progressive" if "progressive" in suffix else "baseline"]
    path = tmp_path / f"frame{suffix}"
    cv2.imwrite(str(path), spot_frame((20, 20), seed=1), coding if suffix.endswith("jpg") else [])
    whole = path.read_bytes()
    tail = {".closed.jpg": b"\xff\xd9", ".zeros.jpg": bytes(len(whole))}.get(suffix, b"")
    path.write_bytes(whole[: int(share * (len(whole) - 2))] + tail)
    with pytest.raises(DataError, match=r"frame\..* is (cut short: |no image that can be)"):
        read_image(path)


def test_a_jpeg_without_some_of_its_scans_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frame.jpg"
    frame = spot_frame((20, 20), seed=1)
    progressive = cv2.imencode(".jpg", frame, CODINGS["progressive"])[1].tobytes()
    for whole in (progressive, jpeg_in_scans(np.stack([frame, frame[::-1], frame[:, ::-1]]))):
        path.write_bytes(whole)
        assert np.array_equal(read_image(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        scans = whole.split(START_OF_SCAN)
        for sent in range(1, len(scans) - 1):
            path.write_bytes(START_OF_SCAN.join(scans[: sent + 1]) + END_OF_IMAGE)
            assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None  # made up
            with pytest.raises(DataError, match=rf"frame\.jpg is cut short: its {sent} scans do not send all there is"):
                read_image(path)


def test_a_jpeg_whose_coded_data_are_broken_up_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frame.jpg"
    cv2.imwrite(str(path), spot_frame((20, 20), seed=1))
    whole = path.read_bytes()
    path.write_bytes(whole[:-500] + b"\xff\x01" + whole[-500:])
    with pytest.raises(DataError, match=r"frame\.jpg is no image that can be read: expected a marker at byte \d+"):
        read_image(path)


def test_a_jpeg_of_four_inks_is_read(tmp_path: Path) -> None:
    path = tmp_path / "frame.jpg"
    frame = spot_frame((20, 20), seed=1)
    path.write_bytes(jpeg_in_scans(np.stack([frame, frame[::-1], frame[:, ::-1], frame])))
    assert read_image(path).shape == (*SIZE_HW, 3)
    assert np.array_equal(read_image(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


def test_an_orientation_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "frame.jpg"
    whole = cv2.imencode(".jpg", spot_frame((20, 20), seed=1))[1].tobytes()
    quarter_turn = struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1" + quarter_turn + bytes(4)
    path.write_bytes(whole[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + whole[2:])
    assert cv2.imread(str(path)).shape[:2] == SIZE_HW[::-1]
    assert read_image(path).shape == SIZE_HW
    assert np.array_equal(read_image(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


@pytest.mark.parametrize("stray", [b"\0\0", b"\xff\xfe\0\0"], ids=["between segments", "a comment of no length"])
def test_a_jpeg_with_bytes_that_decoders_skip_is_read(tmp_path: Path, stray: bytes) -> None:
    path = tmp_path / "frame.jpg"
    cv2.imwrite(str(path), spot_frame((20, 20), seed=1))
    whole = path.read_bytes()
    expected = read_image(path)
    tables = whole.index(b"\xff\xdb")
    path.write_bytes(whole[:tables] + stray + whole[tables:])
    assert np.array_equal(read_image(path), expected)


def test_an_image_that_is_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read: .*Is a directory"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("strictness", "message"),
    [
        (STRICT, r"TRAIN_000\.mp4 is corrupt near frame \d\d: "),
        ({}, r"TRAIN_000\.mp4 is corrupt: its frame \d\d does not decode as a whole"),  # as where FFmpeg only marks it
    ],
)
def test_a_video_with_bytes_overwritten_names_its_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strictness: dict[str, str], message: str
) -> None:
    monkeypatch.setattr("loddis_trainer.data.readers.videos.STRICT", strictness)
    root = write_drone_csv_domain(tmp_path / "videos", splits={"train": 1}, frames=40)
    damage(root / "videos" / "TRAIN_000.mp4", frame=20)
    with pytest.raises(DataError, match=message):
        open_domain(root, tmp_path / "cache")


def damage(video: Path, *, frame: int) -> None:
    """Write over 200 bytes of a frame."""
    data = bytearray(video.read_bytes())
    with av.open(str(video)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    at = (packets[frame].pos or 0) + 20
    data[at : at + 200] = random.Random(1).randbytes(200)
    video.write_bytes(data)


def test_damage_far_behind_the_last_label_is_not_looked_at(tmp_path: Path) -> None:
    root = write_drone_csv_domain(tmp_path / "videos", splits={"train": 1}, frames=40)
    labels = root / "labels" / "TRAIN_000.csv"
    labels.write_text("".join(labels.read_text().splitlines(keepends=True)[:11]))
    damage(root / "videos" / "TRAIN_000.mp4", frame=30)
    assert len(open_domain(root, tmp_path / "cache")) == 10


def test_real_videos_are_read_without_complaint(loddis_data: Path) -> None:
    for sequence in read_split(loddis_data / "sky", "val").sequences[::5]:
        assert sum(1 for _ in sequence.decode()) == len(sequence.records)
