"""What becomes of detections: one track a target, believed in time, kept through misses, holes and camera motion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loddis_runtime.scenes import CameraMotion, Scene, SceneConfig
from loddis_server.tracking import Tracker, TrackerSettings, TrackUpdate
from support.tracking import detections_at

Place = tuple[float, float]
NOTHING = detections_at([])


def follow(
    tracker: Tracker, places: Sequence[Place | None], *, score: float = 0.8, start: int = 0
) -> list[TrackUpdate]:
    """Give a tracker one target's places, frame by frame; None where it is not detected."""
    return [
        tracker.update(detections_at([] if place is None else [place], score), frame=None, frame_index=index)
        for index, place in enumerate(places, start)
    ]


def line(speed_px: float, frames: int) -> list[Place]:
    return [(20 + 0.8 * speed_px * index, 20 + 0.6 * speed_px * index) for index in range(frames)]


@pytest.mark.parametrize("speed_px", [0.0, 1.0, 5.0, 12.0])
@pytest.mark.parametrize("size_px", [1.0, 5.0, 20.0])
def test_a_target_is_one_track_at_any_speed_and_size(speed_px: float, size_px: float) -> None:
    rng = np.random.default_rng(0)
    tracker = Tracker()
    updates = []
    for index, (x, y) in enumerate(line(speed_px, 20)):
        place = (x + rng.normal(0, 0.5), y + rng.normal(0, 0.5))
        updates.append(tracker.update(detections_at([place], size_px=size_px), frame=None, frame_index=index))
    assert [len(update.tracks) for update in updates] == [1] * 20
    (track,) = updates[-1].tracks
    assert track.track_id == 1
    assert track.hits == track.age_frames == 20
    assert track.velocity_xy == pytest.approx((0.8 * speed_px, 0.6 * speed_px), abs=0.4)
    assert track.centroid_xy == pytest.approx(line(speed_px, 20)[-1], abs=1.0)
    assert track.box_xyxy == pytest.approx(
        [*(value - size_px / 2 for value in track.centroid_xy), *(value + size_px / 2 for value in track.centroid_xy)],
        abs=1e-3,
    )


def test_plain_iou_loses_what_moves_by_its_own_size() -> None:
    plain = TrackerSettings(near_buffer_px=0, far_buffer_px=0, gate_sigmas=1e6)
    updates = follow(Tracker(plain), line(12.0, 10))
    assert [update.tracks[-1].track_id for update in updates] == list(range(1, 11))
    assert not any(update.confirmed for update in updates)


def test_a_track_is_confirmed_once_by_m_hits() -> None:
    updates = follow(Tracker(TrackerSettings(confirm_hits=3, confirm_frames=5)), line(2.0, 6))
    assert [update.tracks[0].state for update in updates] == ["tentative"] * 2 + ["confirmed"] * 4
    assert [len(update.confirmed) for update in updates] == [0, 0, 1, 0, 0, 0]
    assert updates[2].confirmed[0] == updates[2].tracks[0]


@pytest.mark.parametrize(
    ("seen", "confirmed_at"),
    [("1111", 3), ("101011", 5), ("110011", 5), ("110010111", None), ("1000", None), ("10011111", 5)],
)
def test_m_of_n_allows_n_minus_m_misses(seen: str, confirmed_at: int | None) -> None:
    settings = TrackerSettings(confirm_hits=4, confirm_frames=6)
    places = [(50.0, 50.0) if one == "1" else None for one in seen]
    updates = follow(Tracker(settings), places)
    confirmations = [index for index, update in enumerate(updates) if update.confirmed]
    assert confirmations == ([] if confirmed_at is None else [confirmed_at])


def test_a_tentative_track_ends_once_m_hits_are_out_of_reach() -> None:
    updates = follow(Tracker(TrackerSettings(confirm_hits=4, confirm_frames=6)), [(50.0, 50.0), None, None, None])
    assert [len(update.discarded) for update in updates] == [0, 0, 0, 1]
    assert updates[-1].tracks == updates[-1].ended == ()
    assert updates[-1].discarded[0].state == "lost"


