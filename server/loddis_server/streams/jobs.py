"""The frames of a stream on their way through the pipeline."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.detector import PreparedFrame
from loddis_runtime.frames import Frame
from loddis_runtime.stream import StreamWindow
from loddis_server.bodies import FrameReader, reader_of_pixels
from loddis_server.jobs import DetectionJob, FrameJob, Place
from loddis_server.models import ServedModel
from loddis_server.scene_health import CanaryFrame
from loddis_server.streams.session import FrameOptions, StreamResult, StreamSession

__all__ = ["CanaryJob", "NoPlace", "StreamJob"]


class NoPlace:
    """The place of a frame that no request brought: streams are bounded by their number, one frame each."""

    def hold(self) -> None:
        """Nothing is held."""

    def release(self) -> None:
        """Nothing is freed."""

    def arrived(self) -> None:
        """Nobody waits for it."""


class StreamJob(FrameJob[StreamResult]):
    """A frame of a stream; the stream gives it out when the one before is done.

    Args:
        reader: As `FrameJob`.
        model: As `FrameJob`.
        ticket: As `FrameJob`.
        session: Of the stream.
        options: That came with the frame.
    """

    finishes_quickly = False

    def __init__(
        self, reader: FrameReader, model: ServedModel, ticket: Place, *, session: StreamSession, options: FrameOptions
    ) -> None:
        super().__init__(reader, model, ticket)
        self._session = session
        self._options = options
        self._window: StreamWindow | None = None

    def prepare(self, frame: Frame) -> PreparedFrame:
        """Take the frame into the stream."""
        prepared, self._window = self._session.prepare(frame, self._options)
        return prepared

    @property
    def finish_key(self) -> Hashable:
        """No two frames of a stream are under way at once, and no two streams have anything in common."""
        return self

    def finish_alike(self, jobs: Sequence[StreamJob], raw: NDArray[np.float32]) -> list[StreamResult]:
        """Track, watch the sensor, and put the answer together."""
        return [job.conclude(candidates) for job, candidates in zip(jobs, raw, strict=True)]

    def conclude(self, candidates: NDArray[np.float32]) -> StreamResult:
        """Make the outcome of this frame's candidates ``(K, 6)``."""
        if self.prepared is None or self._window is None:
            raise RuntimeError("a frame that was not prepared cannot be finished")
        return self._session.conclude(self.prepared, self._window, candidates, self._options)


class CanaryJob(DetectionJob):
    """A window with an injected target; nobody but the canary sees what is found in it.

    Args:
        canary: That it is of.
        model: As `FrameJob`.
        score_threshold: Of the stream.
    """

    def __init__(self, canary: CanaryFrame, model: ServedModel, *, score_threshold: float) -> None:
        super().__init__(reader_of_pixels(canary.key_frame), model, NoPlace(), score_threshold=score_threshold)
        self._window = canary.frames

    def prepare(self, frame: Frame) -> PreparedFrame:
        """Prepare the whole window, of which the frame is the last."""
        del frame
        return self.model.detector.prepare_window(self._window)
