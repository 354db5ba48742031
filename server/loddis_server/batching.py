"""One thread that runs the network, and the queue before it: frames that wait at the same time share a run.

A batch closes when it is full, or when there is nothing to wait for. While the network runs, frames gather by
themselves; a thread that falls idle takes what is there at once, so a lone frame is never held up. With a deadline, a
batch that is not full waits that long after its first frame came, but only while other frames are on their way here.

The queue has no limit of its own: whoever submits is admitted first (`admission`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, Protocol, TypeVar

__all__ = ["Batcher", "Job", "StoppedError"]

logger = logging.getLogger(__name__)


class StoppedError(Exception):
    """The batcher ended before it came to a job."""


class Job(Protocol):
    """What a batcher carries."""

    @property
    def key(self) -> Hashable:
        """Jobs of one key may share a batch."""
        ...

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the result any more; may turn true at any time."""
        ...

    def fail(self, error: Exception) -> None:
        """Take the error that ended this job."""
        ...


JobT = TypeVar("JobT", bound=Job)


class Batcher(Generic[JobT]):
    """Gathers jobs into batches and runs them, one batch at a time in each lane.

    Args:
        run: Does a batch, all of one key, and hands each job its result. Runs on threads of the batcher, one a lane.
        max_batch_size: Jobs a batch.
        lanes: Threads that run batches side by side.
        deadline_s: Longest wait for a batch to fill, from the arrival of its first job.
        on_the_way: How many jobs are about to be submitted; asked only if there is a deadline.
    """

    def __init__(
        self,
        run: Callable[[Sequence[JobT]], None],
        *,
        max_batch_size: int,
        lanes: int = 1,
        deadline_s: float = 0.0,
        on_the_way: Callable[[], int] = lambda: 0,
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._deadline_s = deadline_s
        self._on_the_way = on_the_way
        self._waiting: deque[tuple[float, JobT]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._busy_since: dict[int, float] = {}  # by thread
        self._threads = [
            threading.Thread(target=self._loop, name=f"loddis-inference-{lane}", daemon=True) for lane in range(lanes)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    @property
    def busy_s(self) -> float:
        """How long the oldest batch under way has been running; 0 if there is none."""
        since = min(self._busy_since.copy().values(), default=None)
        return 0.0 if since is None else time.monotonic() - since

    @property
    def alive(self) -> bool:
        """Whether all threads run."""
        return all(thread.is_alive() for thread in self._threads)

    def submit(self, job: JobT) -> None:
        """Put a job into the queue, from any thread. A batcher that was stopped fails it at once."""
        with self._changed:
            if not self._stopping:
                self._waiting.append((time.monotonic(), job))
                self._changed.notify()
                return
        job.fail(StoppedError("the server is stopping"))

    def stop(self, *, timeout_s: float) -> None:
        """End the threads after the batches under way; jobs that still wait fail. A second call does nothing.

        Args:
            timeout_s: How long to wait for the batches under way.
        """
        with self._changed:
            self._stopping = True
            left = [job for _, job in self._waiting]
            self._waiting.clear()
            self._changed.notify_all()
        for job in left:
            job.fail(StoppedError("the server is stopping"))
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _loop(self) -> None:
        """Run batches until stopped. Nothing a batch does ends this thread."""
        lane = threading.get_ident()
        while (batch := self._next_batch()) is not None:
            self._busy_since[lane] = time.monotonic()
            self._run_isolated(batch)
            del self._busy_since[lane]

    def _run_isolated(self, batch: Sequence[JobT]) -> None:
        """Run a batch; if it fails, run its jobs one by one, so that one bad job does not take others with it."""
        try:
            self._run(batch)
        except Exception as error:
            if len(batch) == 1:
                batch[0].fail(error)
                return
            logger.warning("batch failed, running its frames one by one", extra={"size": len(batch), "cause": error})
            for job in batch:
                self._run_isolated([job])

    def _next_batch(self) -> list[JobT] | None:
        """Wait for jobs and take those that go together; None once stopped."""
        with self._changed:
            while True:
                while self._waiting and self._waiting[0][1].abandoned:
                    self._waiting.popleft()
                if self._stopping:
                    return None
                if not self._waiting:
                    self._changed.wait()
                    continue
                first_came, first = self._waiting[0]
                left_s = first_came + self._deadline_s - time.monotonic()
                together = sum(job.key == first.key for _, job in self._waiting)
                if together >= self._max_batch_size or left_s <= 0 or self._on_the_way() <= 0:
                    return self._take(first.key)
                self._changed.wait(left_s)

    def _take(self, key: Hashable) -> list[JobT]:
        """Take the oldest jobs of a key; others keep their order."""
        batch: list[JobT] = []
        kept: deque[tuple[float, JobT]] = deque()
        for came, job in self._waiting:
            if job.abandoned:
                continue
            if job.key == key and len(batch) < self._max_batch_size:
                batch.append(job)
            else:
                kept.append((came, job))
        self._waiting = kept
        return batch
