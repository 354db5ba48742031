"""Indices of frames grow by what went by; waits grow by what went wrong."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from loddis_server.sources.backoff import Backoff
from loddis_server.sources.indexing import FrameIndexer


def test_lost_frames_leave_a_gap() -> None:
    indexer = FrameIndexer(from_times=True)
    periods = [0, 1, 2, 3, 6, 7, 17, 18]
    assert [indexer.next(pts_s=10 + 0.04 * n, captured_at=0.0) for n in periods] == periods


def test_jitter_is_no_gap() -> None:
    indexer = FrameIndexer(from_times=True)
    rng = random.Random(3)
    times = [0.04 * n + rng.uniform(-0.006, 0.006) for n in range(200)]
    assert [indexer.next(pts_s=time, captured_at=0.0) for time in times] == list(range(200))


def test_a_camera_that_slows_down_is_followed() -> None:
    indexer = FrameIndexer(from_times=True)
    times = [0.04 * n for n in range(50)] + [2.0 + 0.08 * n for n in range(50)]
    indices = [indexer.next(pts_s=time, captured_at=0.0) for time in times]
    assert indices[-20:] == list(range(indices[-20], indices[-20] + 20))


def test_a_wrong_announcement_makes_no_gap() -> None:
    indexer = FrameIndexer(from_times=True)
    indexer.reconnected(60.0)
    assert [indexer.next(pts_s=n / 25, captured_at=0.0) for n in range(5)] == list(range(5))


def test_frames_without_times_are_counted() -> None:
    indexer = FrameIndexer(from_times=True)
    assert [indexer.next(pts_s=None, captured_at=0.0) for _ in range(4)] == [0, 1, 2, 3]


def test_times_that_begin_again_do_not_move_the_index_back() -> None:
    indexer = FrameIndexer(from_times=True)
    assert [indexer.next(pts_s=time, captured_at=0.0) for time in (5.0, 5.04, 0.0, 0.04, 1e9)] == [0, 1, 2, 3, 4]


def test_after_a_reconnection_the_time_lost_shows() -> None:
    indexer = FrameIndexer(from_times=True)
    for number in range(10):
        indexer.next(pts_s=number / 25, captured_at=100 + number / 25)
    indexer.reconnected(None)
    assert indexer.next(pts_s=0.0, captured_at=100 + 9 / 25 + 2.0) == 9 + 50
    assert indexer.next(pts_s=0.04, captured_at=0.0) == 9 + 51


def test_a_reconnection_is_never_the_next_frame() -> None:
    indexer = FrameIndexer(from_times=True)
    indexer.next(pts_s=None, captured_at=100.0)
    indexer.reconnected(None)
    assert indexer.next(pts_s=None, captured_at=100.0) == 2


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.none() | st.floats(-1e12, 1e12),
            st.floats(0, 4e9),
            st.none() | st.floats(0.05, 2000),
        )
    )
)
def test_an_index_is_never_repeated(events: list[tuple[bool, float | None, float, float | None]]) -> None:
    indexer = FrameIndexer(from_times=True)
    last = -1
    for is_new, pts_s, captured_at, rate in events:
        if is_new:
            indexer.reconnected(rate)
        index = indexer.next(pts_s=pts_s, captured_at=captured_at)
        assert index > last
        last = index


def test_waits_double_up_to_the_limit_and_begin_again() -> None:
    backoff = Backoff(1.0, 10.0, rng=random.Random(0))
    for expected in (1, 2, 4, 8, 10, 10):
        assert expected / 2 <= backoff.next() <= expected
    backoff.reset()
    assert backoff.next() <= 1.0


def test_waits_differ_from_source_to_source() -> None:
    assert len({Backoff(1.0, 1.0).next() for _ in range(10)}) > 1
