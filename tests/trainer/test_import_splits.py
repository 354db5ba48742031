"""Imports put whole sequences into splits, by lists or by shares, and leave nothing half-written."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loddis_runtime.command import run
from loddis_trainer.cli import Trainer
from loddis_trainer.cli_data import FormatName, Import
from loddis_trainer.data import DataError
from loddis_trainer.data.importers import FORMATS, ImportedFrame
from loddis_trainer.data.importers.splitting import check_whole_sequences, deal, split_by_shares
from loddis_trainer.data.readers import read_split
from loddis_trainer.public_sets import read_public_sets
from support.domains import write_coco_domain
from support.importing import boxes_seen, import_set, put, put_image, put_stills


@pytest.fixture
def clips(source: Path) -> Path:
    """Five sequences of three frames with a YOLO label each, and no word on splits."""
    for sequence in range(1, 6):
        for number in range(3):
            put_image(source, f"images/seq{sequence}/{number}.png", seed=number)
            put(source, f"labels/seq{sequence}/{number}.txt", "0 0.5 0.5 0.125 0.25\n")
    return source


SHARES = st.lists(st.floats(0.05, 1), min_size=1, max_size=3).map(lambda s: [x / max(1.0, sum(s)) for x in s])


@given(count=st.integers(1, 300), shares=SHARES, seed=st.integers(0, 9))
def test_dealing_is_disjoint_and_true_to_its_shares(count: int, shares: list[float], seed: int) -> None:
    groups = [f"g{number}" for number in range(count)]
    wanted = dict(zip(("train", "val", "test"), shares, strict=False))
    try:
        dealt = deal(groups, wanted, seed=seed)
    except DataError:
        assert any(share * count < 1 for share in shares)
        return
    assert set(dealt) <= set(groups)
    counts = {split: list(dealt.values()).count(split) for split in wanted}
    for split, share in wanted.items():
        assert abs(counts[split] - share * count) <= 1
    assert abs(len(dealt) - sum(shares) * count) <= 0.5 + 1e-6
    assert deal(list(reversed(groups)), wanted, seed=seed) == dealt


@given(
    lengths=st.lists(st.integers(1, 6), min_size=4, max_size=30), seed=st.integers(0, 5), share=st.floats(0.25, 0.75)
)
def test_frames_of_a_sequence_stay_together(lengths: list[int], seed: int, share: float) -> None:
    frames = [
        ImportedFrame(f"s{s}/{n}.png", f"s{s}", n, (8, 8), (), ())
        for s, length in enumerate(lengths)
        for n in range(length)
    ]
    done = split_by_shares(frames, {"train": share, "test": 1 - share}, seed=seed)
    check_whole_sequences(done)
    assert [frame.file for frame in done] == [frame.file for frame in frames]
    assert {frame.split for frame in done} == {"train", "test"}


def test_shares_split_whole_sequences_by_seed(clips: Path, out: Path) -> None:
    flags = ("--split", "train=0.6,val=0.2,test=0.2", "--seed", "4")
    assert import_set(clips, out, *flags) == 0
    splits = {split: boxes_seen(out, split) for split in ("train", "val", "test")}
    assert [len(seen) for seen in splits.values()] == [3, 1, 1]
    assert sorted(name for seen in splits.values() for name in seen) == [f"seq{n}" for n in range(1, 6)]
    assert all(len(frames) == 3 for seen in splits.values() for frames in seen.values())
    assert import_set(clips, out.with_name("again"), *flags) == 0
    assert boxes_seen(out.with_name("again"), "val") == splits["val"]


def test_stills_are_split_one_by_one_with_a_warning(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_stills(source, 10)
    assert run(Trainer, ["data", "import", str(source), str(out), "--split", "train=0.7,val=0.1,test=0.2"]) == 0
    streams = capsys.readouterr()
    assert "near-duplicates may cross from one split to another" in streams.err
    assert "recognised as yolo: labels/f0.txt has lines of class and four shares" in streams.out
    assert "median box side" in streams.out
    assert [len(boxes_seen(out, split)) for split in ("train", "val", "test")] == [7, 1, 2]


def test_sequences_by_pattern_and_stills_by_order(source: Path, out: Path) -> None:
    for name in ("a_2", "a_10", "b_1"):
        put_image(source, f"images/{name}.png")
        put(source, f"labels/{name}.txt", "0 0.5 0.5 0.125 0.25\n" if name == "a_10" else "")
    flags = ("--format", "yolo", "--sequence-from", r"(\w)_\d+", "--split", "train=1")
    assert import_set(source, out, *flags) == 0
    assert boxes_seen(out, "train") == {"a": [[], [(42, 24, 54, 40)]], "b": [[]]}
    index = read_split(out, "train")
    assert [[record.frame_index for record in sequence.records] for sequence in index.sequences] == [[2, 10], [1]]
    assert import_set(source, out.with_name("b"), *flags[:2], "--stills", "--split", "train=1") == 0
    assert len(boxes_seen(out.with_name("b"), "train")) == 3


def test_a_pattern_that_misses_a_path_names_it(clips: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_set(clips, out, "--sequence-from", r"seq([1-4])", "--split", "train=1") == 1
    assert "images/seq5/0.png: the sequence pattern 'seq([1-4])' does not match" in capsys.readouterr().err


def test_a_pattern_that_tells_every_image_apart_is_no_recording_s(
    clips: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert import_set(clips, out, "--sequence-from", ".*", "--split", "train=1") == 0
    assert "--sequence-from makes a sequence of every single image" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["{0}.{1:09d}", "00-00-{0:02d}.{1:09d}", "frame_{2:02d}_{0}_{1}"])
def test_a_fraction_of_a_second_is_no_place_in_a_recording(source: Path, out: Path, name: str) -> None:
    for number in range(30):
        second, fraction = divmod(number * 133_000_000, 1_000_000_000)
        file = "flight/" + name.format(second, fraction, number)
        put_image(source, f"images/{file}.png", seed=number)
        put(source, f"labels/{file}.txt", f"0 {0.2 + 0.02 * number:.2f} 0.5 0.125 0.25\n")
    assert import_set(source, out, "--split", "train=1") == 0
    ((_, frames),) = boxes_seen(out, "train").items()
    assert [box[0] for (box,) in frames] == sorted(box[0] for (box,) in frames)
    assert [record.frame_index for record in read_split(out, "train").sequences[0].records] == list(range(30))


def test_lists_name_sequences_paths_and_stems(clips: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(clips, "train_list.txt", "seq1\n/other/machine/images/seq2/0.png\nseq2/1\nimages\\seq2\\2.png\n")
    val = put(clips.parent, "v.txt", "seq3\n")
    assert import_set(clips, out, "--train-list", "train_list.txt", "--val-list", str(val)) == 0
    assert {name: len(frames) for name, frames in boxes_seen(out, "train").items()} == {"seq1": 3, "seq2": 3}
    assert list(boxes_seen(out, "val")) == ["seq3"]
    assert "6 frames are in no split and were left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("seq1\n", "seq2\nseq1/0\n", "test.txt, line 2 both name 'images/seq1/0.png', for train and test"),
        ("seq1/0\n", "seq1/1\n", "sequence 'seq1' is in the splits train and test"),
        ("seq1\nseq9\n", "", "train.txt, line 2: 'seq9' names no labelled frame and no sequence"),
        ("0\n", "", "train.txt, line 1: '0' may be images/seq1/0.png or images/seq2/0.png; name its folder too"),
        ("../seq1/0.png\n", "", "train.txt, line 1: '../seq1/0.png' leaves the source folder"),
        ("\n", "seq1\n", "train.txt lists nothing"),
    ],
)
def test_lists_that_contradict_or_name_nothing(
    clips: Path, out: Path, train: str, test: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = (str(put(clips.parent, "train.txt", train)), str(put(clips.parent, "test.txt", test)))
    assert import_set(clips, out, "--train-list", lists[0], "--test-list", lists[1]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in out.parent.iterdir()) == ["source", "test.txt", "train.txt"]


def test_val_is_taken_from_train_where_a_set_has_none(
    clips: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(clips, "train.lst", "seq1\nseq2\nseq3\nseq4\n")
    put(clips, "test.lst", "seq5\n")
    lists = ("--train-list", "train.lst", "--test-list", "test.lst")
    assert import_set(clips, out, *lists) == 0
    assert "there is no split 'val', which a training needs" in capsys.readouterr().out
    assert import_set(clips, out.with_name("b"), *lists, "--val-from-train", "0.25") == 0
    assert [len(boxes_seen(out.with_name("b"), split)) for split in ("train", "val", "test")] == [3, 1, 1]
    assert list(boxes_seen(out.with_name("b"), "test")) == ["seq5"]


@given(count=st.integers(3, 3000), short=st.integers(0, 2))
def test_the_share_that_a_refusal_asks_for_is_enough(count: int, short: int) -> None:
    groups = [f"g{number}" for number in range(count)]
    shares = {split: 0.01 / count if place == short else 1 / 3 for place, split in enumerate(("train", "val", "test"))}
    with pytest.raises(DataError) as caught:
        deal(groups, shares, seed=0)
    told = re.search(r"is none for '(\w+)': it takes a share of ([\d.]+)$", str(caught.value))
    assert told is not None
    dealt = deal(groups, {**dict.fromkeys(shares, 1 / 3), told[1]: float(told[2])}, seed=0)
    assert set(dealt.values()) == set(shares)


def test_val_cannot_be_taken_from_a_train_that_is_not_there(
    clips: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert import_set(clips, out, "--split", "test=1", "--val-from-train", "0.5") == 1
    assert "there is no split 'train' from which --val-from-train could take" in capsys.readouterr().err
    assert import_set(clips, out, "--split", "test=1") == 0
    assert "--val-from-train" not in capsys.readouterr().out


def test_what_cannot_be_split_or_recognised_says_why(
    clips: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(*flags: str, source: Path = clips) -> str:
        assert import_set(source, out, *flags) == 1
        return capsys.readouterr().err

    assert "says nothing of splits: give --split train=0.7,val=0.1,test=0.2" in refusal()
    assert "0.05 of 5 sequences is none for 'val': it takes a share of 0.2" in refusal("--split", "train=0.95,val=0.05")
    assert "there are: bird" in refusal("--split", "train=1", "--class-names", "bird", "--only", "plane")
    assert "source" in refusal(source=tmp_path / "gone")
    put(tmp_path, "odd/notes.md", "nothing")
    message = refusal(source=tmp_path / "odd")
    assert (
        "of no format that is known (coco, voc, yolo, masks, uestc, centroids, drone-csv); there are: 1 .md" in message
    )
    write_coco_domain(clips, splits={"train": 1})
    assert "may be several formats, say which by --format: coco (" in refusal()
    put(clips.parent, "names.txt", "seq1")
    both = ("--format", "yolo", "--split", "train=1", "--train-list", str(tmp_path / "names.txt"))
    assert "--split and lists of names both say what goes where" in refusal(*both)
    assert not out.exists()


@pytest.mark.parametrize("name", [name for name in (form.name for form in FORMATS) if name != "centroids"])
def test_a_source_without_a_frame_of_the_format_is_refused(
    name: str, source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(source, "notes.md", "nothing")
    assert import_set(source, out, "--format", name, "--split", "train=1") == 1
    assert "there are: 1 .md" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--split", "train=2"], "--split: a share is train, val or test and a number in (0, 1], got 'train=2'"),
        (["--split", "night=0.5"], "got 'night=0.5'"),
        (["--split", "train"], "--split: a share is written SPLIT=NUMBER, got 'train'"),
        (["--split", "train=0.7,test=0.7"], "--split: shares must not be more than 1 together"),
        (["--split", "train=0.2,train=0.7"], "--split: a split is given twice"),
        (["--category", "a"], "--category: a category is renamed as NAME=NEW, got 'a'"),
        (["--sequence-from", "("], "--sequence-from: '(' is no regular expression"),
        (["--sequence-from", "a", "--stills"], "--stills and --sequence-from both say what a sequence is"),
        (["--stretch", "9", "--stills"], "--stretch cuts sequences, and --stills leaves none"),
        (["--gap", "3"], "--gap is of the cuts that --stretch makes: give both"),
        (["--stretch", "1"], "--stretch: input should be greater than or equal to 2"),
        (["--format", "csv"], "--format: input should be 'auto', 'coco'"),
    ],
)
def test_flags_that_cannot_be_taken(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Trainer, ["data", "import", "a", "b", *flags]) == 2
    assert message in capsys.readouterr().err


def test_the_command_knows_every_format() -> None:
    assert FormatName.__args__[1:] == tuple(form.name for form in FORMATS)  # type: ignore[attr-defined]


def test_an_existing_folder_is_never_touched(clips: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(out, "mine.txt", "mine")
    assert import_set(clips, out, "--split", "train=1") == 1
    assert f"{out} exists already" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_nothing_is_left_when_writing_fails(clips: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("shutil.copyfile", full)
    assert import_set(clips, out, "--split", "train=1") == 1
    assert [path.name for path in out.parent.iterdir()] == ["source"]


def test_the_public_sets_are_listed_with_commands_that_parse(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Trainer, ["data", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    names = ["DAUB-R", "IRDST-H", "TSIRMT-M", "NUDT-MIRSDT", "SIRST (NUAA)", "IRSTD-1k", "NUDT-SIRST", "HIT-UAV"]
    assert [each["name"] for each in listed] == [*names, "Svanström"]
    parsed: list[Import] = []
    monkeypatch.setattr(Import, "cli_cmd", lambda self: parsed.append(self))
    for each in listed:
        words = shlex.split(each["command"])
        assert words[:3] == ["loddis-trainer", "data", "import"]
        assert run(Trainer, words[1:]) == 0, each["command"]
        assert all(each[field] for field in ("what", "size", "where", "licence"))
    assert len(parsed) == len(listed)
    assert all(command.format != "auto" for command in parsed)
    assert run(Trainer, ["data", "list"]) == 0
    assert "CC BY 4.0" in capsys.readouterr().out
    assert len(read_public_sets()) == 9


def test_a_group_names_its_sub_commands_as_they_are_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Trainer, ["data"]) == 2
    assert (
        capsys.readouterr().err
        == "loddis-trainer data: error: a sub-command is required, one of: import, inspect, list\n"
    )


def test_the_commands_import_no_torch() -> None:
    code = (
        "import sys, loddis_trainer.cli_data, loddis_trainer.public_sets; assert not {'torch', 'av'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_the_real_clips_come_back_as_they_were(loddis_data: Path, out: Path) -> None:
    assert import_set(loddis_data / "city", out, "--link") == 0
    before, after = read_split(loddis_data / "city", "val"), read_split(out, "val")
    assert [sequence.name for sequence in after.sequences] == [sequence.name for sequence in before.sequences]
    for mine, theirs in zip(after.sequences, before.sequences, strict=True):
        for one, other in zip(mine.records, theirs.records, strict=True):
            assert one.frame_index == other.frame_index
            assert one.boxes_xyxy.tolist() == other.boxes_xyxy.tolist()
            assert one.labels == other.labels
