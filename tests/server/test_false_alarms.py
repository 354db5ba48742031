"""False alarms come as often as wanted: from too many and from too few, through storms, and whatever the targets do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from pydantic import ValidationError

from loddis_server.alarms import FalseAlarmControl, FalseAlarmSettings
from loddis_server.alarms.clutter import logit, score_of
from loddis_server.tracking import Tracker, TrackerSettings, TrackUpdate
from support.tracking import detections_at, ended_track

Draw = Callable[[np.random.Generator], float]
FLOOR = 0.05
STEP_S = 5


def exponential(scale: float) -> Draw:
    """Draw logits of clutter from the floor up, as the tail model has them."""
    return lambda rng: logit(FLOOR) + rng.exponential(scale)


def normal(mean: float, sigma: float) -> Draw:
    """Draw logits of clutter with a lighter tail than the model's."""
    return lambda rng: rng.normal(mean, sigma)


@dataclass
class Stream:
    """A stream of clutter that a control listens to, `STEP_S` by `STEP_S`.

    Attributes:
        control: Under test.
        alarms_s: When false alarms were raised.
        now_s: Seconds so far.
    """

    control: FalseAlarmControl
    seed: int = 0
    alarms_s: list[float] = field(default_factory=list)
    now_s: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def run(self, hours: float, *, per_hour: float, draw: Draw) -> None:
        """Let clutter come that would be confirmed at the scores drawn."""
        for count in self.rng.poisson(per_hour * STEP_S / 3600, round(3600 * hours / STEP_S)).tolist():
            scores = [score_of(draw(self.rng)) for _ in range(count)]
            raised = tuple(ended_track(score) for score in scores if score >= self.control.threshold)
            missed = tuple(ended_track(score) for score in scores if score < self.control.threshold)
            self.alarms_s += [self.now_s] * len(raised)
            self.control.observe(TrackUpdate((), (), raised, missed, None), elapsed_s=STEP_S)
            self.now_s += STEP_S

    def per_hour(self, *, since_h: float, until_h: float | None = None) -> float:
        """Count the false alarms of some hours."""
        end_s = self.now_s if until_h is None else 3600 * until_h
        return sum(3600 * since_h <= time < end_s for time in self.alarms_s) / (end_s / 3600 - since_h)


def control(initial: float = 0.4, **settings: float) -> FalseAlarmControl:
    return FalseAlarmControl(
        FalseAlarmSettings.model_validate({"score_floor": FLOOR} | settings), initial_threshold=initial
    )


@pytest.mark.parametrize("initial", [0.06, 0.94], ids=["from too many", "from too few"])
@pytest.mark.parametrize(
    ("per_hour", "draw"),
    [(600, exponential(0.6)), (4000, exponential(0.4)), (600, normal(-1.5, 0.8))],
    ids=["tail as modelled", "plenty", "lighter tail"],
)
def test_the_wanted_rate_is_held_within_a_factor_of_two(initial: float, per_hour: float, draw: Draw) -> None:
    stream = Stream(control(initial, wanted_per_hour=12.0), seed=1)
    stream.run(12, per_hour=per_hour, draw=draw)
    held = stream.per_hour(since_h=3)
    assert 6 <= held <= 24
    status = stream.control.status()
    assert status.settled
    assert status.at_limit is None
    assert status.predicted_per_hour == pytest.approx(12, rel=0.5)
    assert status.held_per_hour is not None
    assert status.held_interval_per_hour is not None
    low, high = status.held_interval_per_hour
    assert low < status.held_per_hour < high
    assert low < held < high
    assert status.observed_s == 12 * 3600


def test_too_many_false_alarms_end_within_minutes() -> None:
    stream = Stream(control(0.06, wanted_per_hour=6.0))
    stream.run(1, per_hour=3000, draw=exponential(0.6))
    assert stream.per_hour(since_h=0.1) < 12


def test_a_storm_is_answered_in_minutes_and_forgotten_in_hours() -> None:
    stream = Stream(control(wanted_per_hour=12.0))
    stream.run(4, per_hour=300, draw=exponential(0.6))
    calm = stream.control.threshold
    stream.run(4, per_hour=9000, draw=exponential(0.6))
    # Where the threshold stood, 30 times as many would have come: some 300 an hour.
    assert stream.per_hour(since_h=4, until_h=5) < 48
    assert 6 <= stream.per_hour(since_h=5) <= 24
    assert stream.control.threshold > calm
    stormy = stream.control.threshold
    stream.run(6, per_hour=300, draw=exponential(0.6))
    assert stream.per_hour(since_h=8, until_h=9) < 6  # it comes down slowly,
    assert stream.control.threshold < (calm + stormy) / 2  # but it comes down
    assert 6 <= stream.per_hour(since_h=12) <= 24


def test_silence_lets_the_threshold_fall_to_the_floor_but_not_at_once() -> None:
    quiet = control(0.5, wanted_per_hour=2.0)
    stream = Stream(quiet)
    stream.run(0.05, per_hour=0, draw=exponential(1))
    assert quiet.threshold >= 0.5
    assert not quiet.status().settled
    stream.run(6, per_hour=0, draw=exponential(1))
    status = quiet.status()
    assert status.threshold == pytest.approx(FLOOR, abs=0.01)
    assert status.at_limit == "floor"
    assert status.held_per_hour == 0


