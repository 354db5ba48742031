"""A stream on the event loop: takes its frames in, one after the other, and tells its listeners.

A frame that was let in is worked on to its end, whether or not whoever sent it waits: it is part of the stream then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import zlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from loddis_runtime.errors import ConfigError, DuplicateFrameError, FrameError, LateFrameError, StreamError
from loddis_server.bodies import FrameReader
from loddis_server.logs import stream_id_var
from loddis_server.metrics import Stage
from loddis_server.models import ModelLease, ServedModel
from loddis_server.pipeline import Pipeline, Place
from loddis_server.problems import BAD_FRAME, BAD_PARAMETER, LATE_FRAME, UNKNOWN_STREAM, ProblemError
from loddis_server.scene_health import FrameArchive
from loddis_server.streams.documents import drift_record, frame_document
from loddis_server.streams.hub import Hub, Message
from loddis_server.streams.jobs import CanaryJob, NoPlace, StreamJob
from loddis_server.streams.session import FrameOptions, StreamResult, StreamSession
from loddis_server.streams.settings import StreamSettings, StreamsSettings

__all__ = ["LiveStream", "StreamAnswer", "StreamKind"]

logger = logging.getLogger(__name__)

StreamKind = Literal["pushed", "source", "video"]
RATE_FRAMES = 60  # over which the frames a second are counted


class StreamAnswer:
    """What is sent back for a frame.

    Attributes:
        result: Of the session.
        message: What listeners were told.
        seconds: Spent in each stage.
    """

    def __init__(self, result: StreamResult, message: Message, seconds: dict[Stage, float]) -> None:
        self.result = result
        self.message = message
        self.seconds = seconds


class LiveStream:
    """One stream.

    Args:
        stream_id: Its name.
        kind: `pushed`: frames are sent to it; `source`: the server fetches them; `video`: of one upload.
        lend: Gives a lease of the stream's model: at once, and again when another version has taken its name.
        settings: Of the stream.
        limits: Of all streams.
        pipeline: That its frames go through.
        on_result: Called on the event loop with each result, for metrics and events.
        archive: That keeps frames of scenes unlike the training domains.

    Attributes:
        latest: The newest result; what a preview shows.
        frames: That were detected on.
        refused: Frames that were refused, late ones included.
        alarms: Tracks that were announced.
        ended: Why no more frames are taken; none while they are.
        over: Set once it has ended and the last frame is answered.
        last_frame_s: When the newest frame came, on the clock of `time.monotonic`; when the stream began, if none came.
    """

    def __init__(
        self,
        stream_id: str,
        kind: StreamKind,
        *,
        lend: Callable[[], ModelLease],
        settings: StreamSettings,
        limits: StreamsSettings,
        pipeline: Pipeline,
        on_result: Callable[[LiveStream, StreamResult], None],
        archive: FrameArchive | None = None,
    ) -> None:
        self.stream_id = stream_id
        self.kind: StreamKind = kind
        self.settings = settings
        self._lend = lend
        self._lease = lend()
        self.session = StreamSession(self.model.detector, settings, seed=zlib.crc32(stream_id.encode()))
        self.hub = Hub(limits.listener_capacity)
        self.created_at = time.time()
        self.last_frame_s = time.monotonic()
        self.latest: StreamResult | None = None
        self.frames = 0
        self.refused = 0
        self.alarms = 0
        self.ended: str | None = None
        self.over = asyncio.Event()
        self._pipeline = pipeline
        self._on_result = on_result
        self._archive = archive
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[StreamAnswer]] = set()
        self._ends: deque[float] = deque(maxlen=RATE_FRAMES)
        self._lags: deque[float] = deque(maxlen=RATE_FRAMES)

    @property
    def model(self) -> ServedModel:
        """That detects."""
        return self._lease.model

    @property
    def fps(self) -> float:
        """Frames a second lately."""
        if len(self._ends) < 2 or time.monotonic() - self._ends[-1] > 5.0:
            return 0.0
        return (len(self._ends) - 1) / max(self._ends[-1] - self._ends[0], 1e-9)

    @property
    def lag_s(self) -> float | None:
        """From a frame's coming in to its answer, the mean lately, seconds; none before the first."""
        return math.fsum(self._lags) / len(self._lags) if self._lags else None

    async def detect(self, reader: FrameReader, options: FrameOptions, *, place: Place | None = None) -> StreamAnswer:
        """Detect on the next frame; frames are taken in the order of the calls.

        Args:
            reader: Gives the frame.
            options: That came with it.
            place: That it holds; none if no request brought it.

        Raises:
            ProblemError: It is late, cannot be used, or the stream has ended.
        """
        place = place or NoPlace()
        place.hold()
        task = asyncio.get_running_loop().create_task(self._detect(reader, options, place))
        self._under_way.add(task)
        task.add_done_callback(self._done)
        task.add_done_callback(lambda _: place.release())
        return await asyncio.shield(task)

    async def _detect(self, reader: FrameReader, options: FrameOptions, place: Place) -> StreamAnswer:
        started = time.perf_counter()
        stream_id_var.set(self.stream_id)
        async with self._turn:
            if self.ended is not None:
                raise ProblemError(UNKNOWN_STREAM, f"the stream {self.stream_id} has ended: {self.ended}")
            self._keep_model_current()
            job = StreamJob(reader, self.model, place, session=self.session, options=options)
            try:
                result = await self._pipeline.submit(job)
            except BaseException as error:
                self.refused += 1
                raise _problem_of(error) from None
            self.last_frame_s = time.monotonic()
            job.seconds["total"] = time.perf_counter() - started
            message = Message(
                "frame",
                frame_document(
                    result,
                    stream_id=self.stream_id,
                    model=self.model,
                    seconds=job.seconds,
                ),
            )
            self.frames += 1
            self.alarms += len(result.alarms)
            self.latest = result
            self._ends.append(self.last_frame_s)
            self._lags.append(job.seconds["total"])
            self.hub.publish(message)
            self._on_result(self, result)
            await self._run_canary(result)
            await self._archive_unlike(result)
        return StreamAnswer(result, message, job.seconds)

    async def _run_canary(self, result: StreamResult) -> None:
        """Detect on a copy with targets in it, if it is the canary's turn; nobody sees the outcome but the canary."""
        injected = self.session.canary_frame(result)
        if injected is None or self.session.canary is None:
            return
        job = CanaryJob(injected, self.model, score_threshold=result.threshold)
        try:
            self.session.canary.judge(injected, await self._pipeline.submit(job))
        except Exception:
            logger.warning("the canary could not be run", exc_info=True, extra={"stream_id": self.stream_id})

    async def _archive_unlike(self, result: StreamResult) -> None:
        """Keep the frame if the scene is unlike what the model was trained on."""
        if self._archive is None or not result.drift.is_unlike:
            return
        about = {
            "stream_id": self.stream_id,
            "frame_index": result.window.frame_index,
            "model": self.model.reference,
            "drift": drift_record(result.drift),
            "detections": result.detections.to_records(),
        }
        captured_at = time.time() if result.options.captured_at is None else result.options.captured_at
        offer = partial(self._archive.offer, result.frame, captured_at_s=captured_at, about=about)
        await self._pipeline.run_in_worker(offer)

    def _keep_model_current(self) -> None:
        """Go on with the version that the stream's reference means now; with the old one while there is none."""
        if self._lease.is_current:
            return
        with contextlib.suppress(ProblemError):
            old, self._lease = self._lease, self._lend()
            self.session.adopt(self.model.detector)
            old.release()
            logger.info(
                "stream goes on with another model", extra={"stream_id": self.stream_id, "model": self.model.reference}
            )

    def say(self, kind: Literal["source"], document: dict[str, Any]) -> None:
        """Tell listeners something else than a frame's result."""
        self.hub.publish(Message(kind, {"type": kind, "stream_id": self.stream_id, **document}))

    async def end(self, reason: str) -> None:
        """End: frames under way are finished, listeners told, the model given back. A second call does nothing."""
        if self.ended is not None:
            return
        self.ended = reason
        async with self._turn:
            self.hub.publish(
                Message("end", {"type": "end", "stream_id": self.stream_id, "reason": reason, "frames": self.frames})
            )
            self.session.close()
            self._lease.release()
            self.over.set()

    def _done(self, task: asyncio.Task[StreamAnswer]) -> None:
        """Forget a task; who waited for it has its outcome, and if nobody did, nobody wants it."""
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()


def _problem_of(error: BaseException) -> BaseException:
    """Give the problem that a frame's failure is to whoever sent it."""
    if isinstance(error, DuplicateFrameError | LateFrameError):
        return ProblemError(
            LATE_FRAME,
            str(error),
            errors=[{"parameter": "X-Frame-Index", "message": f"must be above {error.last_index}"}],
        )
    if isinstance(error, ConfigError):
        return ProblemError(BAD_PARAMETER, str(error))
    if isinstance(error, FrameError):
        return ProblemError(BAD_FRAME, str(error))
    if isinstance(error, StreamError):
        return ProblemError(UNKNOWN_STREAM, str(error))
    return error
