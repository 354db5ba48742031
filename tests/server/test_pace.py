"""What a server learns about its own speed, and how long one more frame would be at work."""

from __future__ import annotations

import threading

import pytest

from loddis_server import pace as pace_module
from loddis_server.pace import Pace
from support.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace_module, "time", clock)
    return clock


def pace_of(run_s: dict[int, float], *, reading_s: float = 0.0) -> Pace:
    pace = Pace(workers=2)
    for frames, seconds in run_s.items():
        pace.note_run(frames, seconds)
    pace.note_reading(reading_s)
    return pace


def test_a_lone_frame_takes_what_it_takes() -> None:
    pace = pace_of({1: 0.010, 4: 0.020}, reading_s=0.002)
    assert pace.alone_s == pytest.approx(0.012)
    assert pace.frame_s == pytest.approx(0.005)
    assert pace.expected_s(0) == pytest.approx(0.012)


def test_a_frame_waits_for_what_is_left_of_the_batch_under_way(clock: Clock) -> None:
    pace = pace_of({1: 0.010})
    pace.begin_run(1)
    assert pace.expected_s(1) == pytest.approx(0.020)
    clock.now_s += 0.004
    assert pace.expected_s(1) == pytest.approx(0.016)
    clock.now_s += 0.020  # it takes longer than usual
    assert pace.expected_s(1) == pytest.approx(0.010)
    pace.end_run()
    assert pace.expected_s(0) == pytest.approx(0.010)


def test_an_engine_that_gains_nothing_by_batches_takes_one_turn_for_each_that_waits(clock: Clock) -> None:
    pace = pace_of({1: 0.010, 4: 0.040})
    pace.begin_run(1)
    assert [pace.expected_s(at_work) for at_work in (1, 2, 3)] == pytest.approx([0.020, 0.030, 0.040])


def test_an_engine_that_gains_by_batches_takes_several_in_one_turn(clock: Clock) -> None:
    pace = pace_of({1: 0.010, 4: 0.010})
    pace.begin_run(4)
    assert [pace.expected_s(at_work) for at_work in (4, 7, 8)] == pytest.approx([0.020, 0.020, 0.030])


def test_decoders_that_are_slower_than_the_network_set_the_pace() -> None:
    pace = pace_of({1: 0.010}, reading_s=0.100)
    assert pace.frame_s == pytest.approx(0.050)
    assert [pace.expected_s(at_work) for at_work in (0, 1, 2, 3)] == pytest.approx([0.110, 0.160, 0.210, 0.260])


def test_the_pace_follows_what_is_measured_now() -> None:
    pace = pace_of({1: 0.010})
    for _ in range(100):
        pace.note_run(1, 0.030)
    assert pace.frame_s == pytest.approx(0.030, rel=0.01)


def test_nothing_is_known_before_the_first_frame() -> None:
    pace = Pace(workers=1)
    assert (pace.frame_s, pace.alone_s, pace.expected_s(9)) == (0, 0, 0)


def test_lanes_share_what_waits(clock: Clock) -> None:
    pace = Pace(workers=2, lanes=2)
    pace.note_run(1, 0.010)
    assert pace.frame_s == pytest.approx(0.005)
    pace.begin_run(1)
    assert pace.expected_s(1) == pytest.approx(0.010)  # the other lane is free
    other = threading.Thread(target=pace.begin_run, args=(1,))
    other.start()
    other.join()
    clock.now_s += 0.004
    assert pace.expected_s(2) == pytest.approx(0.016)
