"""From cached frames to batches: nothing lost, nothing invented, the same every time."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loddis_runtime.intensity import FullRange
from loddis_trainer.data import (
    AugmentConfig,
    DataError,
    DomainDataset,
    EpochPlan,
    Mixture,
    TrainingLoader,
    TrainingSamples,
)
from loddis_trainer.data.augment import augment
from loddis_trainer.data.cache import FrameCache, default_cache_dir
from loddis_trainer.data.samples import Draw
from loddis_trainer.domain_spec import DomainSpec, describe_share
from support.domains import spot_frame, write_coco_domain, write_drone_csv_domain


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("domains")
    write_drone_csv_domain(root / "dark", splits={"train": 10, "val": 1}, frames=4)
    write_coco_domain(root / "bright", splits={"train": 6, "val": 1})
    write_coco_domain(root / "clips", splits={"train": 2, "val": 1}, clips=True)
    write_coco_domain(root / "deep", splits={"train": 2}, bits=16)
    return root


def open_mixture(root: Path, task: list[str], auxiliary: list[str] | None = None) -> Mixture:
    return Mixture.open(
        task, auxiliary or [], split="train", seed=0, data_root=root, cache_dir=root / "cache", progress=False
    )


def make_loader(
    root: Path,
    *,
    plan: EpochPlan,
    augmentation: AugmentConfig | None = None,
    workers: int = 0,
    window: int = 1,
    rank: int = 0,
    world_size: int = 1,
) -> TrainingLoader:
    mixture = open_mixture(root, ["dark"], ["bright", "clips"])
    samples = TrainingSamples(
        mixture,
        size_hw=(64, 64),
        window=window,
        intensity=FullRange(),
        augmentation=augmentation or AugmentConfig(),
        seed=0,
    )
    return TrainingLoader(samples, plan, rank=rank, world_size=world_size, workers=workers)


def test_the_cache_is_built_once_and_anew_when_a_source_changes(tmp_path: Path) -> None:
    domain = write_coco_domain(tmp_path / "domain", splits={"train": 2})
    cache = tmp_path / "cache"
    first = DomainDataset.open(domain, "train", cache_dir=cache, progress=False)
    folder = next(cache.iterdir())
    stamp = (folder / "frames.bin").stat().st_mtime_ns
    DomainDataset.open(domain, "train", cache_dir=cache, progress=False)
    assert (folder / "frames.bin").stat().st_mtime_ns == stamp
    assert [entry.name for entry in cache.iterdir()] == [folder.name]
    cv2.imwrite(str(domain / "images" / "train_0000.png"), np.zeros((64, 96), np.uint8))
    changed = DomainDataset.open(domain, "train", cache_dir=cache, progress=False)
    assert changed.frame(0).max() == 0
    assert first.frame(0).max() > 0  # mapped, it is there until it is let go
    assert folder not in cache.iterdir()
    assert len(list(cache.iterdir())) == 1


def test_a_new_cache_removes_none_but_those_of_its_own_files(tmp_path: Path) -> None:
    domain = write_coco_domain(tmp_path / "domain", splits={"train": 3, "val": 2})
    twin = tmp_path / "other" / "domain"
    shutil.copytree(domain, twin)
    cache = tmp_path / "cache"
    for root, split, sequences in ((domain, "val", None), (twin, "train", None), (domain, "train", 1)):
        names = DomainDataset.open(root, split, cache_dir=cache, progress=False).sequences
        if sequences:
            DomainDataset.open(root, split, cache_dir=cache, progress=False, sequences=list(names)[:sequences])
    there = set(cache.iterdir())
    assert len(there) == 4
    image = domain / "images" / "train_0002.png"
    image.touch()
    DomainDataset.open(domain, "train", cache_dir=cache, progress=False)
    assert len(there & set(cache.iterdir())) == 3
    assert len(list(cache.iterdir())) == 4


def test_a_cache_that_cannot_be_built_leaves_nothing_behind(tmp_path: Path) -> None:
    domain = write_coco_domain(tmp_path / "domain", splits={"train": 2})
    (domain / "images" / "train_0001.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"train_0001\.png"):
        DomainDataset.open(domain, "train", cache_dir=tmp_path / "cache", progress=False)
    assert list((tmp_path / "cache").iterdir()) == []
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        DomainDataset.open(domain, "train", cache_dir=in_the_way, progress=False)


def test_mixed_sizes_and_depths_share_a_cache(tmp_path: Path) -> None:
    domain = write_coco_domain(tmp_path / "domain", splits={"train": 2})
    wide = np.random.default_rng(0).integers(0, 65536, (80, 120)).astype(np.uint16)
    cv2.imwrite(str(domain / "images" / "train_0001.png"), wide)
    document = json.loads((domain / "instances_train.json").read_text())
    document["images"][1].update(height=80, width=120)
    (domain / "instances_train.json").write_text(json.dumps(document))
    dataset = DomainDataset.open(domain, "train", cache_dir=tmp_path / "cache", progress=False)
    frames = {dataset.frame(i).dtype.name: dataset.frame(i) for i in range(2)}
    assert frames["uint8"].shape == (64, 96)
    assert np.array_equal(frames["uint16"], wide)


def test_sixteen_bits_survive_to_the_sample(root: Path) -> None:
    dataset = DomainDataset.open("deep", "train", data_root=root, cache_dir=root / "cache", progress=False)
    assert dataset.frame(0).dtype == np.uint16
    assert int(dataset.frame(0).max()) > 255


def test_colour_is_refused_with_its_file(tmp_path: Path) -> None:
    domain = write_coco_domain(tmp_path / "domain", splits={"train": 1})
    cv2.imwrite(str(domain / "images" / "train_0000.png"), np.random.default_rng(0).integers(0, 255, (64, 96, 3)))
    with pytest.raises(DataError, match=r"train_0000\.png, frame 0: .*colour"):
        DomainDataset.open(domain, "train", cache_dir=tmp_path / "cache", progress=False)


def test_the_cache_goes_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LODDIS_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("LODDIS_CACHE")
    assert default_cache_dir().name == "loddis"


def test_the_loser_of_a_race_takes_the_winners_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = write_coco_domain(tmp_path / "domain", splits={"train": 2})
    expected = DomainDataset.open(domain, "train", cache_dir=tmp_path / "a", progress=False).frame(0).copy()
    winner = next((tmp_path / "a").iterdir())
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        if self.name.startswith(".domain"):  # someone else was faster, just now
            Path(target).mkdir(parents=True)
            for file in winner.iterdir():
                (target / file.name).write_bytes(file.read_bytes())
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    dataset = DomainDataset.open(domain, "train", cache_dir=tmp_path / "b", progress=False)
    assert np.array_equal(dataset.frame(0), expected)
    assert len(list((tmp_path / "b").iterdir())) == 1


def test_a_larger_share_holds_the_smaller_one_by_whole_sequences(root: Path) -> None:
    dataset = open_mixture(root, ["dark"]).domains[0].dataset
    shares = [dataset.take(fraction, seed=3) for fraction in (0.01, 0.3, 0.7, 1.0)]
    names = [set(share.sequences) for share in shares]
    assert [len(n) for n in names] == [1, 3, 7, 10]
    assert all(small <= large for small, large in pairwise(names))
    assert all(len(share) == 4 * len(share.sequences) for share in shares)
    assert set(dataset.take(0.3, seed=4).sequences) != names[1]
    kept = shares[1]
    for name, numbers in kept.sequences.items():
        for mine, theirs in zip(numbers, dataset.sequences[name], strict=True):
            assert np.array_equal(kept.frame(mine), dataset.frame(theirs))
            assert kept.sequence_of(mine) == name
    with pytest.raises(DataError, match=r"must be in \(0, 1\], got 0"):
        dataset.take(0, seed=0)
    with pytest.raises(DataError, match="has no sequence 'X'"):
        dataset.keep(["X"])
    with pytest.raises(DataError, match="has no sequence 'X'"):
        DomainDataset.open("dark", "train", data_root=root, cache_dir=root / "cache", sequences=["X"])


def test_a_share_is_of_the_frames_however_long_sequences_are(root: Path) -> None:
    dataset = open_mixture(root, ["dark"]).domains[0].dataset  # 40 frames
    ends = np.cumsum([0, 1, 2, 3, 4, 5, 6, 19])
    uneven = replace(dataset, sequences={f"S{i}": tuple(range(*ends[i : i + 2])) for i in range(7)})
    for seed in range(20):
        taken = uneven.take(0.3, seed=seed)
        assert len(taken) == sum(len(uneven.sequences[name]) for name in taken.sequences)
        assert abs(len(taken) - 12) <= 9.5  # half of the longest
    assert len({frozenset(uneven.take(0.3, seed=seed).sequences) for seed in range(20)}) > 5
    assert len(uneven.take(1.0, seed=0)) == 40


def test_a_mixture_numbers_its_domains_tasks_first(root: Path) -> None:
    mixture = open_mixture(root, ["dark:0.3"], ["bright:0.5", "clips"])
    assert [d.dataset.name for d in mixture.domains] == ["dark", "bright", "clips"]
    assert [d.role for d in mixture.domains] == ["task", "auxiliary", "auxiliary"]
    assert mixture.label == "3DA+5BR+10CL"
    assert [(d.sequences_there, d.share) for d in mixture.domains] == [(10, 0.3), (6, 0.5), (2, 1.0)]
    assert "dark (task) 12 frames of 3 sequences" in mixture.describe()
    with pytest.raises(DataError, match="needs a task domain"):
        open_mixture(root, [])
    with pytest.raises(DataError, match="bright' is auxiliary and task domain at once"):
        open_mixture(root, ["bright"], [str(root / "bright")])


def test_a_share_that_whole_sequences_do_not_allow_is_told_as_it_was_taken(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mixture = open_mixture(root, ["dark:0.32"], ["clips:0.01"])
    assert [d.share for d in mixture.domains] == [0.3, 0.5]
    assert mixture.label == "3DA+5CL"
    told = "domain clips: 4 of 8 frames are taken, 50 % (1 % asked): only whole sequences are, 1 of 2"
    assert [record.getMessage() for record in caplog.records] == [told]


@pytest.mark.parametrize(
    ("taken", "asked", "text"),
    [
        (0.3, 0.3, "30 %"),
        (0.2981, 0.3, "29.8 %"),
        (1 / 3, 0.01, "33.3 % (1 % asked)"),
        (1.0, 0.9, "100 % (90 % asked)"),
    ],
)
def test_shares_are_written_with_what_was_asked_where_that_is_another(taken: float, asked: float, text: str) -> None:
    assert describe_share(taken, asked) == text


@pytest.mark.parametrize("text", ["sky:", "sky:0", "sky:1.1", "sky:-1", ":0.3", "sky:a", "sky:nan"])
def test_a_domain_written_wrongly_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a domain is written NAME or NAME:FRACTION"):
        DomainSpec.parse(text)


def test_domains_are_written_as_in_the_paper() -> None:
    assert DomainSpec.parse("irdst:0.3") == DomainSpec("irdst", 0.3)
    assert DomainSpec.parse("irdst") == DomainSpec("irdst", 1.0)


def test_an_epoch_draws_no_frame_twice_and_another_epoch_draws_others(root: Path) -> None:
    loader = make_loader(root, plan=EpochPlan(batch_size=4, share_per_epoch=0.5))
    assert loader.steps_per_epoch == (40 + 6 + 8) // 2 // 4
    first, second = ([draw[:2] for batch in loader.draws(epoch) for draw in batch] for epoch in (0, 1))
    assert len(set(first)) == len(first) == 24
    assert set(first) != set(second)
    assert [d[:2] for batch in loader.draws(0) for d in batch] == first


def test_batches_by_domain_hold_fixed_shares(root: Path) -> None:
    plan = EpochPlan(batch_size=10, share_per_epoch=1.0, balance="domain", task_share=0.6)
    loader = make_loader(root, plan=plan)
    for batch in loader.draws(0):
        assert Counter(draw.domain for draw in batch) == {0: 6, 1: 2, 2: 2}
    # A domain that runs out begins again, and no frame comes a third time before all came twice.
    drawn = Counter(draw.number for batch in loader.draws(0) for draw in batch if draw.domain == 1)
    assert max(drawn.values()) - min(drawn.values()) <= 1


@settings(max_examples=40, deadline=None)
@given(batch_size=st.integers(3, 40), task_share=st.floats(0.01, 0.99))
def test_every_domain_has_a_place_in_every_batch(root: Path, batch_size: int, task_share: float) -> None:
    plan = EpochPlan(batch_size=batch_size, balance="domain", task_share=task_share)
    counts = make_loader(root, plan=plan)._domain_counts(task_share)
    assert sum(counts) == batch_size
    assert min(counts) >= 1


def test_the_share_of_the_task_moves_to_its_end_over_half_of_all_epochs(root: Path) -> None:
    plan = EpochPlan(
        batch_size=20, steps_per_epoch=10, balance="domain", task_share=0.5, final_task_share=0.9, epochs=3
    )
    loader = make_loader(root, plan=plan)
    batches = [batch for epoch in range(3) for batch in loader.draws(epoch)]
    of_task = [sum(draw.domain == 0 for draw in batch) for batch in batches]
    assert all(len(batch) == 20 for batch in batches)
    assert of_task == sorted(of_task)
    assert (of_task[0], of_task[8], of_task[15], of_task[-1]) == (10, 14, 18, 18)
    assert len({draw for batch in batches for draw in batch}) == 600  # nothing is drawn twice alike


def test_a_training_may_end_on_the_task_alone(root: Path) -> None:
    plan = EpochPlan(batch_size=8, steps_per_epoch=20, balance="domain", task_share=0.5, final_task_share=1.0, epochs=2)
    loader = make_loader(root, plan=plan)
    domains = [Counter(draw.domain for draw in batch) for epoch in range(2) for batch in loader.draws(epoch)]
    assert domains[0] == {0: 4, 1: 2, 2: 2}
    assert min(min(counts[domain] for domain in range(3)) for counts in domains[:20]) == 1
    assert domains[20:] == [{0: 8}] * 20


@pytest.mark.parametrize("balance", ["natural", "domain"])
def test_an_epoch_of_so_many_steps_draws_again_what_runs_out(root: Path, balance: Literal["natural", "domain"]) -> None:
    plan = EpochPlan(batch_size=6, steps_per_epoch=40, balance=balance, task_share=0.5)
    loader = make_loader(root, plan=plan, augmentation=AugmentConfig(noise=0.1))
    draws = [draw for batch in loader.draws(0) for draw in batch]
    assert loader.steps_per_epoch == 40
    assert len(draws) == len(set(draws)) == 240  # the same frame again is another draw …
    again = next(draw for draw in draws if draw.turn == 1)
    one, other = (loader.samples[draw][0] for draw in (again._replace(turn=0), again))
    assert not torch.equal(one, other)  # … and looks different


def test_processes_share_an_epoch_without_overlap(root: Path) -> None:
    def drawn(**place: int) -> set[tuple[int, int]]:
        loader = make_loader(root, plan=EpochPlan(batch_size=4, share_per_epoch=1.0), **place)
        return {(draw.domain, draw.number) for batch in loader.draws(0) for draw in batch}

    whole, *parts = drawn(world_size=1), drawn(rank=0, world_size=2), drawn(rank=1, world_size=2)
    assert parts[0].isdisjoint(parts[1])
    assert len(parts[0]) == len(parts[1])
    assert parts[0] | parts[1] <= whole


@pytest.mark.parametrize("balance", ["natural", "domain"])
def test_draws_know_how_far_the_training_is(root: Path, balance: Literal["natural", "domain"]) -> None:
    plan = EpochPlan(batch_size=6, steps_per_epoch=20, balance=balance, task_share=0.5, epochs=2)
    loader = make_loader(root, plan=plan)
    progress = [draw.progress for epoch in (0, 1, 2) for batch in loader.draws(epoch) for draw in batch]
    assert progress == sorted(progress)
    assert progress[0] == 0
    assert progress[120] == pytest.approx(0.5)
    assert progress[240] == pytest.approx(1)


def test_noise_grows_as_the_training_goes_on(root: Path) -> None:
    """All at once, it hides dim targets from a detector that has not seen one yet, which then learns nothing at all."""

    def noise(progress: float, **changes: float) -> float:
        asked = AugmentConfig(noise=0.2, **changes)
        samples = make_loader(root, plan=EpochPlan(batch_size=4), augmentation=asked).samples
        draw = Draw(0, 3, 0, progress=progress)
        return float((samples[draw][0] - samples.unchanged()[draw][0]).std())

    full = noise(1.0)
    assert full > 0.001
    assert noise(0.0) == 0
    assert noise(0.25) == pytest.approx(full / 4, rel=0.1)
    assert noise(0.5) == noise(0.7) == full
    assert noise(0.0, noise_ramp=0.0) == full
    assert not AugmentConfig(noise_ramp=0.3).active


def test_a_mixture_too_small_for_a_batch_says_so(root: Path) -> None:
    with pytest.raises(DataError, match=r"0\.01 of 54 frames does not fill a batch of 4"):
        make_loader(root, plan=EpochPlan(batch_size=4, share_per_epoch=0.01))


def test_a_batch_too_small_for_the_domains_says_so(root: Path) -> None:
    """Else a domain would never be trained on, and nobody would know."""
    with pytest.raises(DataError, match=r"batch of 2 cannot hold a frame of each domain \(dark, bright, clips\)"):
        make_loader(root, plan=EpochPlan(batch_size=2, balance="domain"))
    assert make_loader(root, plan=EpochPlan(batch_size=2)).steps_per_epoch > 0


def test_boxes_follow_the_frame_into_the_network(root: Path) -> None:
    changes = AugmentConfig(flip=0.5, scale=0.2, aspect=0.3, shift=0.1)
    loader = make_loader(root, plan=EpochPlan(batch_size=6, share_per_epoch=1.0), augmentation=changes)
    seen = 0
    for batch in loader.epoch(0):
        assert batch.frames.shape == (6, 1, 64, 64)
        assert batch.frames.min() >= 0
        assert batch.frames.max() <= 1
        for frame, boxes, labels in zip(batch.frames, batch.boxes_xyxy, batch.class_ids, strict=True):
            assert len(boxes) == len(labels)
            if len(boxes):
                row, column = divmod(int(frame[0].argmax()), 64)
                centre = (boxes[0, :2] + boxes[0, 2:]) / 2
                inside = bool((boxes[0, :2] > 0).all() and (boxes[0, 2:] < 64).all())
                if inside:
                    assert float((centre - torch.tensor([column + 0.5, row + 0.5])).abs().max()) < 2.5
                    seen += 1
    assert seen > 30


def test_a_window_holds_past_frames_oldest_first(root: Path) -> None:
    clips = open_mixture(root, ["clips"]).domains[0].dataset
    first, *_, last = clips.sequences["train_0"]
    window = clips.window(last, 3)
    assert [np.array_equal(f, clips.frame(last - back)) for f, back in zip(window, (2, 1, 0), strict=True)] == [
        True
    ] * 3
    start = clips.window(first, 3)
    assert all(np.array_equal(f, clips.frame(first)) for f in start)
    batch = next(iter(make_loader(root, plan=EpochPlan(batch_size=4), window=3).epoch(0)))
    assert batch.frames.shape == (4, 3, 64, 64)


def test_a_window_is_found_without_a_search(root: Path) -> None:
    class Unsearchable(tuple[int, ...]):
        def index(self, *args: object) -> int:  # type: ignore[override]
            raise AssertionError("windows are asked for with every sample, and sequences may be long")

    clips = open_mixture(root, ["clips"]).domains[0].dataset.keep(["train_1", "train_0"])
    guarded = replace(clips, sequences={name: Unsearchable(numbers) for name, numbers in clips.sequences.items()})
    for numbers in clips.sequences.values():
        for place, number in enumerate(numbers):
            expected = [clips.frame(numbers[max(0, place - back)]) for back in (2, 1, 0)]
            assert all(map(np.array_equal, guarded.window(number, 3), expected))


def test_a_mirror_image_mirrors_boxes_and_nothing_else() -> None:
    frame = spot_frame((20.0, 30.0), seed=0).astype(np.float32) / 255
    box = np.array([[15.5, 25.5, 24.5, 34.5]], dtype=np.float32)
    frames, boxes, seen = augment([frame], box, AugmentConfig(flip=1.0), np.random.default_rng(0))
    assert np.array_equal(frames[0], frame[:, ::-1])
    assert boxes.tolist() == [[96 - 24.5, 25.5, 96 - 15.5, 34.5]]
    assert seen.tolist() == [True]


def test_no_ghost_of_a_target_comes_in_from_outside() -> None:
    frame = spot_frame((4.0, 32.0), seed=0).astype(np.float32) / 255
    box = np.array([[0.0, 28.0, 8.0, 36.0]], dtype=np.float32)
    generator = np.random.default_rng(0)
    for _ in range(40):
        (moved,), boxes, _ = augment([frame], box, AugmentConfig(shift=0.2), generator)
        outside = moved.copy()
        for x1, y1, x2, y2 in boxes.astype(int):
            outside[max(0, y1 - 2) : y2 + 3, max(0, x1 - 2) : x2 + 3] = 0
        assert outside.max() < 0.45 or not len(boxes)


def test_frames_move_by_whole_pixels_and_only_some_are_resized() -> None:
    """Between pixels, the smallest targets lose their contrast."""
    frame = np.random.default_rng(1).random((64, 96), dtype=np.float32)
    box = np.array([[40.0, 30.0, 44.0, 33.0]], dtype=np.float32)
    generator = np.random.default_rng(0)
    moves = set()
    for _ in range(20):
        (moved,), (found,), _ = augment([frame], box, AugmentConfig(shift=0.1), generator)
        right, down = (found - box[0])[:2].tolist()
        assert np.array_equal(found - box[0], [right, down, right, down])
        moved_back = np.roll(moved, (-int(down), -int(right)), axis=(0, 1))
        assert np.array_equal(moved_back[10:-10, 10:-10], frame[10:-10, 10:-10])
        moves.add((right, down))
    assert len(moves) > 10
    sizes = [augment([frame], box, AugmentConfig(scale=0.3), generator)[1][0] for _ in range(200)]
    assert 70 < sum(np.array_equal(size, box[0]) for size in sizes) < 130


def test_noise_is_normal_and_each_frame_of_a_window_has_its_own() -> None:
    window = [np.full((64, 80), 0.5, dtype=np.float32)] * 3
    none = np.empty((0, 4), dtype=np.float32)
    sigmas = []
    for seed in range(200):
        noisy, _, _ = augment(window, none, AugmentConfig(noise=0.1), np.random.default_rng(seed))
        cv2.setRNGSeed(7)  # whoever else draws in this thread does not matter
        again, _, _ = augment(window, none, AugmentConfig(noise=0.1), np.random.default_rng(seed))
        assert all(map(np.array_equal, noisy, again))
        noises = [frame.ravel() - 0.5 for frame in noisy]
        sigmas.append(np.std(noises))
        if sigmas[-1] > 1e-4:  # below, steps of float32 around a half show
            assert abs(np.corrcoef(noises) - np.eye(3)).max() < 0.08
            assert np.mean(np.abs(noises) < sigmas[-1]) == pytest.approx(0.683, abs=0.02)
    assert max(sigmas) == pytest.approx(0.1, rel=0.05)
    assert np.median(sigmas) == pytest.approx(0.025, abs=0.007)


def test_frames_become_wider_or_higher_and_targets_with_them() -> None:
    frame = np.zeros((64, 96), np.float32)
    frame[20:32, 40:56] = 1
    box = np.array([[40.0, 20.0, 56.0, 32.0]], dtype=np.float32)
    generator = np.random.default_rng(0)
    ratios = []
    for _ in range(200):
        (changed,), ((x1, y1, x2, y2),), _ = augment([frame], box, AugmentConfig(aspect=0.5), generator)
        assert (x2 - x1) * (y2 - y1) == pytest.approx(16 * 12, rel=1e-4)
        rows, columns = np.nonzero(changed > 0.5)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert found == pytest.approx([x1, y1, x2, y2], abs=0.51)
        ratios.append((x2 - x1) / (y2 - y1) / (16 / 12))
    assert 70 < ratios.count(1.0) < 130
    assert 0.66 < min(ratios) < 0.72
    assert 1.4 < max(ratios) < 1.51


def test_targets_that_leave_the_frame_are_gone_and_others_cut() -> None:
    frame = np.zeros((64, 96), np.float32)
    boxes = np.array([[0, 10, 8, 18], [88, 10, 96, 18], [44, 28, 52, 36]], dtype=np.float32)
    generator = np.random.default_rng(5)
    for _ in range(50):
        _, left, seen = augment([frame], boxes, AugmentConfig(shift=0.3, scale=0.3), generator)
        assert len(left) == int(seen.sum())
        assert (left >= 0).all()
        assert (left[:, [0, 2]] <= 96).all()
        assert (left[:, [1, 3]] <= 64).all()
    assert not AugmentConfig().active


def test_a_cache_tells_its_length(root: Path) -> None:
    dataset = open_mixture(root, ["dark"]).domains[0].dataset
    assert isinstance(dataset._cache, FrameCache)
    assert len(dataset._cache) == 40