def test_detections_below_the_threshold_do_not_confirm_but_tell_what_would_have() -> None:
    tracker = Tracker(TrackerSettings(confirm_hits=3, confirm_frames=4))
    scores = [0.2, 0.35, 0.3, 0.25, 0.3, 0.34]
    updates = [
        tracker.update(detections_at([(50, 50)], score), frame=None, frame_index=index, score_threshold=0.4)
        for index, score in enumerate(scores)
    ]
    assert {update.tracks[0].state for update in updates} == {"tentative"}
    told = [update.tracks[0].confirmation_score for update in updates]
    assert told == [None, None, *(pytest.approx(score) for score in (0.2, 0.25, 0.3, 0.3))]
    lower = tracker.update(detections_at([(50, 50)], 0.3), frame=None, frame_index=6, score_threshold=0.29)
    assert len(lower.confirmed) == 1


@given(st.lists(st.one_of(st.none(), st.floats(0.06, 0.99)), min_size=1, max_size=25), st.floats(0.05, 0.99))
def test_one_run_tells_for_every_threshold_whether_it_confirms(scores: list[float | None], threshold: float) -> None:
    def run(threshold: float) -> list[TrackUpdate]:
        tracker = Tracker(TrackerSettings(confirm_hits=3, confirm_frames=5, coast_frames=4))
        return [
            tracker.update(
                NOTHING if score is None else detections_at([(50, 50)], score),
                frame=None,
                frame_index=index,
                score_threshold=threshold,
            )
            for index, score in enumerate([*scores, *[None] * 6])
        ]

    observed = run(1.0)
    told = [track.confirmation_score for update in observed for track in (*update.ended, *update.discarded)]
    would = sum(score is not None and np.float32(score) >= np.float32(threshold) for score in told)
    assert (sum(len(update.confirmed) for update in run(threshold)) > 0) == (would > 0)


def test_a_confirmed_track_coasts_through_misses_and_comes_back() -> None:
    places: list[Place | None] = [*line(6.0, 30)]
    places[10:22] = [None] * 12
    updates = follow(Tracker(), places)
    coasting = [update.tracks[0] for update in updates[10:22]]
    assert {track.state for track in coasting} == {"coasting"}
    assert [track.coasted_frames for track in coasting] == list(range(1, 13))
    assert coasting[-1].centroid_xy == pytest.approx(line(6.0, 30)[21], abs=1.0)
    variances = [track.covariance[0][0] for track in coasting]
    assert variances == sorted(variances)
    assert updates[22].tracks[0].covariance[0][0] < variances[0]
    assert updates[22].tracks[0].state == "confirmed"
    assert {track.track_id for update in updates for track in update.tracks} == {1}
    assert sum(len(update.confirmed) for update in updates) == 1


def test_a_track_that_coasts_too_long_is_lost_once() -> None:
    updates = follow(Tracker(TrackerSettings(coast_frames=5)), [*[(50.0, 50.0)] * 6, *[None] * 8])
    assert not any(update.restarted for update in updates)
    assert [len(update.ended) for update in updates] == [0] * 11 + [1, 0, 0]
    (lost,) = updates[11].ended
    assert (lost.state, lost.last_seen_frame_index, lost.first_frame_index, lost.hits) == ("lost", 5, 0, 6)


def test_low_scores_keep_a_confirmed_track() -> None:
    tracker = Tracker(TrackerSettings(coast_frames=3))
    follow(tracker, [(50.0, 50.0)] * 6)
    updates = follow(tracker, [(50.0, 50.0)] * 20, score=0.1, start=6)
    assert {update.tracks[0].state for update in updates} == {"confirmed"}
    assert len(updates[-1].tracks) == 1


