"""Many frames at once: what `detect_many` has in common, on threads and on tasks.

Frames are drawn as room comes free, apart from whoever takes the results: a source that lets wait, a camera for one,
holds back no result, and may itself wait for one. Where the source fails, that comes after the results of what it gave.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

from loddis_client._errors import LoddisClientError, UsageError
from loddis_client._models import DetectionResult

__all__ = ["check_many", "in_tasks", "in_threads"]

SOURCE_TIMEOUT_S = 0.1  # for a source to give what is dropped: most do at once, and the others are not waited for

Outcome: TypeAlias = DetectionResult | LoddisClientError
Running = TypeVar("Running", Future[Outcome], asyncio.Task[Outcome])


def check_many(*, concurrency: int, on_error: str) -> None:
    """Refuse options of `detect_many` that make no sense."""
    if concurrency < 1:
        raise UsageError(f"concurrency must be at least 1, got {concurrency}")
    if on_error not in ("raise", "yield"):
        raise UsageError(f"on_error must be 'raise' or 'yield', got {on_error!r}")


def in_threads(
    one: Callable[[Any], Outcome], frames: Iterable[Any], *, concurrency: int, ordered: bool
) -> Iterator[Outcome]:
    """Do frames side by side, and give what comes of them in their order or as it comes.

    The source is drawn on a thread of its own. Whoever stops taking does not wait for a source that lets wait: what it
    gives next is dropped.
    """
    work = _Work(one, frames, concurrency=concurrency, ordered=ordered)
    try:
        while (future := work.take()) is not None:
            yield future.result()
    finally:
        work.close()


class _Work:
    """Frames under way, on threads.

    Args:
        one: Does a frame.
        frames: The source.
        concurrency: Frames that are drawn and not yet taken, at most.
        ordered: Whether results are taken in the order of the frames.
    """

    def __init__(
        self, one: Callable[[Any], Outcome], frames: Iterable[Any], *, concurrency: int, ordered: bool
    ) -> None:
        self._one = one
        self._frames = frames
        self._concurrency = concurrency
        self._ordered = ordered
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="loddis-client")
        self._running: deque[Future[Outcome]] = deque()  # drawn and not yet taken
        self._changed = threading.Condition()  # guards what is above and below
        self._is_waiting = False  # for the source
        self._is_over = False
        self._is_closed = False
        self._fault: BaseException | None = None
        self._drawer = threading.Thread(target=self._draw, name="loddis-client-source", daemon=True)
        self._drawer.start()

    def take(self) -> Future[Outcome] | None:
        """Wait for what is next, and make room for another; None after the last.

        Raises:
            BaseException: What the source has raised, once all that it gave has been taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._next() or (self._is_over and not self._running))
            future = self._next()
            if future is not None:
                self._running.remove(future)
                self._changed.notify_all()
            elif self._fault is not None:
                raise self._fault
            return future

    def close(self) -> None:
        """Draw no more, end what is under way, and leave no thread but one that waits for the source, if it must."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._drawer.join(SOURCE_TIMEOUT_S if self._is_waiting else None)

    def _next(self) -> Future[Outcome] | None:
        return _first_done(self._running, ordered=self._ordered)

    def _draw(self) -> None:
        try:
            source = iter(self._frames)
            while self._has_room():
                self._begin(next(source))
        except StopIteration:
            pass
        except BaseException as error:  # for whoever takes the results
            self._fault = error
        with self._changed:
            self._is_waiting = False
            self._is_over = True
            self._changed.notify_all()

    def _has_room(self) -> bool:
        """Wait for room; False if there is no need for any."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or len(self._running) < self._concurrency)
            self._is_waiting = not self._is_closed
            return self._is_waiting

    def _begin(self, frame: Any) -> None:
        with self._changed:
            self._is_waiting = False
            if not self._is_closed:
                future = self._pool.submit(self._one, frame)
                self._running.append(future)
                future.add_done_callback(self._settle)

    def _settle(self, _: Future[Outcome]) -> None:
        with self._changed:
            self._changed.notify_all()


async def in_tasks(
    one: Callable[[Any], Coroutine[Any, Any, Outcome]],
    frames: Iterable[Any] | AsyncIterable[Any],
    *,
    concurrency: int,
    ordered: bool,
) -> AsyncGenerator[Outcome, None]:
    """Do frames side by side on the event loop, and give what comes of them in their order or as it comes."""
    running: deque[asyncio.Task[Outcome]] = deque()  # drawn and not yet taken
    room = asyncio.Semaphore(concurrency)
    changed = asyncio.Event()

    async def draw() -> None:
        await room.acquire()
        async with contextlib.aclosing(_each(frames)) as source:
            async for frame in source:
                task = asyncio.create_task(one(frame))
                task.add_done_callback(lambda _: changed.set())
                running.append(task)
                await room.acquire()

    drawing = asyncio.create_task(draw())
    drawing.add_done_callback(lambda _: changed.set())
    try:
        while running or not drawing.done():
            done = _first_done(running, ordered=ordered)
            if done is None:
                await changed.wait()
                changed.clear()
                continue
            running.remove(done)
            room.release()
            yield done.result()
        drawing.result()
    finally:
        for task in (drawing, *running):
            task.cancel()
        await asyncio.gather(drawing, *running, return_exceptions=True)


async def _each(frames: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    if isinstance(frames, AsyncIterable):
        async for frame in frames:
            yield frame
    else:
        for frame in frames:
            yield frame
            await asyncio.sleep(0)  # what is under way goes on before the next one is drawn


def _first_done(running: Iterable[Running], *, ordered: bool) -> Running | None:
    """Give the one to take next, if it is done: the first, or the first that is done."""
    candidates = itertools.islice(running, 1) if ordered else running
    return next((each for each in candidates if each.done()), None)
