"""What a server learns about its own speed, and how many frames may be at work for it."""

from __future__ import annotations

import pytest

from loddis_server.pace import Pace


def test_an_engine_that_gains_nothing_by_batches_has_room_for_two() -> None:
    pace = Pace(workers=2)
    pace.note_run(1, 0.010)
    pace.note_run(4, 0.040)
    assert pace.frame_s == pytest.approx(0.010)
    assert pace.alone_s == pytest.approx(0.010)
    assert pace.room(2.0) == 2


def test_an_engine_that_gains_by_batches_has_room_for_two_of_them() -> None:
    pace = Pace(workers=2)
    pace.note_run(1, 0.004)
    pace.note_run(4, 0.004)
    assert pace.frame_s == pytest.approx(0.001)
    assert pace.room(2.0) == 8


def test_more_time_gives_more_room() -> None:
    pace = Pace(workers=1)
    pace.note_run(1, 0.010)
    assert [pace.room(slowdown) for slowdown in (1.0, 2.0, 5.0)] == [2, 2, 5]


def test_decoders_that_are_slower_than_the_network_set_the_pace() -> None:
    pace = Pace(workers=2)
    pace.note_run(1, 0.010)
    pace.note_reading(0.100)
    assert pace.frame_s == pytest.approx(0.050)
    assert pace.alone_s == pytest.approx(0.110)
    assert pace.room(2.0) == 4


def test_the_pace_follows_what_is_measured_now() -> None:
    pace = Pace(workers=1)
    pace.note_run(1, 0.010)
    for _ in range(100):
        pace.note_run(1, 0.030)
    assert pace.frame_s == pytest.approx(0.030, rel=0.01)


def test_nothing_is_known_before_the_first_frame() -> None:
    pace = Pace(workers=1)
    assert pace.frame_s == 0
    assert pace.alone_s == 0
    assert pace.room(2.0) is None
