"""The bound on requests under way."""

from __future__ import annotations

import asyncio

import pytest

from loddis_server.admission import Admission
from loddis_server.metrics import Metrics
from loddis_server.problems import ProblemError


@pytest.fixture
def admission() -> Admission:
    admission = Admission(2, Metrics())
    admission.open()
    return admission


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


def test_the_advice_when_to_come_back_follows_the_pace(admission: Admission) -> None:
    admission.seconds_per_frame = 1.7
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
    admission = Admission(2, Metrics())
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
