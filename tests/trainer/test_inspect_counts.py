"""What there is, and what is missing: frames, labels, splits, sizes, bits; each oddity has its sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from loddis_runtime.command import run
from loddis_trainer.cli import Trainer
from loddis_trainer.data import DataError
from loddis_trainer.data.inspection import inspect_domain
from loddis_trainer.data.inspection.report import Inspection
from support.domains import write_coco_domain, write_drone_csv_domain
from support.views import Shot, clouds, spot_box, with_spot, write_shots


def inspect(root: Path, **options: int) -> Inspection:
    return inspect_domain(root, cache_dir=root.parent / "cache", progress=False, **options).inspection


def messages(found: Inspection, severity: str) -> str:
    return "\n".join(f.message for f in found.findings if f.severity == severity)


def shot(
    seed: int, size_hw: tuple[int, int] = (128, 160), boxes: int = 1, scale: int = 0, label: str = "target"
) -> Shot:
    places = [(30.0 + 20 * i, 40.0 + seed % 30) for i in range(boxes)]
    view = clouds(seed, size_hw)
    pixels = with_spot(view, places[0] if places else (-99.0, -99.0), noise=seed)
    wide = pixels.astype(np.uint16) * scale + 1000 if scale else pixels
    return Shot(f"{seed}.png", wide, [spot_box(place) for place in places], label=label)


def test_videos_are_counted_with_the_frames_that_no_row_names(tmp_path: Path) -> None:
    root = write_drone_csv_domain(tmp_path / "d", splits={"train": 3, "val": 2}, frames=6)
    table = root / "labels" / "TRAIN_001.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *lines[3:6]]) + "\n")  # two rows at the start and one at the end are gone
    found = inspect(root)
    counts = found.splits["train"].counts
    assert (counts.sequences, counts.frames, counts.targets, counts.frames_without_targets) == (3, 15, 15, 0)
    assert (counts.unlabelled_frames, counts.unlabelled_by_sequence) == (3, {"TRAIN_001": 3})
    assert counts.categories == {"DRONE": 15}
    assert found.splits["train"].frames.rates_fps == {"30": 3}
    assert found.splits["train"].frames.sequence_lengths.quantiles["min"] == 3
    assert found.splits["val"].counts.unlabelled_frames == 0
    assert "frames of 'train' without label, which are left out: 3 in 1 of 3 sequences, 17 %" in messages(
        found, "warning"
    )
    assert "there is no split 'test'" in messages(found, "note")


def test_gaps_in_clips_are_frames_without_label(tmp_path: Path) -> None:
    root = write_coco_domain(tmp_path / "d", clips=True, splits={"train": 2}, frames_per_clip=6)
    path = root / "instances_train.json"
    document = json.loads(path.read_text())
    gone = document["images"].pop(3)["id"]
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] != gone]
    path.write_text(json.dumps(document))
    assert inspect(root).splits["train"].counts.unlabelled_by_sequence == {"train_0": 1}


def test_a_clip_of_every_fifth_frame_misses_none(tmp_path: Path) -> None:
    view = clouds(0)
    shots = [
        Shot(f"{i}.png", with_spot(view, (30 + 3.0 * i, 40), noise=i), [spot_box((30 + 3.0 * i, 40))], "clip", 5 * i)
        for i in range(8)
    ]
    whole = inspect(write_shots(tmp_path / "d", {"train": shots})).splits["train"]
    assert whole.counts.unlabelled_frames == 0
    assert whole.motion.steps == 7
    assert whole.motion.speed_px_per_frame.median == pytest.approx(3.0)
    del shots[3]
    holed = inspect(write_shots(tmp_path / "e", {"train": shots})).splits["train"]
    assert holed.counts.unlabelled_by_sequence == {"clip": 1}
    assert holed.motion.steps == 5


def test_shares_near_the_whole_are_written_as_such(tmp_path: Path) -> None:
    root = write_drone_csv_domain(tmp_path / "d", splits={"train": 1}, frames=200)
    table = root / "labels" / "TRAIN_000.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:2]) + "\n")
    assert "199 in 1 of 1 sequences, 100 %;" in messages(inspect(root), "warning")


def test_images_are_counted_with_empty_ones_and_the_most_crowded(tmp_path: Path) -> None:
    shots = [shot(0, boxes=0), shot(1, boxes=3), *(shot(seed) for seed in range(2, 6))]
    counts = inspect(write_shots(tmp_path / "d", {"train": shots})).splits["train"].counts
    assert (counts.frames, counts.frames_without_targets, counts.unlabelled_frames) == (6, 1, 0)
    assert (counts.targets, counts.targets_per_frame_max) == (7, 3)
    assert counts.targets_per_frame_mean == pytest.approx(7 / 6)


def test_a_split_without_targets_is_a_fault(tmp_path: Path) -> None:
    splits = {"train": [shot(seed) for seed in range(4)], "val": [shot(seed, boxes=0) for seed in range(4, 8)]}
    found = inspect(write_shots(tmp_path / "d", splits))
    assert "'val' has not one target in 4 frames" in messages(found, "fault")
    assert found.splits["val"].sizes.side_px.count == 0


def test_a_domain_without_any_target_is_described_all_the_same(tmp_path: Path) -> None:
    found = inspect(write_shots(tmp_path / "d", {s: [shot(i, boxes=0)] for i, s in enumerate(("train", "val"))}))
    assert found.count("fault") == 2
    assert json.loads(found.to_json())["splits"]["train"]["contrast"]["snr"]["quantiles"]["median"] is None


def test_an_empty_split_is_a_fault_and_an_empty_domain_too(tmp_path: Path) -> None:
    root = write_drone_csv_domain(tmp_path / "d", splits={"train": 0, "val": 1}, frames=2)
    assert "its split 'train' has no labelled frame" in messages(inspect(root), "fault")
    bare = write_drone_csv_domain(tmp_path / "e", splits={"train": 0, "val": 0, "test": 0})
    found = inspect(bare)
    assert (found.splits, found.count("fault")) == ({}, 3)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="of no known format"):
        inspect(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["splits.json", "instances_train.json"])
def test_a_list_nested_too_deeply_is_a_fault(tmp_path: Path, name: str) -> None:
    root = tmp_path / "d"
    write = write_drone_csv_domain if name == "splits.json" else write_coco_domain
    write(root, splits={"train": 1, "val": 1})
    (root / name).write_text("[" * 200_000)
    assert f"{name} cannot be read: it is nested too deeply" in messages(inspect(root), "fault")


def test_one_sequence_only_is_a_warning(tmp_path: Path) -> None:
    root = write_drone_csv_domain(tmp_path / "d", splits={"train": 1, "val": 1, "test": 2}, frames=3)
    text = messages(inspect(root), "warning")
    assert "'train' is one sequence only" in text
    assert "'val' is one sequence only" in text
    assert "'test' is one sequence only" not in text


def test_splits_that_lack_or_have_other_names(tmp_path: Path) -> None:
    root = write_drone_csv_domain(tmp_path / "d", splits={"test": 2, "night": 1}, frames=2)
    found = inspect(root)
    assert list(found.splits) == ["test"]
    assert "there is no split 'train': it can be measured on, not learned from" in messages(found, "warning")
    assert "there is no split 'val': as a task domain it needs one" in messages(found, "warning")
    assert "splits of other names are not looked at: night" in messages(found, "note")


def test_deep_frames_are_told_by_their_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    narrow = inspect(write_shots(tmp_path / "narrow", {"train": [shot(seed, scale=20) for seed in range(4)]}))
    formats = narrow.splits["train"].frames
    assert formats.bits == {16: 4}
    assert 1000 <= formats.lowest_level < formats.highest_level < 1000 + 20 * 256
    assert "'train' has 16-bit frames with levels from" in messages(narrow, "warning")
    assert "--intensity.kind percentile" in messages(narrow, "warning")
    (advice,) = re.findall(r"--intensity\.kind full_range [\w. -]+", messages(narrow, "warning"))
    limits = f"--intensity.low {formats.lowest_level} --intensity.high {formats.highest_level}"
    assert advice == f"--intensity.kind full_range {limits}"
    wanted = ["fit", "--task", "nowhere", "--data-root", str(tmp_path), "--out", str(tmp_path / "run")]
    assert run(Trainer, [*wanted, *advice.split()]) == 1  # not 2: the flags are taken, the domain is not there
    assert "no domain 'nowhere'" in capsys.readouterr().err
    wide = inspect(write_shots(tmp_path / "wide", {"train": [shot(seed, scale=250) for seed in range(4)]}))
    assert "they stay 16 bit" in messages(wide, "note")


def test_mixed_frames_are_named(tmp_path: Path) -> None:
    train = [shot(0), shot(1), shot(2, scale=100), shot(3, size_hw=(96, 128))]
    val = [shot(4, size_hw=(100, 100)), shot(5, size_hw=(100, 100))]
    found = inspect(write_shots(tmp_path / "d", {"train": train, "val": val}))
    assert found.splits["train"].frames.sizes == {"160 x 128": 3, "128 x 96": 1}
    assert found.splits["train"].frames.bits == {8: 3, 16: 1}
    text = messages(found, "warning")
    assert "'train' mixes frame sizes: 3 of 160 x 128, 1 of 128 x 96" in text
    assert "'train' mixes bit depths: 3 of 8 bit, 1 of 16 bit" in text
    assert "'val' has frame sizes that 'train' lacks: 100 x 100 against 160 x 128, 128 x 96" in text


def test_categories_that_are_never_learned_are_named(tmp_path: Path) -> None:
    splits = {"train": [shot(seed) for seed in range(3)], "val": [shot(3), shot(4, label="kite")]}
    assert "'val' has categories that 'train' lacks, which are never learned: kite" in messages(
        inspect(write_shots(tmp_path / "d", splits)), "warning"
    )


def test_categories_are_matched_as_a_training_matches_them(tmp_path: Path) -> None:
    splits = {
        "train": [shot(0, label="Drone"), shot(1, label="Bird")],
        "val": [shot(2, label="drone"), shot(3, label="bird")],
        "test": [shot(4, label="drone")],
    }
    found = inspect(write_shots(tmp_path / "d", splits))
    assert "never learned" not in messages(found, "warning")
    missed = "'test' lacks categories of 'train', so that nothing says how they are found: Bird"
    assert [line for line in messages(found, "note").splitlines() if "lacks categories" in line] == [missed]


def test_only_so_many_frames_are_measured(tmp_path: Path) -> None:
    found = inspect(write_shots(tmp_path / "d", {"train": [shot(seed) for seed in range(9)]}), frames=4)
    train = found.splits["train"]
    assert (train.contrast.frames_looked_at, train.contrast.snr.count) == (4, 4)
    assert train.sizes.side_px.count == 9  # boxes cost nothing: all of them
