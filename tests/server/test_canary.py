"""Targets put into copies of live frames: where they are, how strong, and what becomes of the count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from loddis_runtime.detections import Detections
from loddis_runtime.frames import Frame
from loddis_runtime.photometry import measure_targets
from loddis_server.scene_health import Canary, CanaryFrame, CanarySettings
from loddis_server.scene_health.canary_status import wilson_interval

NOTHING: NDArray[np.float32] = np.empty((0, 4), dtype=np.float32)
ALWAYS = CanarySettings(per_minute=6000)


def live(dtype: Any, seed: int = 0, size_hw: tuple[int, int] = (120, 160)) -> Frame:
    white = np.random.default_rng(seed).standard_normal(size_hw)
    level, noise = {np.uint8: (90, 3), np.uint16: (7000, 25), np.float32: (0.4, 0.004)}[dtype]
    frame = level + noise * white
    return (np.rint(frame) if dtype is not np.float32 else frame).astype(dtype)


def draw(canary: Canary, frames: list[Frame], avoid: Any = NOTHING, **given: Any) -> list[CanaryFrame]:
    drawn = [canary.inject(frame, avoid, timestamp_s=i / 30, **given) for i, frame in enumerate(frames)]
    return [one for one in drawn if one is not None]


def found_at(*places: tuple[float, float], score: float = 0.9) -> Detections:
    centres = np.array(places, dtype=np.float32).reshape(-1, 2)
    count = len(centres)
    return Detections(
        boxes_xyxy=np.concatenate([centres - 3, centres + 3], axis=1),
        scores=np.full(count, score, dtype=np.float32),
        class_ids=np.zeros(count, dtype=np.int32),
        centroids=centres,
        snr=np.ones(count, dtype=np.float32),
        class_names=("target",),
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_photometry_finds_the_stated_snr_and_the_live_frame_is_left_alone(dtype: Any) -> None:
    frames = [live(dtype, seed) for seed in range(80)]
    before = [frame.copy() for frame in frames]
    drawn = draw(Canary(ALWAYS.model_copy(update={"snr_levels": (15.0,)}), seed=1), frames)
    assert len(drawn) > 60
    assert all((frame == copy).all() for frame, copy in zip(frames, before, strict=True))
    snr, errors_px = [], []
    for one in drawn:
        assert one.key_frame.dtype == np.dtype(dtype)
        centroid, measured = measure_targets(one.key_frame, one.box_xyxy[None])
        snr.append(float(measured[0]))
        errors_px.append(float(np.hypot(*(centroid[0] - one.centre_xy))))
    assert np.median(snr) == pytest.approx(15, rel=0.1)
    assert np.median(errors_px) < 0.2
    assert all(one.snr == pytest.approx(15, rel=0.1) for one in drawn)


@pytest.mark.parametrize(("frames", "moves"), [(1, False), (3, True), (5, True)])
def test_a_window_shows_one_target_that_moves_at_a_plausible_speed(frames: int, moves: bool) -> None:
    originals = [live(np.uint16, seed) for seed in range(40)]
    canary = Canary(ALWAYS.model_copy(update={"snr_levels": (60.0,)}), seed=2, frames=frames)
    for i, original in enumerate(originals):
        one = canary.inject(original, NOTHING, timestamp_s=float(i))
        assert one is None or i >= frames - 1
        if one is None:
            continue
        window = originals[i - frames + 1 : i + 1]
        assert len(one.frames) == frames
        places = []
        for copy, source in zip(one.frames, window, strict=True):
            added = copy.astype(float) - source
            rows, columns = np.mgrid[: added.shape[0], : added.shape[1]] + 0.5
            places.append(((added * columns).sum() / added.sum(), (added * rows).sum() / added.sum()))
            assert added.max() == pytest.approx(60 * 25, rel=0.4)
        assert places[-1] == pytest.approx(one.centre_xy, abs=0.1)
        speeds = np.hypot(*np.diff(np.array(places), axis=0).T)
        assert (speeds < 3.1).all()
        if moves:
            assert (speeds > 0.2).all()
            assert np.ptp(speeds) < 0.2  # straight on, at one speed


def test_no_target_moves_over_a_hole_or_a_change_of_size() -> None:
    canary = Canary(ALWAYS, frames=3)
    sizes = [(120, 160)] * 6 + [(100, 160)] * 6
    drawn = [
        canary.inject(live(np.uint16, i, size), NOTHING, timestamp_s=float(i), missing=i == 3)
        for i, size in enumerate(sizes)
    ]
    assert [i for i, one in enumerate(drawn) if one] == [2, 5, 8, 9, 10, 11]
    assert all({frame.shape for frame in one.frames} == {one.key_frame.shape} for one in drawn if one)


@given(seed=st.integers(0, 10_000), boxes=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 110)), max_size=6))
def test_targets_keep_away_from_borders_and_detections(seed: int, boxes: list[tuple[int, int]]) -> None:
    avoid = np.array([[x, y, x + 8, y + 8] for x, y in boxes], dtype=np.float32).reshape(-1, 4)
    canary = Canary(ALWAYS, seed=seed)
    for one in draw(canary, [live(np.uint16, seed % 7)] * 3, avoid):
        x, y = one.centre_xy
        assert 12 <= x <= 148
        assert 12 <= y <= 108
        for left, top, right, bottom in avoid:
            assert np.hypot(max(left - x, x - right, 0), max(top - y, y - bottom, 0)) >= 16


def test_a_frame_without_a_place_is_skipped_and_counted() -> None:
    crowded = np.array([[0, 0, 160, 120]], dtype=np.float32)
    canary = Canary(ALWAYS)
    assert draw(canary, [live(np.uint8)] * 20, crowded) == []
    assert canary.status().skipped > 10
    assert draw(Canary(ALWAYS), [live(np.uint8, size_hw=(20, 20))] * 20) == []


@pytest.mark.parametrize("level_range", [None, (0.0, 16383.0)])
def test_a_target_that_the_range_would_cut_is_not_put_in(level_range: tuple[float, float] | None) -> None:
    bright = np.minimum(live(np.uint16).astype(np.int64) + 9300, 16383).astype(np.uint16)
    canary = Canary(ALWAYS.model_copy(update={"snr_levels": (50.0,)}))
    drawn = draw(canary, [bright] * 20, level_range=level_range)
    if level_range is None:
        assert len(drawn) > 10
    else:
        assert drawn == []  # 50 x 25 levels do not fit below the end of 14 bits
        assert canary.status().skipped > 10


def test_rounding_in_a_quiet_stream_is_no_cut() -> None:
    quiet = np.full((120, 160), 90, dtype=np.uint8)  # its noise is that of rounding: 0.29 levels
    drawn = draw(Canary(ALWAYS.model_copy(update={"snr_levels": (5.0,)})), [quiet] * 20)
    assert len(drawn) > 10
    for one in drawn:
        added = one.key_frame.max().astype(float) - 90
        assert added in (1, 2)  # 1.44 asked for
        assert one.snr == pytest.approx(added * 12**0.5)  # and what came of it is said


@pytest.mark.parametrize("per_minute", [6.0, 60.0])
def test_the_rate_is_held_without_a_beat(per_minute: float) -> None:
    canary = Canary(CanarySettings(per_minute=per_minute), seed=3)
    frame = live(np.uint8)
    times = [i / 10 for i in range(12_000) if canary.inject(frame, NOTHING, timestamp_s=i / 10)]  # 20 minutes
    assert len(times) == pytest.approx(20 * per_minute, rel=0.15)
    pauses = np.diff(times) * per_minute / 60
    assert pauses.min() >= 0.45
    assert pauses.max() <= 1.8
    assert pauses.std() > 0.15


def test_a_clock_that_was_set_back_does_not_stop_it() -> None:
    canary = Canary(CanarySettings(per_minute=60))
    frame = live(np.uint8)
    assert any(canary.inject(frame, NOTHING, timestamp_s=1e6 + i / 10) for i in range(40))
    assert any(canary.inject(frame, NOTHING, timestamp_s=i / 10) for i in range(40))


def test_the_same_seed_draws_the_same() -> None:
    frames = [live(np.uint16, seed) for seed in range(10)]
    first, second = (draw(Canary(ALWAYS, seed=4), frames) for _ in range(2))
    assert [one.centre_xy for one in first] == [one.centre_xy for one in second]
    assert all((a.key_frame == b.key_frame).all() for a, b in zip(first, second, strict=True))


def test_hits_are_judged_by_distance_and_score() -> None:
    canary = Canary(ALWAYS, seed=1)
    (one,) = draw(canary, [live(np.uint16)] * 3)[:1]
    x, y = one.centre_xy
    hit = canary.judge(one, found_at((5, 5), (x + 3, y - 3.5)))
    assert (hit.hit, hit.score) == (True, pytest.approx(0.9))
    assert hit.distance_px == pytest.approx(np.hypot(3, 3.5), abs=1e-3)
    assert not canary.judge(one, found_at((x + 4, y - 4))).hit
    assert not canary.judge(one, found_at((x, y), score=0.2), score_threshold=0.3).hit
    nothing = canary.judge(one, Detections.empty(("target",)))
    assert (nothing.hit, nothing.distance_px, nothing.score) == (False, None, None)
    level = next(level for level in canary.status().levels if level.snr == one.snr_level)
    assert (level.trials, level.hits, level.pd) == (4, 1, 0.25)


def test_pd_is_of_the_newest_targets_of_each_level() -> None:
    canary = Canary(CanarySettings(per_minute=6000, snr_levels=(5.0, 20.0), window=30), seed=1)
    for one in draw(canary, [live(np.uint16)] * 200):  # strong ones are found, weak ones only in the first half
        seen = one.snr_level == 20
        canary.judge(one, found_at(one.centre_xy) if seen else Detections.empty(("target",)))
    weak, strong = canary.status().levels
    assert (weak.snr, weak.trials, weak.pd) == (5.0, 30, 0.0)
    assert (strong.snr, strong.trials, strong.pd) == (20.0, 30, 1.0)
    assert weak.pd_high == pytest.approx(0.1135, abs=1e-3)  # Wilson, 0 of 30
    assert strong.pd_low == pytest.approx(1 - 0.1135, abs=1e-3)


def test_levels_without_trials_know_nothing() -> None:
    assert [(level.pd, level.pd_low, level.pd_high) for level in Canary().status().levels] == [(None, 0.0, 1.0)] * 4


def test_wilson_intervals_as_published() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    for hits, trials, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson_interval(hits, trials, confidence=0.95) == pytest.approx((low, high), abs=1e-4)


@given(trials=st.integers(1, 500), data=st.data())
def test_wilson_intervals_hold_the_share_and_mirror(trials: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, trials))
    low, high = wilson_interval(hits, trials, confidence=0.95)
    assert 0 <= low <= hits / trials <= high <= 1
    mirrored = wilson_interval(trials - hits, trials, confidence=0.95)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in CanarySettings.model_fields.items() if not field.description] == []