@pytest.mark.parametrize("missing", [1, 5, 20])
def test_missing_frames_are_predicted_over_and_are_no_misses(missing: int) -> None:
    tracker = Tracker()
    follow(tracker, line(5.0, 8))
    path = line(5.0, 60)
    update = tracker.update(detections_at([path[8 + missing]]), frame=None, frame_index=8 + missing)
    (track,) = update.tracks
    assert (track.track_id, track.state, track.hits, track.age_frames) == (1, "confirmed", 9, 9 + missing)


def test_a_tentative_track_outlives_missing_frames() -> None:
    tracker = Tracker(TrackerSettings(confirm_hits=3, confirm_frames=4))
    follow(tracker, [(50.0, 50.0)] * 2)
    update = tracker.update(detections_at([(50, 50)]), frame=None, frame_index=12)
    assert len(update.confirmed) == 1


def test_a_hole_longer_than_tracks_coast_ends_them() -> None:
    tracker = Tracker(TrackerSettings(coast_frames=5))
    follow(tracker, [(50.0, 50.0)] * 6)
    update = tracker.update(detections_at([(50, 50)]), frame=None, frame_index=12)
    assert update.restarted
    assert [track.track_id for track in update.ended] == [1]
    assert [(track.track_id, track.state) for track in update.tracks] == [(2, "tentative")]


def test_ids_are_never_given_again() -> None:
    tracker = Tracker()
    follow(tracker, [(50.0, 50.0)] * 6)
    assert [track.track_id for track in tracker.reset()] == [1]
    assert tracker.reset() == ()
    update = tracker.update(detections_at([(50, 50)]), frame=None, frame_index=0)
    assert [track.track_id for track in update.tracks] == [2]


def test_a_frame_of_another_size_ends_all_tracks() -> None:
    tracker = Tracker()
    for index in range(6):
        tracker.update(detections_at([(50, 50)]), frame=np.zeros((64, 96), np.uint8), frame_index=index)
    update = tracker.update(detections_at([(50, 50)]), frame=np.zeros((64, 80), np.uint8), frame_index=6)
    assert [track.track_id for track in update.ended] == [1]
    assert update.restarted
    assert [track.track_id for track in update.tracks] == [2]


def test_a_model_of_other_classes_ends_all_tracks() -> None:
    tracker = Tracker()
    follow(tracker, [(50.0, 50.0)] * 6)
    update = tracker.update(detections_at([(50, 50)], class_names=("bird", "drone")), frame=None, frame_index=6)
    assert [track.class_name for track in update.ended] == ["target"]
    assert [track.class_name for track in update.tracks] == ["bird"]


def test_the_class_is_the_one_with_the_most_score() -> None:
    tracker = Tracker()
    for index, (class_id, score) in enumerate([(0, 0.9), (1, 0.5), (1, 0.3), (1, 0.4)]):
        found = detections_at([(50, 50)], score, class_ids=[class_id], class_names=("bird", "drone"))
        update = tracker.update(found, frame=None, frame_index=index)
    assert update.tracks[0].class_name == "drone"


@pytest.mark.parametrize("again", [5, 3])
def test_an_index_that_does_not_come_after_the_last_is_refused_without_harm(again: int) -> None:
    tracker = Tracker()
    before = follow(tracker, line(3.0, 6))[-1]
    with pytest.raises(ValueError, match="must come after 5"):
        tracker.update(NOTHING, frame=None, frame_index=again)
    after = tracker.update(detections_at([line(3.0, 7)[6]]), frame=None, frame_index=6)
    assert after.tracks[0].hits == before.tracks[0].hits + 1


def test_a_second_detection_of_a_target_begins_no_track() -> None:
    tracker = Tracker()
    for index in range(10):
        found = detections_at(
            [(50, 50), (54, 50)] if index > 5 else [(50, 50)], [0.9, 0.3][: 1 + (index > 5)], size_px=12
        )
        update = tracker.update(found, frame=None, frame_index=index)
    assert len(update.tracks) == 1


