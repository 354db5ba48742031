"""The bound on requests under way."""

from __future__ import annotations

import asyncio

import pytest

from loddis_server import admission as admission_module
from loddis_server import pace as pace_module
from loddis_server.admission import Admission
from loddis_server.metrics import Metrics
from loddis_server.pace import Pace
from loddis_server.problems import ProblemError
from support.clock import Clock

TELL = Admission._tell


@pytest.fixture(autouse=True)
def silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be told later: most of these tests have no event loop that would come to it."""
    monkeypatch.setattr(Admission, "_tell", lambda _: None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (admission_module, pace_module):
        monkeypatch.setattr(module, "time", clock)
    return clock


def open_admission(capacity: int, pace: Pace | None = None) -> Admission:
    admission = Admission(capacity, Metrics(), pace=pace or Pace(workers=1), max_slowdown=1.75)
    admission.open()
    return admission


@pytest.fixture
def admission() -> Admission:
    return open_admission(2)


def pace_of(frame_s: float) -> Pace:
    """Give the pace of an engine that gains nothing by batches."""
    pace = Pace(workers=1)
    pace.note_run(1, frame_s)
    return pace


def refusal(admission: Admission) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        admission.enter()
    return caught.value


def test_no_more_enter_than_there_is_room_for(admission: Admission) -> None:
    with admission.enter(), admission.enter():
        error = refusal(admission)
        assert error.kind.slug == "overloaded"
        assert error.headers == {"Retry-After": "1"}
        assert "2 requests are under way, this server takes 2 at once" in error.detail
        assert admission.in_flight == 2
    with admission.enter():
        assert admission.in_flight == 1


def test_refusals_are_told_of_together_and_all_of_them(
    admission: Admission, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Admission, "_tell", TELL)
    monkeypatch.setattr(admission_module, "TOLD_EVERY_S", 0.05)

    def told() -> list[int]:
        return [record.refused for record in caplog.records if hasattr(record, "refused")]

    async def scenario() -> None:
        with admission.enter(), admission.enter():
            for _ in range(5):
                refusal(admission)
            assert [record.message for record in caplog.records] == ["overloaded: frames are refused"]
            await asyncio.sleep(0.08)
            assert told() == [5]
            refusal(admission)
            await asyncio.sleep(0.15)
            assert told() == [5, 1]
            refusal(admission)
            refusal(admission)
            admission.close("the server is stopping")
            assert told() == [5, 1, 2]
            await asyncio.sleep(0.08)
        assert told() == [5, 1, 2]

    asyncio.run(scenario())


def test_the_advice_when_to_come_back_follows_the_pace() -> None:
    admission = open_admission(2, pace_of(1.7))
    with admission.enter(), admission.enter():
        assert refusal(admission).headers == {"Retry-After": "4"}


def test_a_place_is_free_again_after_an_error(admission: Admission) -> None:
    with pytest.raises(ValueError, match="broken"), admission.enter():
        raise ValueError("broken")
    assert admission.in_flight == 0
    assert admission.on_the_way == 0


def test_frames_are_on_their_way_until_they_arrive(admission: Admission) -> None:
    with admission.enter() as first, admission.enter():
        assert admission.on_the_way == 2
        first.arrived()
        first.arrived()
        assert admission.on_the_way == 1
    assert admission.on_the_way == 0


def test_nobody_enters_before_the_start_and_after_the_end() -> None:
    admission = Admission(2, Metrics(), pace=Pace(workers=1), max_slowdown=1.75)
    assert "models are being loaded" in refusal(admission).detail
    admission.open()
    with admission.enter():
        admission.close("the server is stopping")
        error = refusal(admission)
    assert error.kind.slug == "not-ready"
    assert error.headers["Retry-After"] == "1"


def test_it_is_idle_when_the_last_one_left(admission: Admission) -> None:
    async def scenario() -> None:
        await admission.idle()
        ticket = admission.enter()
        waiting = asyncio.ensure_future(admission.idle())
        await asyncio.sleep(0)
        assert not waiting.done()
        with ticket:
            pass
        await waiting

    asyncio.run(scenario())


def ask(admission: Admission) -> bool:
    """Ask to come in as a request that then stays at work; tell whether it was let in."""
    try:
        admission.enter()
    except ProblemError:
        return False
    admission.at_work += 1
    return True


def overload(admission: Admission) -> None:
    """Ask for more than can be done; all of it is done nevertheless."""
    while not admission.is_overloaded:
        with admission.enter() as ticket:
            ticket.arrived()


def answer(admission: Admission) -> None:
    """Let the oldest request at work go."""
    admission.at_work -= 1
    admission.leave()


def test_a_burst_that_the_queue_holds_is_let_in_whole(clock: Clock) -> None:
    admission = open_admission(8, pace_of(0.01))
    for _ in range(20):  # at four fifths of what can be done, in bursts of the queue's length
        assert all(ask(admission) for _ in range(8))
        for _ in range(8):
            answer(admission)
        clock.now_s += 0.1
        assert not admission.is_overloaded


def test_clients_that_wait_for_their_answers_are_never_refused(clock: Clock) -> None:
    """Each sends its next frame when it has the answer to the last: the queue stands, but does not grow."""
    admission = open_admission(8, pace_of(0.01))
    assert all(ask(admission) for _ in range(7))
    for _ in range(1000):
        clock.now_s += 0.01
        answer(admission)
        assert ask(admission)


def test_under_overload_the_next_frame_is_let_in_when_it_can_be_done_in_time(clock: Clock) -> None:
    """A network of 10 ms, four requests in that time, for ten seconds: one runs, and one comes when it is under way."""
    pace = pace_of(0.01)
    admission = open_admission(8, pace)
    ends_s, let_in, depths = 0.0, [], []
    for _ in range(4000):
        if ask(admission):
            let_in.append(clock.now_s)
        if ends_s <= clock.now_s:  # the network is free, or done
            if ends_s:
                pace.end_run()
                answer(admission)
            if admission.at_work:
                pace.begin_run(1)
            ends_s = clock.now_s + 0.01 if admission.at_work else 0.0
        clock.now_s += 0.0025
        depths.append(admission.at_work)
    assert admission.is_overloaded
    assert max(depths[400:]) == 2
    assert min(depths[400:]) == 1  # the network never waits
    assert len(let_in) == pytest.approx(1000, abs=10)


def test_an_overload_that_is_over_is_soon_forgotten(clock: Clock) -> None:
    admission = open_admission(8, pace_of(0.01))
    for _ in range(1000):
        ask(admission)
    assert admission.is_overloaded
    clock.now_s += 0.081
    assert not admission.is_overloaded


def test_slow_uploads_keep_nobody_out_under_overload(clock: Clock) -> None:
    admission = open_admission(8, pace_of(0.01))
    overload(admission)
    uploading = [admission.enter() for _ in range(6)]  # their bodies never come
    ticket = admission.enter()
    ticket.confirm()
    assert admission.in_flight == 7
    for one in [*uploading, ticket]:
        one.release()


def test_under_overload_there_must_still_be_room_when_the_body_is_there(clock: Clock) -> None:
    admission = open_admission(8, pace_of(0.01))
    early = admission.enter()
    overload(admission)
    late = admission.enter()
    admission.at_work = 2
    early.confirm()  # let in before the overload: that stands
    with pytest.raises(ProblemError, match="this would take 30 ms where a lone frame takes 10"):
        late.confirm()
    admission.at_work = 0
    late.confirm()


def test_spare_places_leave_half_to_those_who_come(clock: Clock) -> None:
    admission = open_admission(8, pace_of(0.01))
    with admission.enter():
        spare = [admission.spare() for _ in range(8)]
        assert [place is not None for place in spare] == [True] * 3 + [False] * 5
        assert admission.in_flight == 4
        for place in spare[:3]:
            assert place is not None
            place.leave()
        assert (admission.in_flight, admission.on_the_way) == (1, 1)


def test_there_is_no_spare_place_under_overload_and_at_the_end(clock: Clock) -> None:
    admission = open_admission(8, pace_of(0.01))
    overload(admission)
    assert admission.spare() is None
    clock.now_s += 1
    assert admission.spare() is not None
    admission.close("the server is stopping")
    assert admission.spare() is None


def test_frames_that_could_not_all_be_done_in_time_are_refused(clock: Clock) -> None:
    admission = open_admission(8, pace_of(0.1))
    admission.check_time(1000, within_s=9.9)  # alone: whoever comes back later would find it no better
    admission.at_work, admission.promised = 4, 60
    admission.check_time(35, within_s=9.9)
    with pytest.raises(
        ProblemError, match=r"64 frames are under way: 36 more would take 10\.0 s, and have 9\.9"
    ) as caught:
        admission.check_time(36, within_s=9.9)
    assert caught.value.kind.slug == "overloaded"
    assert caught.value.headers == {"Retry-After": "6"}


def test_requests_that_are_no_frames_are_no_overload(clock: Clock) -> None:
    admission = open_admission(8, pace_of(0.01))
    for _ in range(1000):
        with pytest.raises(ValueError, match="no frame"), admission.enter():
            raise ValueError("no frame")
    assert not admission.is_overloaded


def test_a_server_that_never_ran_a_frame_lets_in_what_the_queue_holds() -> None:
    admission = open_admission(64)
    assert all(ask(admission) for _ in range(64))
    assert not ask(admission)
