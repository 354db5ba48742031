"""Fan-out to listeners: all are told, slow ones lose, nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import orjson

from loddis_server.streams.hub import Hub, Message, Subscription


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 10))


def frame(index: int) -> Message:
    return Message("frame", {"type": "frame", "frame_index": index})


END = Message("end", {"type": "end", "reason": "over"})


async def taken(listener: Subscription) -> list[Any]:
    """Take all that is there until the end; indices of frames, types of other messages."""
    seen = []
    while not listener.ended:
        message = await listener.next()
        assert message is not None
        seen.append(message.document.get("frame_index", message.kind))
    return seen


def test_every_listener_gets_every_message_in_order() -> None:
    async def scenario() -> None:
        hub = Hub(10)
        first, second = hub.subscribe(), hub.subscribe()
        for index in range(5):
            hub.publish(frame(index))
        hub.publish(END)
        assert await taken(first) == [0, 1, 2, 3, 4, "end"]
        assert await taken(second) == [0, 1, 2, 3, 4, "end"]

    run(scenario())


def test_a_slow_listener_loses_the_oldest_and_the_others_lose_nothing() -> None:
    async def scenario() -> None:
        hub = Hub(3)
        slow, quick = hub.subscribe(), hub.subscribe()
        seen = []
        for index in range(10):
            hub.publish(frame(index))
            message = await quick.next()
            assert message is not None
            seen.append(message.document["frame_index"])
        hub.publish(END)
        assert seen == list(range(10))
        assert await taken(slow) == [8, 9, "end"]
        assert (slow.lost, quick.lost, hub.lost) == (8, 0, 8)

    run(scenario())


def test_waiting_ends_with_a_message_or_in_time() -> None:
    async def scenario() -> None:
        hub = Hub(3)
        listener = hub.subscribe()
        assert await listener.next(timeout_s=0.01) is None
        waiting = asyncio.ensure_future(listener.next())
        await asyncio.sleep(0)
        hub.publish(frame(7))
        message = await waiting
        assert message is not None
        assert orjson.loads(message.json) == {"type": "frame", "frame_index": 7}

    run(scenario())


def test_who_comes_after_the_end_is_told_of_it_alone() -> None:
    async def scenario() -> None:
        hub = Hub(3)
        hub.publish(frame(0))
        hub.publish(END)
        assert await taken(hub.subscribe()) == ["end"]
        assert len(hub) == 0

    run(scenario())


def test_a_listener_that_left_is_told_nothing_and_counted_no_more() -> None:
    async def scenario() -> None:
        hub = Hub(3)
        with hub.subscribe() as listener:
            assert len(hub) == 1
        hub.publish(frame(0))
        assert len(hub) == 0
        assert await listener.next(timeout_s=0.01) is None

    run(scenario())


def test_a_message_is_encoded_once_for_all() -> None:
    message = frame(1)
    assert message.json is message.json
