"""Frames in two splits are found, whatever was done to the copy; frames that only resemble one another are not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from loddis_trainer.data.inspection import Finding, inspect_domain
from loddis_trainer.data.inspection.leak_report import MOST_LEAKS, Leak
from loddis_trainer.data.inspection.report import Inspection
from loddis_trainer.data.inspection.thumbnails import SAME_VIEW, thumbnails
from support.domains import write_coco_domain, write_drone_csv_domain
from support.views import Shot, clear_sky, clouds, noisy, recompressed, spot_box, with_spot, write_shots

HERE, THERE = (40.0, 50.0), (110.0, 70.0)


def inspect(root: Path) -> Inspection:
    return inspect_domain(root, cache_dir=root.parent / "cache", progress=False).inspection


def of(inspection: Inspection, subject: str, severity: str) -> list[Finding]:
    return [f for f in inspection.findings if (f.subject, f.severity) == (subject, severity)]


def shots(split: str, seeds: range) -> list[Shot]:
    """Give single images of different views, a target in each."""
    places = np.random.default_rng(seeds.start).uniform((20, 20), (140, 108), (len(seeds), 2))
    return [
        Shot(f"{split}_{seed}.png", with_spot(clouds(seed), (x, y), noise=seed), [spot_box((x, y))])
        for seed, (x, y) in zip(seeds, places.tolist(), strict=True)
    ]


def across(inspection: Inspection, kind: str) -> list[Leak]:
    return [leak for leak in inspection.leaks.leaks if leak.kind == kind and leak.splits[0] != leak.splits[1]]


def test_different_views_are_no_leaks(tmp_path: Path) -> None:
    root = write_shots(tmp_path / "d", {"train": shots("train", range(30)), "val": shots("val", range(30, 60))})
    found = inspect(root)
    assert found.leaks.leaks == ()
    assert [(o.splits, o.twins_share, o.view_share) for o in found.leaks.overlaps] == [(("train", "val"), 0, 0)]
    assert not [f for f in found.findings if f.subject == "leaks"]


def test_different_frames_of_empty_sky_are_no_leaks(tmp_path: Path) -> None:
    """One sensor, one horizon, the same stripes in every frame, and a target at one place throughout."""
    splits = {
        split: [Shot(f"{s}.png", with_spot(clear_sky(s), HERE, noise=s), [spot_box(HERE)]) for s in seeds]
        for split, seeds in (("train", range(100, 130)), ("val", range(130, 160)))
    }
    plain = [cv2.resize(shot.pixels.astype(np.float32), (32, 32)).ravel() for shot in splits["train"][:2]]
    assert np.corrcoef(plain)[0, 1] > 0.95  # compared as they are, they would be
    assert inspect(write_shots(tmp_path / "d", splits)).leaks.leaks == ()


@pytest.mark.parametrize(
    ("copied", "kind"),
    [
        (lambda p: p, "identical"),
        (noisy, "near"),
        (recompressed, "near"),
        (lambda p: noisy(recompressed(p), 2), "near"),
    ],
    ids=["identical", "noisy", "recompressed", "both"],
)
def test_a_copy_in_another_split_is_found(tmp_path: Path, copied: object, kind: str) -> None:
    train, val = shots("train", range(10)), shots("val", range(10, 20))
    original = train[4]
    val[6] = Shot("copy.png", copied(original.pixels), original.boxes_xywh)  # type: ignore[operator]
    found = inspect(write_shots(tmp_path / "d", {"train": train, "val": val}))
    (leak,) = found.leaks.leaks
    assert (leak.kind, leak.splits, leak.sequences) == (kind, ("train", "val"), ("train_4.png", "copy.png"))
    assert leak.frames == ("train_4.png", "copy.png")
    assert leak.correlation > SAME_VIEW
    (finding,) = of(found, "leaks", "fault")
    assert finding.splits == ("train", "val")
    assert "10 % of 'val' stands in 'train'" in finding.message
    assert "train_4.png" in finding.examples[0]
    assert "copy.png" in finding.examples[0]


def test_a_copy_within_a_split_is_a_note(tmp_path: Path) -> None:
    train = shots("train", range(10))
    train.append(Shot("copy.png", noisy(train[2].pixels), train[2].boxes_xywh))
    found = inspect(write_shots(tmp_path / "d", {"train": train, "val": shots("val", range(10, 15))}))
    (leak,) = found.leaks.leaks
    assert (leak.splits, set(leak.sequences)) == (("train", "train"), {"train_2.png", "copy.png"})
    assert not of(found, "leaks", "fault")
    assert "within 'train'" in of(found, "leaks", "note")[0].message


def test_one_view_with_its_target_elsewhere_is_a_warning(tmp_path: Path) -> None:
    view = clouds(0)
    train = [*shots("train", range(10, 15)), Shot("a.png", with_spot(view, HERE, noise=1), [spot_box(HERE)])]
    val = [*shots("val", range(20, 25)), Shot("b.png", with_spot(view, THERE, noise=2), [spot_box(THERE)])]
    found = inspect(write_shots(tmp_path / "d", {"train": train, "val": val}))
    (leak,) = found.leaks.leaks
    assert (leak.kind, leak.sequences) == ("view", ("a.png", "b.png"))
    assert not of(found, "leaks", "fault")
    assert "split by place" in of(found, "leaks", "warning")[0].message


def test_a_recording_cut_in_two_is_found_at_the_cut(tmp_path: Path) -> None:
    """One pan over one view: the first half is learned from, the second measured on."""
    wide = clouds(3, (128, 320))
    frames = [with_spot(wide[:, 2 * i : 2 * i + 160].copy(), HERE, noise=i) for i in range(40)]
    splits = {
        split: [
            Shot(f"{split}/{i:03d}.png", frames[start + i], [spot_box(HERE)], video=f"{split}_clip", frame_id=i)
            for i in range(20)
        ]
        for split, start in (("train", 0), ("val", 20))
    }
    found = inspect(write_shots(tmp_path / "d", splits))
    (leak,) = found.leaks.leaks
    assert (leak.kind, leak.frames) == ("near", ("train_clip frame 19", "val_clip frame 0"))
    assert leak.pairs < 6  # the rest of the pan has moved on


def test_one_identical_frame_among_near_ones_does_not_hide_them(tmp_path: Path) -> None:
    """As where a recording was cut, and the frame at the cut stands on both sides."""
    view = clouds(0)
    frames = [with_spot(view, HERE, noise=i) for i in range(1, 20)]
    halves = {"train": frames[:10], "val": frames[9:]}
    splits = {
        split: [
            Shot(f"{split}/{i}.png", pixels, [spot_box(HERE)], video=f"{split}_clip", frame_id=i)
            for i, pixels in enumerate(half)
        ]
        for split, half in halves.items()
    }
    found = inspect(write_shots(tmp_path / "d", splits))
    assert [(leak.kind, leak.pairs) for leak in found.leaks.leaks] == [("identical", 1), ("near", 99)]
    (overlap,) = found.leaks.overlaps
    assert (overlap.identical_share, overlap.twins_share, overlap.view_share) == (0.1, 1, 1)
    identical, near = of(found, "leaks", "fault")
    assert "identical frames (10 % of 'val' stands in 'train')" in identical.message
    assert "nearly the same, targets and all (100 % of 'val' stands in 'train')" in near.message
    assert not of(found, "leaks", "warning")  # a view that they share goes without saying


def test_images_of_one_scene_are_counted_and_the_worst_listed(tmp_path: Path) -> None:
    """Every two of them are a pair: 5,000 images make twelve million."""
    view = clouds(0)
    images = [Shot(f"{i:03d}.png", with_spot(view, HERE, noise=i), [spot_box(HERE)]) for i in range(1, 301)]
    images[290] = Shot("copy.png", images[3].pixels, [spot_box(HERE)])
    found = inspect(write_shots(tmp_path / "d", {"train": images}))
    assert [(count.kind, count.sequence_pairs) for count in found.leaks.counts] == [
        ("identical", 1),
        ("near", 300 * 299 // 2 - 1),
    ]
    assert len(found.leaks.leaks) == 1 + MOST_LEAKS
    assert found.leaks.leaks[0].sequences == ("004.png", "copy.png")
    near = found.leaks.leaks[1:]
    assert [leak.correlation for leak in near] == sorted((leak.correlation for leak in near), reverse=True)
    (note,) = of(found, "leaks", "note")
    assert note.message.startswith("44850 pairs of sequences within 'train'")
    assert len(note.examples) == 10


def test_several_targets_must_all_stand_where_they_stood(tmp_path: Path) -> None:
    """The mean of two places may agree where the places do not."""
    view = clouds(0)
    both, other = [(40.0, 40.0), (120.0, 80.0)], [(40.0, 80.0), (120.0, 40.0)]
    splits = {
        split: [Shot(f"{split}.png", np.round(view).astype(np.uint8), [spot_box(place) for place in places])]
        for split, places in (("train", both), ("val", other), ("test", both[::-1]))
    }
    found = inspect(write_shots(tmp_path / "d", splits))
    assert [leak.kind for leak in found.leaks.leaks] == ["identical"] * 3  # same pixels win over labels
    for split, places in (("train", both), ("val", other), ("test", both[::-1])):
        splits[split] = [
            Shot(f"{split}.png", noisy(np.round(view).astype(np.uint8), len(split)), [spot_box(p) for p in places])
        ]
    kinds = {leak.splits: leak.kind for leak in inspect(write_shots(tmp_path / "e", splits)).leaks.leaks}
    assert kinds == {("train", "val"): "view", ("train", "test"): "near", ("val", "test"): "view"}


def test_frames_without_contrast_resemble_nothing(tmp_path: Path) -> None:
    flat = np.full((64, 64), 90, np.uint8)
    assert not thumbnails([flat, flat * 0]).any()
    train = [*shots("train", range(3)), Shot("flat_a.png", flat)]
    val = [*shots("val", range(3, 6)), Shot("flat_b.png", flat)]
    found = inspect(write_shots(tmp_path / "d", {"train": train, "val": val}))
    assert found.leaks.leaks == ()
    named = [f.examples for f in of(found, "frames", "warning") if "one grey level throughout" in f.message]
    assert named == [("flat_a.png",), ("flat_b.png",)]


def test_16_bit_copies_are_found(tmp_path: Path) -> None:
    def deep(shot: Shot, offset: int = 0) -> Shot:
        return Shot(shot.name, shot.pixels.astype(np.uint16) * 30 + 8000 + offset, shot.boxes_xywh)

    train, val = shots("train", range(8)), shots("val", range(8, 16))
    val[0] = Shot("copy.png", noisy(train[3].pixels, 3), train[3].boxes_xywh)
    splits = {"train": [deep(s) for s in train], "val": [deep(s, 500) for s in val]}  # a drift of the sensor's level
    (leak,) = inspect(write_shots(tmp_path / "d", splits)).leaks.leaks
    assert (leak.kind, leak.sequences) == ("near", ("train_3.png", "copy.png"))


def test_a_sequence_listed_twice_is_a_fault(tmp_path: Path) -> None:
    clips = write_coco_domain(tmp_path / "clips", clips=True, splits={"train": 3, "val": 2})
    shutil.copy(clips / "instances_train.json", clips / "instances_test.json")
    found = inspect(clips)
    assert list(found.splits) == ["val"]  # the reader refuses the two, the third goes on
    (listed,) = of(found, "leaks", "fault")
    assert listed.message == "3 sequences are listed twice: leave each in one split"
    assert listed.examples[0] == "train_0 in test and train"

    videos = write_drone_csv_domain(tmp_path / "videos", splits={"train": 2, "val": 1, "test": 1}, frames=3)
    splits = json.loads((videos / "splits.json").read_text())
    splits["val"].append("TRAIN_001")
    (videos / "splits.json").write_text(json.dumps(splits))
    found = inspect(videos)
    assert list(found.splits) == ["test"]  # the reader refuses the two, the third goes on
    assert len(of(found, "reading", "fault")) == 2
    (finding,) = of(found, "leaks", "fault")
    assert finding.message == "1 sequence is listed twice: leave each in one split"
    assert finding.examples == ("TRAIN_001 in train and val",)