def test_clutter_as_sure_as_targets_leads_to_the_ceiling() -> None:
    stream = Stream(control(wanted_per_hour=1.0, score_ceiling=0.9))
    stream.run(1, per_hour=600, draw=lambda rng: logit(0.97))
    status = stream.control.status()
    assert status.threshold == pytest.approx(0.9)
    assert status.at_limit == "ceiling"
    assert status.predicted_per_hour == pytest.approx(600, rel=0.3)
    assert status.held_per_hour == pytest.approx(600, rel=0.3)


def test_long_tracks_are_presumed_real_and_move_nothing() -> None:
    with_targets, without = control(presumed_real_hits=60), control(presumed_real_hits=60)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        clutter = (ended_track(score_of(exponential(0.6)(rng))),) if rng.random() < 0.2 else ()
        target = (ended_track(0.97, hits=60),) if rng.random() < 0.1 else ()
        with_targets.observe(TrackUpdate((), (), target, clutter, None), elapsed_s=STEP_S)
        without.observe(TrackUpdate((), (), (), clutter, None), elapsed_s=STEP_S)
    assert with_targets.threshold == without.threshold
    assert with_targets.status().held_per_hour == 0


def test_short_tracks_do_count() -> None:
    counted = control(presumed_real_hits=60)
    for _ in range(100):
        counted.observe(TrackUpdate((), (), (ended_track(0.9, hits=59),), (), None), elapsed_s=36.0)
    assert counted.status().held_per_hour == pytest.approx(100, rel=0.05)


def test_tracks_that_a_break_of_the_stream_cut_off_do_not_count() -> None:
    cut = control()
    for _ in range(100):
        ended, discarded = (ended_track(0.9),), (ended_track(0.3),)
        cut.observe(TrackUpdate((), (), ended, discarded, None, restarted=True), elapsed_s=36.0)
    status = cut.status()
    assert status.held_per_hour == 0
    assert status.predicted_per_hour is not None
    assert status.predicted_per_hour < 1


def test_tracks_that_no_threshold_would_confirm_do_not_count() -> None:
    counted = control(0.4)
    for _ in range(3600):
        counted.observe(TrackUpdate((), (), (), (ended_track(None),), None), elapsed_s=1.0)
    predicted = counted.status().predicted_per_hour
    assert predicted is not None
    assert predicted < 1


def test_before_anything_was_observed_nothing_is_claimed() -> None:
    status = control(0.3).status()
    assert status.threshold == pytest.approx(0.3)
    assert (status.held_per_hour, status.held_interval_per_hour, status.predicted_per_hour) == (None, None, None)
    assert not status.settled


@pytest.mark.parametrize("elapsed_s", [-1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(elapsed_s: float) -> None:
    with pytest.raises(ValueError, match="elapsed_s must be a finite time from 0 s"):
        control().observe(TrackUpdate((), (), (), (), None), elapsed_s=elapsed_s)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"score_floor": 0.6, "score_ceiling": 0.5}, "score_floor must be below score_ceiling, got 0.6 and 0.5"),
        ({"min_memory_s": 900, "max_memory_s": 600}, "min_memory_s must not exceed max_memory_s, got 900 and 600"),
        ({"wanted_per_hour": 0}, "greater than or equal to 0.01"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FalseAlarmSettings.model_validate(wrong)


def test_tracker_and_control_together_hold_the_rate_beside_a_real_target() -> None:
    """Clutter that repeats at its place for some frames, frame by frame, with M-of-N in between."""
    rng = np.random.default_rng(3)
    tracker = Tracker(TrackerSettings(confirm_hits=3, confirm_frames=4, coast_frames=10))
    stream = control(0.1, wanted_per_hour=30.0)
    spots: list[tuple[tuple[float, float], float, int]] = []  # place, logit, frames left
    false_ids: list[int] = []
    frames, frame_s = 3000, 3.0
    for index in range(frames):
        if rng.random() < 0.3:  # 360 an hour
            place = (float(rng.uniform(0, 320)), float(rng.uniform(80, 256)))
            spots.append((place, logit(FLOOR) + rng.exponential(0.8), int(rng.integers(1, 9))))
        target = (160 + 100 * np.sin(index / 60), 30.0)
        places = [target, *(place for place, _, _ in spots)]
        scores = [0.9, *(score_of(value + rng.normal(0, 0.1)) for _, value, _ in spots)]
        found = detections_at(places, scores)
        update = tracker.update(found, frame=None, frame_index=index, score_threshold=stream.threshold)
        stream.observe(update, elapsed_s=frame_s)
        if index >= frames // 2:
            false_ids += [track.track_id for track in update.confirmed]
        spots = [(place, value, left - 1) for place, value, left in spots if left > 1]
    held = len(false_ids) / (frames / 2 * frame_s / 3600)
    assert 15 <= held <= 60
    assert 1 not in false_ids
    assert any(track.track_id == 1 and track.state == "confirmed" and track.hits == frames for track in update.tracks)
