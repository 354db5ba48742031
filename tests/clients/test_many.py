"""`detect_many` with a source that lets wait: results come as they are there, in order, and nobody waits in vain."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_client import AsyncClient, Client
from loddis_client._parallel import in_tasks, in_threads
from support.live_server import LiveServer, wait_until

PATIENCE_S = 20.0


@pytest.mark.parametrize("ordered", [True, False])
def test_a_source_may_wait_for_a_result(server: LiveServer, frame: NDArray[np.uint8], ordered: bool) -> None:
    taken = threading.Semaphore(0)

    def source() -> Iterator[NDArray[np.uint8]]:
        for _ in range(3):
            yield frame
            assert taken.acquire(timeout=PATIENCE_S), "the result is held back"

    with Client(server.url) as client:
        for result in client.detect_many(source(), concurrency=3, ordered=ordered):
            assert len(result) == 1
            taken.release()


@pytest.mark.parametrize("ordered", [True, False])
def test_a_source_may_wait_for_a_result_from_asyncio(
    server: LiveServer, frame: NDArray[np.uint8], ordered: bool
) -> None:
    async def check() -> None:
        taken = asyncio.Semaphore(0)

        async def source() -> AsyncIterator[NDArray[np.uint8]]:
            for _ in range(3):
                yield frame
                await taken.acquire()

        async with asyncio.timeout(PATIENCE_S), AsyncClient(server.url) as client:
            async for result in client.detect_many(source(), concurrency=3, ordered=ordered):
                assert len(result) == 1
                taken.release()

    asyncio.run(check())


def test_the_order_is_that_of_the_frames() -> None:
    second_is_done = threading.Event()

    def on_a_thread(number: int) -> Any:
        assert number == 1 or second_is_done.wait(PATIENCE_S)
        second_is_done.set()
        return number

    async def on_tasks() -> list[Any]:
        second_is_done = asyncio.Event()

        async def on_a_task(number: int) -> Any:
            if number == 0:
                await second_is_done.wait()
            second_is_done.set()
            return number

        return [number async for number in in_tasks(on_a_task, range(2), concurrency=2, ordered=True)]

    assert list(in_threads(on_a_thread, range(2), concurrency=2, ordered=True)) == [0, 1]
    assert asyncio.run(on_tasks()) == [0, 1]


def test_without_order_the_first_that_is_done_comes_first() -> None:
    second_is_taken = threading.Event()

    def on_a_thread(number: int) -> Any:
        assert number == 1 or second_is_taken.wait(PATIENCE_S)
        return number

    async def on_tasks() -> None:
        second_is_taken = asyncio.Event()

        async def on_a_task(number: int) -> Any:
            if number == 0:
                await second_is_taken.wait()
            return number

        async with asyncio.timeout(PATIENCE_S):
            results = in_tasks(on_a_task, range(2), concurrency=2, ordered=False)
            assert await anext(results) == 1
            second_is_taken.set()
            assert [number async for number in results] == [0]

    results = in_threads(on_a_thread, range(2), concurrency=2, ordered=False)
    assert next(results) == 1
    second_is_taken.set()
    assert list(results) == [0]
    asyncio.run(on_tasks())


@pytest.mark.parametrize("ordered", [True, False])
def test_where_the_source_fails_what_it_gave_comes_first(ordered: bool) -> None:
    def broken() -> Iterator[int]:
        yield from range(3)
        raise RuntimeError("the camera fell over")

    given: list[Any] = []
    with pytest.raises(RuntimeError, match="the camera fell over"):
        given.extend(in_threads(lambda number: number, broken(), concurrency=8, ordered=ordered))
    assert sorted(given) == [0, 1, 2]

    async def as_it_is(number: int) -> Any:
        return number

    async def check() -> None:
        async for number in in_tasks(as_it_is, broken(), concurrency=8, ordered=ordered):
            given.append(number)  # noqa: PERF401 - kept when the source fails

    given.clear()
    with pytest.raises(RuntimeError, match="the camera fell over"):
        asyncio.run(check())
    assert sorted(given) == [0, 1, 2]


def test_whoever_stops_taking_does_not_wait_for_the_source() -> None:
    is_asked, may_go_on = threading.Event(), threading.Event()
    done: list[Any] = []

    def source() -> Iterator[int]:
        yield 0
        is_asked.set()
        assert may_go_on.wait(PATIENCE_S)
        yield 1

    with closing(in_threads(lambda number: done.append(number), source(), concurrency=2, ordered=True)) as results:
        next(results)
        assert is_asked.wait(PATIENCE_S)
    may_go_on.set()  # only now: to stop has not waited for it
    wait_until(lambda: not any(thread.name.startswith("loddis-client") for thread in threading.enumerate()))
    assert done == [0]


def test_a_source_that_is_waited_for_is_cancelled_on_the_event_loop() -> None:
    async def as_it_is(number: int) -> Any:
        return number

    async def check() -> None:
        ended = asyncio.Event()

        async def source() -> AsyncIterator[int]:
            try:
                yield 0
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with asyncio.timeout(PATIENCE_S):
            async with aclosing(in_tasks(as_it_is, source(), concurrency=2, ordered=True)) as results:
                assert await anext(results) == 0
                await asyncio.sleep(0)
            await ended.wait()

    asyncio.run(check())


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_is_drawn_than_there_is_room_for(concurrency: int) -> None:
    drawn = 0

    def endless() -> Iterator[int]:
        nonlocal drawn
        while True:
            drawn += 1
            yield drawn

    async def as_it_is(number: int) -> Any:
        return number

    async def check() -> None:
        async with aclosing(in_tasks(as_it_is, endless(), concurrency=concurrency, ordered=True)) as results:
            for taken in range(1, 20):
                assert await anext(results) == taken
                assert drawn <= taken + concurrency

    with closing(in_threads(lambda number: number, endless(), concurrency=concurrency, ordered=True)) as results:
        for taken in range(1, 20):
            assert next(results) == taken
            assert drawn <= taken + concurrency
    drawn = 0
    asyncio.run(check())
