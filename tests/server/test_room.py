"""Room for decoded frames: bounded, and nobody waits for whom it is enough."""

from __future__ import annotations

import pytest

from loddis_server.room import Room


class Waiters:
    """Those who wait, and what they have begun with."""

    def __init__(self) -> None:
        self.room = Room[str](10, begin=lambda who, values: self.begun.append((who, values)))
        self.begun: list[tuple[str, int]] = []


@pytest.fixture
def waiters() -> Waiters:
    return Waiters()


def test_no_more_is_taken_than_there_is(waiters: Waiters) -> None:
    room = waiters.room
    assert [room.take(6), room.take(5), room.take(4), room.take(1)] == [True, False, True, False]
    room.give_back(4)
    assert room.take(4)


def test_one_alone_fits_however_large(waiters: Waiters) -> None:
    room = waiters.room
    assert room.take(100)
    assert not room.take(1)
    room.give_back(100)
    assert room.take(1)
    assert not room.take(100)


def test_who_waits_begins_when_there_is_room_the_oldest_first(waiters: Waiters) -> None:
    room = waiters.room
    assert room.take(10)
    for who in ("first", "second", "third"):
        room.wait(who, 4)
    assert waiters.begun == []
    room.give_back(10)
    assert waiters.begun == [("first", 4), ("second", 4)]
    room.give_back(4)
    assert waiters.begun[2:] == [("third", 4)]
    assert not room.leave("third")


def test_a_small_one_does_not_wait_behind_a_large_one(waiters: Waiters) -> None:
    room = waiters.room
    assert room.take(5)
    room.wait("large", 8)
    room.wait("small", 2)
    assert waiters.begun == [("small", 2)]
    room.give_back(2)
    room.give_back(5)
    assert waiters.begun[1:] == [("large", 8)]


def test_who_leaves_takes_no_room(waiters: Waiters) -> None:
    room = waiters.room
    assert room.take(10)
    room.wait("gone", 10)
    assert room.leave("gone")
    room.give_back(10)
    assert waiters.begun == []
    assert room.take(10)
