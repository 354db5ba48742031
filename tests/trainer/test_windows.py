"""Windows are what a camera showed: frames that came just before, labelled or not, and nothing over a hole."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from loddis_runtime import Detector, load
from loddis_runtime.frames import Frame
from loddis_runtime.intensity import FullRange
from loddis_trainer.data import AugmentConfig, DataError, DomainDataset, MixedDomain, Mixture, TrainingSamples, join
from loddis_trainer.data.samples import Draw
from loddis_trainer.evaluate import collect_results
from loddis_trainer.fit import fit
from loddis_trainer.step import train_step
from support.bundles import write_spot_bundle
from support.domains import SIZE_HW, write_coco_domain, write_drone_csv_domain
from support.fitting import short_run
from support.recordings import write_video

FRAMES = 12


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Detector]:
    """Give a model that sees five frames."""
    with load(write_spot_bundle(tmp_path_factory.mktemp("bundles"), window=5), device="cpu") as opened:
        yield opened


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_drone_csv_domain(tmp_path / "video", splits={"train": 2, "val": 1}, frames=FRAMES)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_coco_domain(tmp_path / "clip", splits={"train": 1}, clips=True, frames_per_clip=FRAMES)


def open_domain(root: Path, split: str = "train") -> DomainDataset:
    return DomainDataset.open(root, split, cache_dir=root.parent / "cache", progress=False)


def pixels(dataset: DomainDataset, sequence: str) -> dict[int, Frame]:
    """Copy the frames of a sequence, by place."""
    numbers = dataset.sequences[sequence]
    return {dataset.records[number].frame_index: dataset.frame(number).copy() for number in numbers}


def label_only(root: Path, kept: Collection[int], name: str = "TRAIN_000") -> None:
    """Leave the labels of these frames of a video."""
    table = root / "labels" / f"{name}.csv"
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([head, *(row for row in rows if int(row.split(",")[0]) in kept)]) + "\n")


def take_out(root: Path, gone: Collection[int]) -> None:
    """Take frames out of a clip, and their images."""
    path = root / "instances_train.json"
    document = json.loads(path.read_text())
    images = [image for image in document["images"] if image["frame_id"] not in gone]
    ids = {image["id"] for image in images}
    for image in document["images"]:
        if image["id"] not in ids:
            (root / "images" / image["file_name"]).unlink()
    document["images"] = images
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] in ids]
    path.write_text(json.dumps(document))


def places(window: list[Frame], known: dict[int, Frame]) -> list[int]:
    """Say which frames of a sequence a window shows."""
    return [next(place for place, frame in known.items() if np.array_equal(frame, shown)) for shown in window]


def shown(dataset: DomainDataset, known: dict[int, Frame], length: int, sequence: str) -> dict[int, list[int]]:
    """Give the places that the window of each labelled frame of a sequence shows, by its own place."""
    numbers = dataset.sequences[sequence]
    return {dataset.records[number].frame_index: places(dataset.window(number, length), known) for number in numbers}


def test_a_window_of_a_video_shows_frames_without_label_too(video: Path) -> None:
    whole = pixels(open_domain(video), "TRAIN_000")
    label_only(video, [0, 1, 2, 4, 5, 6, 8, 9, 10])
    assert shown(open_domain(video), whole, 5, "TRAIN_000") == {
        0: [0, 0, 0, 0, 0],
        1: [0, 0, 0, 0, 1],
        2: [0, 0, 0, 1, 2],
        **{place: list(range(place - 4, place + 1)) for place in (4, 5, 6, 8, 9, 10)},
    }


def test_frames_before_the_first_label_are_seen_and_others_stay_unread(video: Path, tmp_path: Path) -> None:
    whole = pixels(open_domain(video), "TRAIN_000")
    label_only(video, [2, 11])
    dataset = open_domain(video)
    assert shown(dataset, whole, 3, "TRAIN_000") == {2: [0, 1, 2], 11: [9, 10, 11]}
    assert shown(dataset, whole, 5, "TRAIN_000") == {2: [0, 0, 0, 1, 2], 11: [7, 8, 9, 10, 11]}
    assert stored(tmp_path) == {3: 4, 5: 6}  # 0, 1, 9, 10; for five also 7 and 8: no window shows 3 to 6
    assert shown(open_domain(video), whole, 3, "TRAIN_000") == {2: [0, 1, 2], 11: [9, 10, 11]}
    assert stored(tmp_path) == {3: 4, 5: 6}  # neither took the other's place


def stored(folder: Path) -> dict[int, int]:
    """Count the frames without label that caches of a video domain hold, by the length of the windows they are for."""
    counts = {}
    for cache in (folder / "cache").glob("video-train-unlabelled-*"):
        with np.load(cache / "index.npz") as index:
            counts[int(cache.name.split("-")[3])] = len(index["offsets"])
    return counts


def test_a_window_of_a_clip_begins_afresh_after_a_missing_frame(clip: Path) -> None:
    whole = pixels(open_domain(clip), "train_0")
    take_out(clip, [3, 7, 8])
    assert shown(open_domain(clip), whole, 3, "train_0") == {
        0: [0, 0, 0],
        1: [0, 0, 1],
        2: [0, 1, 2],
        4: [4, 4, 4],
        5: [4, 4, 5],
        6: [4, 5, 6],
        9: [9, 9, 9],
        10: [9, 9, 10],
        11: [9, 10, 11],
    }


def test_a_clip_of_every_third_image_of_a_recording_has_no_gaps(clip: Path) -> None:
    whole = pixels(open_domain(clip), "train_0")
    take_out(clip, [place for place in range(FRAMES) if place % 3])
    dataset = open_domain(clip)
    assert dataset.count_gaps() == 0
    assert shown(dataset, whole, 3, "train_0") == {0: [0, 0, 0], 3: [0, 0, 3], 6: [0, 3, 6], 9: [3, 6, 9]}


def test_a_window_begins_afresh_with_another_dtype(clip: Path) -> None:
    path = sorted((clip / "images" / "train_0").iterdir())[4]
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 257)
    dataset = open_domain(clip)
    assert [frame.dtype.name for frame in dataset.window(4, 3)] == ["uint16"] * 3
    assert [frame.dtype.name for frame in dataset.window(5, 3)] == ["uint8"] * 3
    assert places(dataset.window(6, 3), pixels(dataset, "train_0")) == [5, 5, 6]


@pytest.mark.parametrize("gone", [(), (0,), (5,), (2, 3, 9), (1, 3, 5, 7)])
def test_clips_are_measured_as_a_stream_is_watched(clip: Path, detector: Detector, gone: tuple[int, ...]) -> None:
    take_out(clip, gone)
    dataset = open_domain(clip)
    with detector.stream() as stream:
        for number, record in enumerate(dataset.records):
            live, window = stream.prepare(dataset.frame(number), frame_index=record.frame_index)
            measured = detector.prepare_window(dataset.window(number, 5))
            assert np.array_equal(measured.tensor, live.tensor), (record.frame_index, window)


def test_videos_are_measured_as_a_stream_is_watched(video: Path, detector: Detector) -> None:
    whole = pixels(open_domain(video), "TRAIN_000")
    label_only(video, [1, 2, 6, 7, 11])
    dataset = open_domain(video)
    labelled = {dataset.records[number].frame_index: number for number in dataset.sequences["TRAIN_000"]}
    with detector.stream() as stream:
        for place, frame in whole.items():
            live, _ = stream.prepare(frame, frame_index=place)
            if place in labelled:
                measured = detector.prepare_window(dataset.window(labelled[place], 5))
                assert np.array_equal(measured.tensor, live.tensor), place


def test_frames_without_label_are_decoded_once_and_only_for_windows(video: Path, tmp_path: Path) -> None:
    label_only(video, [0, 4, 8])
    dataset = open_domain(video)
    dataset.prepare_windows(1)
    assert len(dataset.window(0, 1)) == 1
    (labelled,) = (tmp_path / "cache").iterdir()
    stamp = (labelled / "frames.bin").stat().st_mtime_ns
    dataset.prepare_windows(3)
    (other,) = set((tmp_path / "cache").iterdir()) - {labelled}
    built = (other / "frames.bin").stat().st_mtime_ns
    again = open_domain(video)
    again.window(1, 3)
    assert set((tmp_path / "cache").iterdir()) == {labelled, other}
    assert (labelled / "frames.bin").stat().st_mtime_ns == stamp
    assert (other / "frames.bin").stat().st_mtime_ns == built


def test_a_changed_label_brings_the_frames_that_it_needs(video: Path, tmp_path: Path) -> None:
    whole = pixels(open_domain(video), "TRAIN_000")
    for kept in ([0, 11], [0, 6]):
        label_only(video, {*kept})
        assert shown(open_domain(video), whole, 3, "TRAIN_000")[kept[1]] == [kept[1] - 2, kept[1] - 1, kept[1]]
        (video / "labels" / "TRAIN_000.csv").write_text(
            (video / "labels" / "TRAIN_000.csv").read_text().replace("\n11,", "\n6,")
        )
    assert len(list((tmp_path / "cache").glob("video-train-unlabelled-*"))) == 1


def test_domains_without_gaps_have_nothing_else_decoded(clip: Path, tmp_path: Path) -> None:
    write_drone_csv_domain(tmp_path / "full", splits={"train": 1}, frames=4)
    write_coco_domain(tmp_path / "stills", splits={"train": 2})
    for root, split in ((clip, "train"), (tmp_path / "full", "train"), (tmp_path / "stills", "train")):
        dataset = open_domain(root, split)
        dataset.prepare_windows(5)
        for name, numbers in dataset.sequences.items():
            for place, number in enumerate(numbers):
                expected = [dataset.frame(numbers[max(0, place - back)]) for back in range(4, -1, -1)]
                assert all(map(np.array_equal, dataset.window(number, 5), expected)), name
        assert dataset.count_gaps() == 0
    assert not list((tmp_path / "cache").glob("*unlabelled*"))


def test_a_share_of_a_split_and_splits_as_one_keep_their_windows(video: Path, clip: Path) -> None:
    whole = pixels(open_domain(video), "TRAIN_001")
    label_only(video, [0, 5, 9], "TRAIN_001")
    kept = open_domain(video).keep(["TRAIN_001"])
    assert shown(kept, whole, 3, "TRAIN_001") == {0: [0, 0, 0], 5: [3, 4, 5], 9: [7, 8, 9]}
    joined = join([open_domain(clip), kept])
    assert places(joined.window(FRAMES + 1, 3), whole) == [3, 4, 5]


def test_a_share_of_a_split_has_no_other_videos_decoded(video: Path, tmp_path: Path) -> None:
    label_only(video, [0, 5, 9], "TRAIN_000")
    label_only(video, [0, 6], "TRAIN_001")
    dataset = open_domain(video)
    dataset.keep(["TRAIN_001"]).prepare_windows(3)
    assert stored(tmp_path) == {3: 2}
    (tmp_path / "cache").rename(tmp_path / "other")
    share = dataset.take(0.1, seed=0)
    share.prepare_windows(3)
    assert stored(tmp_path) == {3: {"TRAIN_000": 4, "TRAIN_001": 2}["".join(share.sequences)]}


def colour(path: Path, first: int, last: int) -> None:
    """Turn some frames of a video to colour."""
    frames = [np.full((*SIZE_HW, 3), 100, np.uint8) for _ in range(FRAMES)]
    for frame in frames[first : last + 1]:
        frame[..., 0] = 200
    write_video(path, frames, codec="libx264rgb", array_format="rgb24", options={"qp": "0"})


def test_a_frame_that_no_window_shows_is_not_looked_at(video: Path) -> None:
    label_only(video, range(6, FRAMES))
    colour(video / "videos" / "TRAIN_000.mp4", 2, 3)
    dataset = open_domain(video)
    dataset.prepare_windows(3)
    assert len(dataset.window(0, 3)) == 3
    with pytest.raises(DataError, match=r"TRAIN_000\.mp4, frame 2: true colour is refused"):
        dataset.window(0, 5)


@pytest.mark.parametrize("kind", ["video", "clip"])
def test_a_split_goes_to_processes_that_are_not_forked(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    root: Path = request.getfixturevalue(kind)
    if kind == "video":
        label_only(root, [0, 4, 8])
    dataset = open_domain(root)
    sent = pickle.dumps(dataset)
    assert len(sent) < sum(dataset.frame(number).nbytes for number in range(len(dataset))), "frames stay on the disk"
    other: DomainDataset = pickle.loads(sent)
    for number in range(len(dataset)):
        assert np.array_equal(other.frame(number), dataset.frame(number))
        assert all(map(np.array_equal, other.window(number, 3), dataset.window(number, 3)))
    dataset.prepare_windows(3)
    monkeypatch.setattr("loddis_trainer.data.cache.FrameCache.open", None)  # what is decoded is not asked for again
    prepared: DomainDataset = pickle.loads(pickle.dumps(dataset))
    assert all(map(np.array_equal, prepared.window(1, 3), dataset.window(1, 3)))


def test_a_training_has_what_validations_see_before_its_first_step(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_only(video, [0, 4, 8], "VAL_000")
    there: list[int] = []

    def step(*args: Any, **options: Any) -> Any:
        there.append(len(list((tmp_path / "cache").glob("video-val-unlabelled-3-*"))))
        return train_step(*args, **options)

    monkeypatch.setattr("loddis_trainer.fit.train_step", step)
    wanted = {"task": ["video"], "auxiliary": [], "window": 3, "epochs": 1, "steps_per_epoch": 1}
    fit(short_run(tmp_path, tmp_path / "run", **wanted), progress=False)
    assert there == [1]


def test_a_measurement_decodes_what_windows_show_before_its_bar(
    video: Path, clip: Path, tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_only(video, [0, 5, 9], "TRAIN_001")
    there: list[int] = []

    def bar(work: Iterable[int], **_: object) -> Iterable[int]:
        there.append(len(stored(tmp_path)))
        return work

    monkeypatch.setattr("loddis_trainer.evaluate.track", bar)
    dataset = join([open_domain(clip), open_domain(video)])
    collect_results(detector, dataset, numbers=[0, FRAMES + 1], measure=False, progress=True)
    assert there == [1]


def test_samples_show_the_same_and_decode_before_loaders_are_forked(video: Path, tmp_path: Path) -> None:
    whole = pixels(open_domain(video), "TRAIN_000")
    label_only(video, [0, 4, 8])
    mixture = Mixture((MixedDomain(open_domain(video), "task", 1.0),))

    def samples(window: int) -> TrainingSamples:
        return TrainingSamples(
            mixture, size_hw=(64, 96), window=window, intensity=FullRange(), augmentation=AugmentConfig(), seed=0
        )

    assert samples(1)[Draw(0, 1, 0)][0].shape == (1, 64, 96)
    assert not list((tmp_path / "cache").glob("*unlabelled*"))
    seen = samples(3)
    assert len(list((tmp_path / "cache").glob("*unlabelled*"))) == 1
    frames = seen[Draw(0, 1, 0)][0].numpy()
    expected = np.stack([whole[place] for place in (2, 3, 4)]).astype(np.float32) / 255
    assert np.abs(frames - expected).max() < 1e-6


def test_many_gaps_are_told_before_a_training_on_windows(
    clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take_out(clip, range(1, FRAMES - 2, 2))  # the last two stay
    dataset = open_domain(clip)
    assert dataset.count_gaps() == 5
    for window in (1, 3):
        with caplog.at_level(logging.WARNING):
            TrainingSamples(
                Mixture((MixedDomain(dataset, "task", 1.0),)),
                size_hw=(64, 96),
                window=window,
                intensity=FullRange(),
                augmentation=AugmentConfig(),
                seed=0,
            )
        assert ("clip:train: 5 of 7 frames follow on a gap" in caplog.text) == (window > 1)


@pytest.mark.parametrize("length", [0, 6])
def test_a_length_that_no_model_sees_is_refused(clip: Path, length: int) -> None:
    with pytest.raises(ValueError, match=f"a window has 1 to 5 frames, got {length}"):
        open_domain(clip).window(0, length)


def test_a_video_that_changed_below_its_labels_is_refused_by_name(video: Path) -> None:
    label_only(video, [0, 8])
    dataset = open_domain(video)
    path = video / "videos" / "TRAIN_000.mp4"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(DataError, match=r"TRAIN_000\.mp4"):
        dataset.window(1, 3)
