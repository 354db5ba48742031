"""A frame's way through the server, from the bytes of a body to detections, and the threads it passes.

    event loop          read + prepare, where that is no more than a look at the bytes
    decode workers      read + prepare of all else
    inference thread    infer; finish, if no frame waits for the network
    finishing thread    finish, if some do: not a decode worker, where it would wait for the decoding of large files
    decode workers      finish of frames of streams: tracking takes its time, and several streams share the cores

Each hand-over costs tens of microseconds, so there are no more than these: a small raw frame goes from the event loop
to the inference thread and back.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.engines.threads import available_cores
from loddis_server.admission import Admission
from loddis_server.batching import Batcher, StoppedError
from loddis_server.bodies import FrameReader
from loddis_server.jobs import FrameJob
from loddis_server.metrics import Metrics, Stage
from loddis_server.pace import Pace
from loddis_server.room import Room
from loddis_server.settings import ServerSettings

__all__ = ["Pipeline", "decode_workers"]

T = TypeVar("T")

VALUES_PER_PLACE = 4 * 2**20  # on average: decoding takes up to 10 bytes of each for a while, a decoded frame up to 4
ROOM_PATIENCE_S = 2.0  # of a frame for which there is no room


class Pipeline:
    """The threads that detect.

    Args:
        settings: How many, and how batches are formed.
        admission: Asked how many frames are about to come, told how many are at work.
        pace: Told how fast they go.
        metrics: Told how long stages take.
    """

    def __init__(self, settings: ServerSettings, admission: Admission, pace: Pace, metrics: Metrics) -> None:
        self._admission = admission
        self._pace = pace
        self._metrics = metrics
        self._workers = ThreadPoolExecutor(decode_workers(settings), thread_name_prefix="loddis-decode")
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="loddis-finish")
        self.batcher: Batcher[FrameJob[Any]] = Batcher(
            self._infer,
            max_batch_size=settings.max_batch_size,
            lanes=settings.inference_lanes,
            deadline_s=settings.batch_deadline_ms / 1000,
            on_the_way=lambda: admission.on_the_way,
        )
        self._reading: dict[int, float] = {}  # since when, by thread
        self._room: Room[FrameJob[Any]] = Room(settings.queue_capacity * VALUES_PER_PLACE, begin=self._begin_reading)
        metrics.queue_depth.set_function(lambda: self.batcher.depth)

    def start(self) -> None:
        """Start the inference thread."""
        self.batcher.start()

    def stop(self, *, timeout_s: float) -> None:
        """End all threads; jobs that wait fail. Blocks until what runs is done, or the time is over."""
        self.batcher.stop(timeout_s=timeout_s)
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._finisher.shutdown(wait=False)

    @property
    def busy_s(self) -> float:
        """How long the oldest work under way has been running; 0 if there is none."""
        since = min(self._reading.copy().values(), default=None)
        return max(self.batcher.busy_s, 0.0 if since is None else time.monotonic() - since)

    def submit(self, job: FrameJob[T]) -> asyncio.Future[T]:
        """Send a frame on its way; call on the event loop."""
        self._admission.at_work += 1
        job.future.add_done_callback(lambda _: self._left_work(job))
        if job.reader is not None and job.reader.is_quick:
            self._read(job)
            return job.future
        self._begin_reading(job)
        return job.future

    async def run_in_worker(self, function: Callable[[], T]) -> T:
        """Do other slow work, such as drawing, on a decode worker."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, function)

    def _begin_reading(self, job: FrameJob[Any], values: int = 0) -> None:
        """Send a job to a decode worker, with the room that it has by now."""
        job.values = values
        try:
            job.work = self._workers.submit(self._read, job)
        except RuntimeError:  # they have ended
            job.fail(StoppedError("the server is stopping"))
            return
        job.ticket.hold()
        job.work.add_done_callback(lambda _: _call_on(job.loop, lambda: self._left_worker(job)))

    def _left_worker(self, job: FrameJob[Any]) -> None:
        job.ticket.release()
        self._give_room_back(job)

    def _left_work(self, job: FrameJob[Any]) -> None:
        self._admission.at_work -= 1
        if self._room.leave(job):
            job.reader = None
        self._give_room_back(job)

    def _give_room_back(self, job: FrameJob[Any]) -> None:
        """Give back the room of a job that is answered, or given up, once no worker reads its frame any more."""
        if job.values and job.future.done() and (job.work is None or job.work.done()):
            values, job.values = job.values, 0
            self._room.give_back(values)

    def _has_room(self, job: FrameJob[Any], reader: FrameReader) -> bool:
        """Take the room that a frame needs; if there is none, the job waits for it, and the worker does not."""
        if job.values or not (values := reader.count_values()):
            return True
        if self._room.take(values):
            job.values = values
            return True
        _call_on(job.loop, lambda: self._await_room(job, values))
        return False

    def _await_room(self, job: FrameJob[Any], values: int) -> None:
        """Wait for room, no longer than `ROOM_PATIENCE_S`; a worker begins anew then."""
        if job.future.done():
            return
        self._room.wait(job, values)
        job.loop.call_later(ROOM_PATIENCE_S, self._lose_patience, job)

    def _lose_patience(self, job: FrameJob[Any]) -> None:
        if self._room.leave(job):
            job.reader = None
            job.fail(self._admission.refusal("the frames that are at work leave no memory for one more of this size"))

    def _read(self, job: FrameJob[Any]) -> None:
        """First stage: decode and prepare, once there is room for the frame."""
        reader = job.reader
        if job.abandoned or reader is None:
            return
        self._reading[threading.get_ident()] = time.monotonic()
        try:
            if not self._has_room(job, reader):
                return
            job.reader = None
            started = time.perf_counter()
            job.frame = reader.read()
            decoded = time.perf_counter()
            job.prepared = job.prepare(job.frame)
            job.prepared_at = time.perf_counter()
        except Exception as error:
            job.fail(error)
            return
        finally:
            del self._reading[threading.get_ident()]
        self._record(job, "decode", decoded - started)
        self._record(job, "prepare", job.prepared_at - decoded)
        self._pace.note_reading(job.prepared_at - started)
        self.batcher.submit(job)
        job.ticket.arrived()

    def _infer(self, batch: Sequence[FrameJob[Any]]) -> None:
        """Second stage, on the inference thread: run the network, pass the candidates on."""
        model = batch[0].model
        prepared = [job.prepared for job in batch if job.prepared is not None]
        started = time.perf_counter()
        self._pace.begin_run(len(batch))
        try:
            raw = model.detector.infer(prepared)  # (B, K, 6)
        finally:
            self._pace.end_run()
        inferred = time.perf_counter()
        self._pace.note_run(len(batch), inferred - started)
        self._metrics.batch_size.labels(model.name).observe(len(batch))
        for job in batch:
            self._record(job, "queue", started - job.prepared_at)
            self._record(job, "infer", inferred - started)
        quick = [index for index, job in enumerate(batch) if job.finishes_quickly]
        if quick and self.batcher.depth == 0:
            self._finish([batch[index] for index in quick], raw[quick])
        elif quick:
            self._finisher.submit(self._finish, [batch[index] for index in quick], raw[quick])
        for index, job in enumerate(batch):
            if not job.finishes_quickly:
                self._workers.submit(self._finish, [job], raw[index : index + 1])

    def _finish(self, batch: Sequence[FrameJob[Any]], raw: NDArray[np.float32]) -> None:
        """Third stage: make the outcomes; of all frames that are finished alike at once.

        Args:
            batch: Of one model.
            raw: ``(B, K, 6)``, their candidates.
        """
        alike: dict[Hashable, list[int]] = {}
        for index, job in enumerate(batch):
            if not job.abandoned:
                alike.setdefault(job.finish_key, []).append(index)
        for indices in alike.values():
            self._finish_alike([batch[index] for index in indices], raw[indices])

    def _finish_alike(self, jobs: Sequence[FrameJob[Any]], raw: NDArray[np.float32]) -> None:
        """Finish frames of one key; if that fails, one by one, so that one bad frame fails alone."""
        started = time.perf_counter()
        try:
            outcomes = jobs[0].finish_alike(jobs, raw)
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].fail(error)
                return
            for index, job in enumerate(jobs):
                self._finish_alike([job], raw[index : index + 1])
            return
        seconds = time.perf_counter() - started
        for job, outcome in zip(jobs, outcomes, strict=True):
            self._record(job, "finish", seconds)
            job.resolve(outcome)

    def _record(self, job: FrameJob[Any], stage: Stage, seconds: float) -> None:
        """Note how long a stage took."""
        job.note(stage, seconds)
        self._metrics.stages[stage].observe(seconds)


def decode_workers(settings: ServerSettings) -> int:
    """Give how many threads decode."""
    return settings.decode_workers or available_cores()


def _call_on(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call something on an event loop from any thread; once the loop has ended, nobody waits for it."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)
