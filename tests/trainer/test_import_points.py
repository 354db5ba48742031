"""Sets that label pixels or points get boxes: masks in the layouts of NUDT-SIRST and others, centroids; and videos."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from loddis_trainer.data import DomainDataset
from loddis_trainer.data.importers.masks import boxes_of_mask
from support.domains import SIZE_HW, write_drone_csv_domain
from support.importing import boxes_seen, import_set, put, put_image


def mask(*rectangles: tuple[int, int, int, int], value: int = 255) -> np.ndarray:
    """Draw x1, y1, x2, y2 rectangles, x2 and y2 outside."""
    pixels = np.zeros(SIZE_HW, dtype=np.uint8)
    for x1, y1, x2, y2 in rectangles:
        pixels[y1:y2, x1:x2] = value
    return pixels


@pytest.fixture
def nudt(source: Path) -> Path:
    """The layout of NUDT-SIRST in BasicIRSTD."""
    drawn = {1: [(10, 20, 13, 22)], 2: [(0, 0, 2, 2), (50, 30, 51, 31)], 3: []}
    for number, rectangles in drawn.items():
        put_image(source, f"images/{number:06d}.png", seed=number)
        put_image(source, f"masks/{number:06d}.png", mask(*rectangles))
    put(source, "img_idx/train_NUDT-SIRST.txt", "000001\n000002\n")
    put(source, "img_idx/test_NUDT-SIRST.txt", "000003")
    return source


LISTS = ("--train-list", "img_idx/train_NUDT-SIRST.txt", "--test-list", "img_idx/test_NUDT-SIRST.txt")


def test_masks_become_boxes_of_their_components(nudt: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_set(nudt, out, *LISTS) == 0
    assert boxes_seen(out, "train") == {
        "000001.png": [[(10, 20, 13, 22)]],
        "000002.png": [[(0, 0, 2, 2), (50, 30, 51, 31)]],
    }
    assert boxes_seen(out, "test") == {"000003.png": [[]]}
    assert json.loads(capsys.readouterr().out)["recognised_by"] == "masks holds masks of images"


def test_components_touch_by_corners_and_small_ones_go_only_if_asked(
    nudt: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert boxes_of_mask(mask((5, 5, 7, 7), (7, 7, 9, 9)) > 0) == ([(5.0, 5.0, 4.0, 4.0)], 0)
    assert import_set(nudt, out, *LISTS, "--min-pixels", "2") == 0
    assert boxes_seen(out, "train")["000002.png"] == [[(0, 0, 2, 2)]]
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert "1 components of fewer than 2 pixels were left out" in warnings


def test_masks_of_zero_and_one_and_noisy_ones_say_the_same(source: Path, out: Path) -> None:
    noisy = np.maximum(mask((10, 20, 13, 22)), np.random.default_rng(0).integers(0, 20, SIZE_HW).astype(np.uint8))
    put_image(source, "images/a.png")
    put_image(source, "masks/a.png", mask((10, 20, 13, 22), value=1))
    put_image(source, "images/b.png")
    put_image(source, "masks/b.png", noisy)
    assert import_set(source, out, "--split", "train=1") == 0
    assert boxes_seen(out, "train") == {"a.png": [[(10, 20, 13, 22)]], "b.png": [[(10, 20, 13, 22)]]}


def test_masks_of_sirst_irstd_and_tsirmt_are_found(source: Path, out: Path) -> None:
    put_image(source, "sirst/images/Misc_1.png")
    put_image(source, "sirst/masks/Misc_1_pixels0.png", mask((1, 2, 4, 5)))
    put(source, "sirst/masks/Misc_1.xml", "<annotation><filename>Misc_1.png</filename></annotation>")
    put_image(source, "irstd/IRSTD1k_Img/XDU0.png")
    put_image(source, "irstd/IRSTD1k_Label/XDU0.png", mask((2, 2, 4, 5)))
    for number in (1, 2, 10):
        put_image(source, f"tsirmt/images/7/{number}.jpg")
        put_image(source, f"tsirmt/masks/7/{number}.png", mask((number, 2, number + 3, 5)))
    put_image(source, "odd/pictures/a.png")
    put_image(source, "odd/truth/a_t.png", mask((3, 2, 4, 5)))
    one = ("--split", "train=1")
    assert import_set(source / "sirst", out / "1", "--format", "masks", *one) == 0
    assert boxes_seen(out / "1", "train") == {"Misc_1.png": [[(1, 2, 4, 5)]]}
    assert import_set(source / "irstd", out / "2", *one) == 0
    assert boxes_seen(out / "2", "train") == {"IRSTD1k_Img/XDU0.png": [[(2, 2, 4, 5)]]}
    assert import_set(source / "tsirmt", out / "3", *one) == 0
    assert boxes_seen(out / "3", "train") == {"7": [[(n, 2, n + 3, 5)] for n in (1, 2, 10)]}
    odd = ("--format", "masks", "--mask-folder", "truth", "--mask-suffix", "_t", "--stills", *one)
    assert import_set(source / "odd", out / "4", *odd) == 0
    assert boxes_seen(out / "4", "train") == {"pictures/a.png": [[(3, 2, 4, 5)]]}


def test_nudt_mirsdt_is_split_by_its_own_lists_of_mat_files(source: Path, out: Path) -> None:
    for sequence in (1, 85):
        for number in (1, 2):
            put_image(source, f"Sequence{sequence}/images/{number:05d}.png")
            put_image(source, f"Sequence{sequence}/masks/{number:05d}.png", mask((sequence, 3, sequence + 2, 6)))
            put_image(
                source, f"Sequence{sequence}/masks_centroid/{number:05d}.png", mask((sequence, 3, sequence + 1, 4))
            )
    put(source, "train.txt", "Sequence1/Mix/00001.mat\nSequence1/Mix/00002.mat\n")
    put(source, "test.txt", "Sequence85/Mix/00001.mat\nSequence85/Mix/00002.mat\n")
    assert import_set(source, out, "--train-list", "train.txt", "--test-list", "test.txt") == 0
    assert boxes_seen(out, "train") == {"Sequence1": [[(1, 3, 3, 6)]] * 2}
    assert boxes_seen(out, "test") == {"Sequence85": [[(85, 3, 87, 6)]] * 2}


def test_wrong_masks_are_named(nudt: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_image(nudt, "masks/000002.png", np.zeros((64, 95), dtype=np.uint8))
    assert import_set(nudt, out, *LISTS) == 1
    assert "masks/000002.png is 95 x 64, but its image is 96 x 64" in capsys.readouterr().err
    (nudt / "masks/000002.png").write_bytes(b"no picture")
    assert import_set(nudt, out, *LISTS) == 1
    assert "masks/000002.png is no image that can be read" in capsys.readouterr().err
    (nudt / "images/000002.png").unlink()
    assert import_set(nudt, out, *LISTS) == 1
    assert "masks/000002.png is the mask of an image that is missing" in capsys.readouterr().err
    (nudt / "masks/000002.png").unlink()
    assert import_set(nudt, out, *LISTS) == 1
    assert "train_NUDT-SIRST.txt, line 2: '000002' names no labelled frame" in capsys.readouterr().err
    assert not out.exists()


def test_an_image_without_mask_is_not_labelled(nudt: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (nudt / "masks/000002.png").unlink()
    assert import_set(nudt, out, "--split", "train=1") == 0
    assert sorted(boxes_seen(out, "train")) == ["000001.png", "000003.png"]
    assert "1 images have no mask and were left out, the first of them images/000002.png" in capsys.readouterr().out


@pytest.fixture
def daub(source: Path) -> Path:
    """A folder a sequence, a table each; one as the folder, one within it."""
    for sequence in ("data1", "data2"):
        for number in range(3):
            put_image(source, f"{sequence}/{number}.bmp", seed=number)
    put(source, "labels/data1.csv", "frame,x,y\n0,30,20\n0,50,40\n2,95,63\n")
    put(source, "data2/centroids.txt", "1 30.5 20\n")
    return source


CENTROIDS = ("--box-px", "7", "--split", "train=1")


def test_centroids_get_boxes_around_their_pixels(daub: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_set(daub, out, *CENTROIDS) == 0
    assert boxes_seen(out, "train") == {
        "data1": [[(27, 17, 34, 24), (47, 37, 54, 44)], [(92, 60, 96, 64)]],
        "data2": [[(27.5, 17, 34.5, 24)]],
    }
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert "1 boxes reached over the border and were cut" in warnings
    assert any(each.startswith("3 images have no centroid and were left out, the first of them ") for each in warnings)


def test_centroids_may_count_from_the_corner(daub: Path, out: Path) -> None:
    assert import_set(daub, out, *CENTROIDS, "--centroid-offset-px", "0") == 0
    assert boxes_seen(out, "train")["data1"][0][0] == (26.5, 16.5, 33.5, 23.5)


def test_centroids_in_a_file_a_frame(source: Path, out: Path) -> None:
    for sequence in ("data1", "data2"):
        for number in range(2):
            put_image(source, f"{sequence}/{number}.bmp")
    put(source, "data1/0.txt", "30,20\n50,40\n")
    put(source, "data1/1.txt", "")
    put(source, "labels/data2/1.txt", "10 20\n")
    assert import_set(source, out, *CENTROIDS) == 0
    assert boxes_seen(out, "train") == {
        "data1": [[(27, 17, 34, 24), (47, 37, 54, 44)], []],
        "data2": [[(7, 17, 14, 24)]],
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2", "data1.csv, line 3: a line has 3 values, frame,x,y, got 2"),
        ("1,2,3,4", "data1.csv, line 3: a line has 3 values, frame,x,y, got 4"),
        ("1,x,3", "data1.csv, line 3: could not convert string to float: 'x'"),
        ("9,2,3", "data1.csv, line 3: frame 9 has no image in"),
        ("1.5,2,3", "data1.csv, line 3: frame 1.5 has no image in"),
        ("1,200,3", "data1.csv, frame 1: box [197.0, 0.0, 7.0, 7.0] (x, y, width, height) lies outside"),
        ("1,nan,3", "data1.csv, frame 1: box [nan, 0.0, 7.0, 7.0]"),
    ],
)
def test_a_wrong_line_of_centroids_is_named(
    daub: Path, out: Path, line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(daub, "labels/data1.csv", f"frame,x,y\n0,30,20\n{line}\n")
    assert import_set(daub, out, "--format", "centroids", *CENTROIDS) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_centroids_need_a_side(daub: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_set(daub, out, "--split", "train=1") == 1
    assert "say by --box-px which side their boxes get" in capsys.readouterr().err


@pytest.fixture
def videos(source: Path) -> Path:
    write_drone_csv_domain(source, splits={"train": 3, "val": 1}, frames=4)
    return source


def test_videos_stay_videos(videos: Path, out: Path) -> None:
    assert import_set(videos, out) == 0
    for split in ("train", "val"):
        assert boxes_seen(out, split) == boxes_seen(videos, split)
    name = "TRAIN_000.mp4"
    assert (out / "videos" / name).read_bytes() == (videos / "videos" / name).read_bytes()


def test_videos_without_splits_are_split_whole_and_categories_chosen(
    videos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (videos / "splits.json").unlink()
    table = videos / "labels" / "TRAIN_000.csv"
    table.write_text("frame,label,x,y,width,height\n0,BIRD,1,2,3,4\n1,DRONE,5,6,7,8\n1,BIRD,1,2,3,4\n")
    flags = ("--split", "train=0.5,val=0.5", "--only", "DRONE", "--category", "DRONE=uav", "--link")
    assert import_set(videos, out, *flags) == 0
    seen = boxes_seen(out, "train", classes=("uav", "x")) | boxes_seen(out, "val", classes=("uav", "x"))
    assert len(seen) == 4
    assert seen["TRAIN_000"] == [[(5, 6, 12, 14)]]
    report = json.loads(capsys.readouterr().out)
    assert sum(split["frames"] for split in report["splits"]) == 3 * 4 + 1
    assert "1 frames of videos have no target left and count as not labelled" in report["warnings"]
    assert (out / "videos" / "TRAIN_000.mp4").is_symlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: (s / "videos" / "TRAIN_000.mp4").unlink(), "TRAIN_000.csv labels a video that is missing"),
        (lambda s: (s / "videos" / "TRAIN_000.mp4").write_bytes(b"x"), "TRAIN_000.mp4 is no video"),
        (lambda s: (s / "splits.json").write_text('{"train": ["../x"]}'), "'../x' leaves the source folder"),
        (lambda s: (s / "splits.json").write_text('{"night": []}'), "splits are train, val, test, got 'night'"),
        (
            lambda s: (s / "splits.json").write_text('{"train": ["TRAIN_000"], "val": ["TRAIN_000"]}'),
            "lists 'TRAIN_000' in 'train' and again in 'val'",
        ),
        (
            lambda s: (s / "labels" / "TRAIN_000.csv").write_text("frame,label,x,y,width,height\n4,A,1,2,3,4\n"),
            "TRAIN_000.csv, frame 4: ",
        ),
        (
            lambda s: (s / "labels" / "TRAIN_000.csv").write_text("frame,label,x,y,width,height\n0,A,1,2,3\n"),
            "TRAIN_000.csv, line 2: ",
        ),
    ],
)
def test_wrong_videos_are_named(
    videos: Path, out: Path, damage: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(videos)  # type: ignore[operator]
    assert import_set(videos, out, "--format", "drone-csv") == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("link", [False, True])
def test_sixteen_bits_stay_sixteen_bits(source: Path, out: Path, link: bool) -> None:
    pixels = np.random.default_rng(3).integers(0, 65536, SIZE_HW).astype(np.uint16)
    put_image(source, "images/a.png", pixels)
    put_image(source, "masks/a.png", mask((10, 20, 13, 22)))
    assert import_set(source, out, "--split", "train=1", *(["--link"] if link else [])) == 0
    dataset = DomainDataset.open(out, "train", cache_dir=out.parent / "cache", progress=False)
    assert dataset.frame(0).dtype == np.uint16
    assert (dataset.frame(0) == pixels).all()
    assert (out / "images" / "a.png").is_symlink() == link


def test_true_colour_is_refused_before_anything_is_written(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_image(source, "masks/a.png", mask((10, 20, 13, 22)))
    colour = np.zeros((*SIZE_HW, 3), dtype=np.uint8)
    colour[..., 0] = 200
    (source / "images").mkdir()
    cv2.imwrite(str(source / "images/a.png"), colour)
    assert import_set(source, out, "--split", "train=1") == 1
    assert "images/a.png: true colour is refused" in capsys.readouterr().err
    assert sorted(path.name for path in out.parent.iterdir()) == ["source"]