@pytest.mark.parametrize("seed", range(5))
def test_weak_clutter_does_not_take_a_new_targets_detections(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tracker = Tracker()
    for index, place in enumerate(line(5.0, 8)):
        around = [(place[0] + x, place[1] + y) for x, y in rng.uniform(-12, 12, (6, 2)).tolist()]
        update = tracker.update(detections_at([place, *around], [0.9, *[0.1] * 6]), frame=None, frame_index=index)
        if index == 3:
            (track,) = update.confirmed
            assert track.centroid_xy == pytest.approx(place, abs=1.0)
            assert track.hits == 4


def test_targets_that_cross_keep_their_ids() -> None:
    tracker = Tracker()
    for index in range(30):
        places = [(40 + 3 * index, 100), (127 - 3 * index, 101 + 0.05 * index)]
        update = tracker.update(detections_at(places), frame=None, frame_index=index)
    ids = {track.track_id: track.velocity_xy[0] for track in update.tracks}
    assert ids.keys() == {1, 2}
    assert ids[1] * ids[2] < 0
    assert [track.hits for track in update.tracks] == [30, 30]


def test_a_track_that_leaves_the_frame_is_lost_at_once() -> None:
    frame = np.zeros((64, 96), np.uint8)
    tracker = Tracker()
    ended: list[int] = []
    for index in range(16):
        place = (40 + 6.0 * index, 30.0)
        found = detections_at([place] if place[0] < 94 else [])
        ended += [index] * len(tracker.update(found, frame=frame, frame_index=index).ended)
    assert ended == [math.ceil((96 - 40) / 6)]


def test_tracks_move_along_with_the_scene() -> None:
    camera = CameraMotion(pan_px_per_frame=(6.0, 1.0), jitter_px=2.0)
    frames = list(Scene(SceneConfig(background="ground", frames=16, camera=camera, seed=5)))
    places = [(200 - float(one.camera_xy[0]), 120 - float(one.camera_xy[1])) for one in frames]
    moving, blind = Tracker(), Tracker(TrackerSettings(compensate_motion=False))
    for frame, place in zip(frames, places, strict=True):
        found = detections_at([place])
        with_motion = moving.update(found, frame=frame.image, frame_index=frame.index)
        without = blind.update(found, frame=frame.image, frame_index=frame.index)
    (track,) = with_motion.tracks
    assert track.hits == len(frames)
    assert track.velocity_xy == pytest.approx((0, 0), abs=0.5)
    assert without.camera_shift_xy is None
    assert without.tracks[-1].velocity_xy[0] == pytest.approx(-6, abs=2)
    shift = np.subtract(places[-1], places[-2])
    assert with_motion.camera_shift_xy == pytest.approx(shift.tolist(), abs=0.7)


def test_noise_is_not_taken_for_a_motion() -> None:
    rng = np.random.default_rng(0)
    tracker = Tracker()
    for index in range(8):
        frame = rng.normal(1000, 20, (256, 320)).astype(np.uint16)
        update = tracker.update(detections_at([line(5.0, 8)[index]]), frame=frame, frame_index=index)
        assert update.camera_shift_xy is None
    assert update.tracks[0].hits == 8


def test_hundreds_of_detections_are_taken() -> None:
    rng = np.random.default_rng(0)
    tracker = Tracker()
    for index in range(12):
        found = detections_at(
            [tuple(place) for place in rng.uniform(0, 300, (300, 2))], rng.uniform(0.05, 1, 300).tolist()
        )
        update = tracker.update(found, frame=None, frame_index=index)
        assert len({track.track_id for track in update.tracks}) == len(update.tracks)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"confirm_hits": 5, "confirm_frames": 4}, "confirm_hits must not exceed confirm_frames, got 5 of 4"),
        ({"near_buffer_px": 12, "far_buffer_px": 4}, "near_buffer_px must not exceed far_buffer_px, got 12 and 4 px"),
        ({"position_noise_px": 0}, "greater than 0"),
        ({"bufer_px": 3}, "Extra inputs"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrackerSettings.model_validate(wrong)
