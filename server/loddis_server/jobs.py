"""A frame on its way through the server: what is known of it, and how its stages are done.

Legend: B frames of a batch, K candidates of the network.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.detections import Detections
from loddis_runtime.detector import PreparedFrame
from loddis_runtime.frames import Frame
from loddis_server.bodies import FrameReader
from loddis_server.metrics import Stage
from loddis_server.models import ServedModel
from loddis_server.tracing import request_span_var

__all__ = ["DetectionJob", "FrameJob", "Place"]

T = TypeVar("T")


class Place(Protocol):
    """What a frame holds while it is on its way, as `Ticket`."""

    def hold(self) -> None:
        """Keep the place until `release`."""
        ...

    def release(self) -> None:
        """Let go."""
        ...

    def arrived(self) -> None:
        """Say that the frame is in the queue of the network, from any thread."""
        ...


class FrameJob(ABC, Generic[T]):
    """One frame on its way. Made on the event loop; `future` belongs to it.

    Args:
        reader: Gives the frame; forgotten once it was asked, with the body that it holds.
        model: To detect with.
        ticket: Of the request.

    Attributes:
        future: The outcome, or what went wrong.
        work: Of the decode worker that reads the frame, if one does.
        loop: That it was made on.
        values: That it has room for in memory.
        frame: Once it is read.
        seconds: Time spent in each stage so far.
    """

    finishes_quickly = True
    """Whether that takes so little time that the thread of the network may do it while nothing waits."""

    def __init__(self, reader: FrameReader, model: ServedModel, ticket: Place) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()
        self.reader: FrameReader | None = reader
        self.model = model
        self.ticket = ticket
        self.abandoned = False
        self.work: Future[None] | None = None
        self.values = 0
        self.frame: Frame | None = None
        self.prepared: PreparedFrame | None = None
        self.prepared_at = 0.0
        self.seconds: dict[Stage, float] = {}
        self._span = request_span_var.get()

    @abstractmethod
    def prepare(self, frame: Frame) -> PreparedFrame:
        """Make of a frame what the network takes."""

    @property
    @abstractmethod
    def finish_key(self) -> Hashable:
        """Frames of one key are finished together; they are jobs of one type."""

    @abstractmethod
    def finish_alike(self, jobs: Sequence[Any], raw: NDArray[np.float32]) -> Sequence[T]:
        """Make the outcomes of jobs of this one's key, of their candidates ``(B, K, 6)``."""

    @property
    def key(self) -> Hashable:
        """Frames of one model share a run of its network."""
        return self.model

    def note(self, stage: Stage, seconds: float) -> None:
        """Note that a stage ends now, and how long it took; from any thread."""
        self.seconds[stage] = seconds
        if self._span is not None:
            self._span.stage(stage, seconds)

    def abandon(self) -> None:
        """Give the job up: what has not begun is left out, and no result comes any more."""
        self.abandoned = True
        self.future.cancel()
        if self.work is not None and self.work.cancel():
            self.reader = None  # the worker's queue keeps the job until its turn comes, but not the body

    def resolve(self, outcome: T) -> None:
        """Hand in the result, from any thread."""
        self._settle(lambda: self.future.set_result(outcome))

    def fail(self, error: Exception) -> None:
        """Hand in what went wrong, from any thread."""
        self._settle(lambda: self.future.set_exception(error))

    def _settle(self, settle: Callable[[], None]) -> None:
        if self.abandoned:
            return
        try:
            self.loop.call_soon_threadsafe(lambda: None if self.future.done() else settle())
        except RuntimeError:  # the event loop has ended: nobody waits
            self.abandoned = True


class DetectionJob(FrameJob[Detections]):
    """A frame that stands for itself.

    Args:
        reader: As `FrameJob`.
        model: As `FrameJob`.
        ticket: As `FrameJob`.
        score_threshold: The model's if none.
        max_detections: The model's if none.
    """

    def __init__(
        self,
        reader: FrameReader,
        model: ServedModel,
        ticket: Place,
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
    ) -> None:
        super().__init__(reader, model, ticket)
        self.score_threshold = score_threshold
        self.max_detections = max_detections

    def prepare(self, frame: Frame) -> PreparedFrame:
        """Prepare as `Detector.prepare`."""
        return self.model.detector.prepare(frame)

    @property
    def finish_key(self) -> Hashable:
        """Its options."""
        return self.score_threshold, self.max_detections

    def finish_alike(self, jobs: Sequence[DetectionJob], raw: NDArray[np.float32]) -> list[Detections]:
        """Finish as `Detector.finish_batch`."""
        return self.model.detector.finish_batch(
            [job.prepared for job in jobs if job.prepared is not None],
            raw,
            score_threshold=self.score_threshold,
            max_detections=self.max_detections,
        )
