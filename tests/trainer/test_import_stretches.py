"""A long recording fills several splits by stretches of it, or says why it cannot."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loddis_trainer.data.importers import ImportedFrame
from loddis_trainer.data.importers.sequences import in_stretches
from support.domains import write_drone_csv_domain
from support.importing import boxes_seen, import_set, put, put_image, put_stills

ONE_RECORDING = "there is 1 sequence for 3 splits (train, val, test), and each needs one: "
STRETCHES = "a sequence is never torn apart: --stretch 2 makes several of a long one, of at most "
CLIPS = "a video is one sequence, never torn apart: cut it into several clips, each with labels of its own"


@pytest.fixture
def recording(source: Path) -> Path:
    """One sequence of twelve frames with a YOLO label each."""
    for number in range(12):
        put_image(source, f"images/flight/{number:03d}.png", seed=number)
        put(source, f"labels/flight/{number:03d}.txt", "0 0.5 0.5 0.125 0.25\n")
    return source


def test_one_recording_of_images_says_how_it_can_be_split(
    recording: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = ("--split", "train=0.7,val=0.1,test=0.2")
    assert import_set(recording, out, *shares) == 1
    assert ONE_RECORDING + STRETCHES in capsys.readouterr().err
    assert import_set(recording, out, "--split", "train=1", "--val-from-train", "0.5") == 1
    assert f"there is 1 sequence for 2 splits (train, val), and each needs one: {STRETCHES}" in capsys.readouterr().err
    assert import_set(recording, out.with_name("whole"), "--split", "train=1") == 0
    warning = f"there is no split 'val', which a training needs, and train has nothing to spare for it: {STRETCHES}"
    assert warning in capsys.readouterr().out
    # and what is told helps, unless the share is less than one of them
    few = ("--split", "train=0.8,val=0.1,test=0.1", "--stretch", "4")
    assert import_set(recording, out, *few) == 1
    assert f"it takes a share of 0.334, or more sequences: {STRETCHES}" in capsys.readouterr().err
    assert import_set(recording, out.with_name("stretches"), *shares, "--stretch", "2") == 0
    assert (
        "sequences that were cut into stretches: 1 of 1; frames next to a cut are near-duplicates"
        in capsys.readouterr().out
    )
    seen = [boxes_seen(out.with_name("stretches"), split) for split in ("train", "val", "test")]
    assert [len(each) for each in seen] == [4, 1, 1]
    assert {name for each in seen for name in each} == {f"flight/{n}-{n + 1}" for n in range(0, 12, 2)}
    assert all(len(frames) == 2 for each in seen for frames in each.values())
    assert import_set(recording, out.with_name("stills"), *shares, "--stills") == 0
    assert "near-duplicates may cross" in capsys.readouterr().out


def test_stretches_are_taken_from_what_lists_name(
    recording: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):  # a short one stays as it is
        put_image(recording, f"images/hover/{number}.png", seed=number)
        put(recording, f"labels/hover/{number}.txt", "")
    put(recording, "train.lst", "flight\n")
    put(recording, "test.lst", "hover\n")
    flags = ("--train-list", "train.lst", "--test-list", "test.lst", "--val-from-train", "0.3", "--stretch", "5")
    assert import_set(recording, out, *flags) == 0
    seen = {split: boxes_seen(out, split) for split in ("train", "val", "test")}
    assert {split: len(sequences) for split, sequences in seen.items()} == {"train": 2, "val": 1, "test": 1}
    assert {len(frames) for frames in (seen["train"] | seen["val"]).values()} == {4}
    assert {name: len(frames) for name, frames in seen["test"].items()} == {"hover": 3}
    assert "sequences that were cut into stretches: 1 of 2;" in capsys.readouterr().out


def test_what_cannot_be_cut_into_stretches(source: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_stills(source, 4)
    split = ("--split", "train=0.5,val=0.5")
    assert import_set(source, out, *split, "--stretch", "2") == 1
    told = re.search(
        r"--stretch cuts sequences, and every image here stands alone: .* as --sequence-from (\S+) does of all of them",
        capsys.readouterr().err,
    )
    assert told is not None
    assert import_set(source, out, *split, "--stretch", "2", "--sequence-from", told[1]) == 0
    assert [list(boxes_seen(out, name)) for name in ("train", "val")] == [["images/0-1"], ["images/2-3"]]
    assert import_set(source, out.with_name("b"), "--stretch", "2", "--sequence-from", "f") == 1
    assert "the source says nothing of splits" in capsys.readouterr().err
    put_image(source, "images/f/0-1/9.png")
    put(source, "labels/f/0-1/9.txt", "")
    names = ("--sequence-from", r"/(f/0-1)|/(f)\d")
    assert import_set(source, out.with_name("b"), *split, "--stretch", "2", *names) == 1
    assert "a stretch of 'f' would be called 'f/0-1', as another sequence is" in capsys.readouterr().err


def test_a_gap_is_left_behind_each_cut(recording: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--split", "train=0.7,val=0.3", "--stretch", "4", "--gap")
    assert import_set(recording, out, *flags, "4") == 1
    assert "--gap 4 leaves nothing of the 4 frames of a stretch of 'flight'" in capsys.readouterr().err
    assert import_set(recording, out, *flags, "1") == 0
    assert "1 of 1; frames behind cuts that were left out: 2" in capsys.readouterr().out
    seen = boxes_seen(out, "train") | boxes_seen(out, "val")
    assert {name: len(frames) for name, frames in seen.items()} == {"flight/0-3": 4, "flight/5-7": 3, "flight/9-11": 3}
    assert import_set(recording, out.with_name("whole"), "--split", "train=1", "--stretch", "12") == 0
    assert "no sequence is longer than the 12 frames of --stretch" in capsys.readouterr().out


def test_lists_may_cut_a_sequence_where_it_is_cut_anyway(
    recording: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lists(train: range, val: range) -> tuple[str, ...]:
        put(recording, "train.lst", "".join(f"flight/{number:03d}\n" for number in train))
        put(recording, "val.lst", "".join(f"flight/{number:03d}\n" for number in val))
        return ("--train-list", "train.lst", "--val-list", "val.lst")

    assert import_set(recording, out, *lists(range(7), range(8, 12))) == 1
    assert "or cut it by --stretch" in capsys.readouterr().err
    assert import_set(recording, out, *lists(range(7), range(8, 12)), "--stretch", "4") == 0
    assert "1 frames are in no split" in capsys.readouterr().out
    assert {name: len(frames) for name, frames in boxes_seen(out, "train").items()} == {
        "flight/0-2": 3,
        "flight/3-6": 4,
    }
    assert {name: len(frames) for name, frames in boxes_seen(out, "val").items()} == {"flight/8-11": 4}
    mixed = lists(range(0, 12, 2), range(1, 12, 2))
    assert import_set(recording, out.with_name("b"), *mixed, "--stretch", "4") == 1
    assert "the frames of sequence 'flight' for train and val lie among one another" in capsys.readouterr().err


def test_no_cut_hides_frames_of_two_sizes(recording: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6, 12):
        put_image(recording, f"images/flight/{number:03d}.png", np.zeros((32, 48), np.uint8))
    for stretch in ((), ("--stretch", "6")):
        assert import_set(recording, out, "--split", "train=1", *stretch) == 1
        assert "the frames of sequence 'flight' must be of one size" in capsys.readouterr().err


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6), most=st.integers(1, 12), step=st.integers(1, 3))
def test_stretches_are_even_in_order_and_no_longer_than_asked(lengths: list[int], most: int, step: int) -> None:
    frames = [
        ImportedFrame(f"s{s}/{n}.png", f"s{s}", n * step, (8, 8), (), ())
        for s, length in enumerate(lengths)
        for n in reversed(range(length))
    ]
    done, cut = in_stretches(frames, most)
    assert cut == sum(length > most for length in lengths)
    assert [(frame.file, frame.frame_index) for frame in done] == [(frame.file, frame.frame_index) for frame in frames]
    for s, length in enumerate(lengths):
        mine = sorted((frame for frame in done if frame.file.startswith(f"s{s}/")), key=lambda f: f.frame_index)
        stretches = [len(list(group)) for _, group in itertools.groupby(mine, key=lambda frame: frame.sequence)]
        assert len(stretches) == len({frame.sequence for frame in mine}) == -(-length // most)
        assert max(stretches) <= most
        assert max(stretches) - min(stretches) <= 1


def test_one_video_says_that_it_has_to_be_cut(source: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_drone_csv_domain(source, splits={"train": 1}, frames=4)
    assert import_set(source, out, "--split", "train=0.7,val=0.1,test=0.2") == 1
    assert ONE_RECORDING + CLIPS in capsys.readouterr().err
    assert import_set(source, out) == 0
    assert f"train has nothing to spare for it: {CLIPS}" in capsys.readouterr().out


def test_too_few_images_say_so(source: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_stills(source, 2)
    assert import_set(source, out, "--split", "train=0.7,val=0.1,test=0.2") == 1
    assert "there are 2 images for 3 splits (train, val, test), and each needs one: label" in capsys.readouterr().err
