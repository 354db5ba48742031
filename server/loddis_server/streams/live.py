"""A stream on the event loop: takes its frames in, one after the other, and tells its listeners.

A frame that was let in is worked on to its end, whether or not whoever sent it waits: it is part of the stream then.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Literal

from loddis_runtime.errors import ConfigError, DuplicateFrameError, FrameError, LateFrameError, StreamError
from loddis_server.bodies import FrameReader
from loddis_server.jobs import Place
from loddis_server.logs import stream_id_var
from loddis_server.metrics import Stage
from loddis_server.models import ModelLease, ServedModel
from loddis_server.pipeline import Pipeline
from loddis_server.problems import BAD_FRAME, BAD_PARAMETER, LATE_FRAME, UNKNOWN_STREAM, ProblemError
from loddis_server.streams.documents import frame_document
from loddis_server.streams.hub import Hub, Message
from loddis_server.streams.jobs import CanaryJob, NoPlace, StreamJob
from loddis_server.streams.pictures import SharedPictures
from loddis_server.streams.session import FrameOptions, StreamResult, StreamSession
from loddis_server.streams.settings import StreamSettings, StreamsSettings
from loddis_server.streams.unlike_frames import UnlikeFrames

__all__ = ["LiveStream", "StreamAnswer", "StreamKind"]

logger = logging.getLogger(__name__)

StreamKind = Literal["pushed", "source", "video"]
STORING_PATIENCE_S = 0.25  # that an announcement waits for its event to be durable
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
        on_result: Called on the event loop with each result, for metrics and events, before anybody is told of it;
            gives what to wait for before that, no longer than `STORING_PATIENCE_S`.
        unlike_frames: Keeps frames of scenes unlike the training domains, if they are to be kept.

    Attributes:
        latest: The newest result; what a preview shows.
        pictures: Of the newest results.
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
        on_result: Callable[[LiveStream, StreamResult], Sequence[Future[None]]],
        unlike_frames: UnlikeFrames | None = None,
    ) -> None:
        self.stream_id = stream_id
        self.kind: StreamKind = kind
        self.settings = settings
        self._lend = lend
        self._lease = lend()
        try:
            self.session = StreamSession(self.model.detector, settings, seed=zlib.crc32(stream_id.encode()))
        except BaseException:
            self._lease.release()
            raise
        self.hub = Hub(limits.listener_capacity)
        self.pictures = SharedPictures(pipeline.run_in_worker)
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
        self._unlike_frames = unlike_frames
        self._turn = asyncio.Lock()
        self._ending: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._ends: deque[float] = deque(maxlen=RATE_FRAMES)
        self._lags: deque[float] = deque(maxlen=RATE_FRAMES)

    @property
    def model(self) -> ServedModel:
        """That detects."""
        return self._lease.model

    @property
    def is_idle(self) -> bool:
        """Whether no frame is under way."""
        return not self._under_way

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
        self._check_open()
        place = place or NoPlace()
        place.hold()
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[StreamAnswer] = loop.create_future()
        task = loop.create_task(self._take(reader, options, place, answered))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        answered.add_done_callback(lambda _: place.release())
        task.add_done_callback(lambda _: answered.cancel())  # where it ended before it could answer
        return await asyncio.shield(answered)

    async def _take(
        self, reader: FrameReader, options: FrameOptions, place: Place, answered: asyncio.Future[StreamAnswer]
    ) -> None:
        """Work on a frame in its turn; what is done on the side comes after its answer, and does not take it away."""
        started = time.perf_counter()
        stream_id_var.set(self.stream_id)
        try:
            async with self._turn:
                answer = await self._detect(reader, options, place, started=started)
                answered.set_result(answer)
                await self._look_on(answer.result)
        except asyncio.CancelledError:
            answered.cancel()
            raise
        except BaseException as error:
            answered.set_exception(error)
            answered.exception()  # who waited for it has it, and if nobody did, nobody wants it

    async def _detect(
        self, reader: FrameReader, options: FrameOptions, place: Place, *, started: float
    ) -> StreamAnswer:
        """Work on a frame, and tell whoever listens."""
        self._keep_model_current()
        job = StreamJob(reader, self.model, place, session=self.session, options=options)
        try:
            result = await self._pipeline.submit(job)
        except BaseException as error:
            self.refused += 1
            raise _problem_of(error) from None
        self.last_frame_s = time.monotonic()
        await self._report(result)
        job.seconds["total"] = time.perf_counter() - started
        document = frame_document(result, stream_id=self.stream_id, model=self.model, seconds=job.seconds)
        message = Message("frame", document)
        self.frames += 1
        self.alarms += len(result.alarms)
        self.latest = result
        self._ends.append(self.last_frame_s)
        self._lags.append(job.seconds["total"])
        self.hub.publish(message)
        return StreamAnswer(result, message, job.seconds)

    async def _look_on(self, result: StreamResult) -> None:
        """Do what a frame is good for besides its answer."""
        try:
            await self._run_canary(result)
            await self._keep_unlike(result)
        except Exception:
            logger.exception("aftermath of a frame failed", extra={"frame_index": result.window.frame_index})

    async def _report(self, result: StreamResult) -> None:
        """Let metrics and events know before anybody else does: what was announced is not to be lost by a kill.

        A database that does not answer in time delays an announcement, and does not stop it.
        """
        try:
            waited_for = self._on_result(self, result)
        except Exception:  # the frame has its answer all the same
            logger.exception("a frame could not be reported", extra={"frame_index": result.window.frame_index})
            return
        if waited_for:
            _, late = await asyncio.wait(map(asyncio.wrap_future, waited_for), timeout=STORING_PATIENCE_S)
            for one in late:
                one.cancel()

    async def _run_canary(self, result: StreamResult) -> None:
        """Detect on a copy with a target in it, if it is the canary's turn; nobody sees the outcome but the canary."""
        canary = self.session.canary
        if canary is None:
            return
        injected = await self._pipeline.run_in_worker(lambda: self.session.canary_frame(result))
        if injected is None:
            return
        # At the threshold of the stream's alarms: a request may have asked for other detections.
        job = CanaryJob(injected, self.model, score_threshold=self.session.threshold)
        canary.judge(injected, await self._pipeline.submit(job))

    async def _keep_unlike(self, result: StreamResult) -> None:
        """Keep the frame if the scene is unlike what the model was trained on."""
        unlike_frames = self._unlike_frames
        if unlike_frames is None or not result.drift.is_unlike:
            return
        await self._pipeline.run_in_worker(lambda: unlike_frames.keep(result, model=self.model))

    def _keep_model_current(self) -> None:
        """Go on with the version that the stream's reference means now; with the old one while there is none."""
        if self._lease.is_current:
            return
        try:
            lease = self._lend()
        except ProblemError:
            return
        old, self._lease = self._lease, lease
        self.session.adopt(self.model.detector)
        old.release()
        logger.info(
            "stream goes on with another model", extra={"stream_id": self.stream_id, "model": self.model.reference}
        )

    def _check_open(self) -> None:
        if self.ended is not None:
            raise ProblemError(UNKNOWN_STREAM, f"the stream {self.stream_id} has ended: {self.ended}")

    def say(self, kind: Literal["source"], document: dict[str, Any]) -> None:
        """Tell listeners something else than a frame's result."""
        self.hub.publish(Message(kind, {"type": kind, "stream_id": self.stream_id, **document}))

    async def end(self, reason: str) -> None:
        """End: frames that were let in are answered, listeners told, the model given back.

        It goes on to its end whether or not anybody waits for it. A second call waits for the same end.
        """
        if self._ending is None:
            self.ended = reason
            # In a context of its own: it is no part of the request that asked for it.
            self._ending = asyncio.get_running_loop().create_task(self._end(reason), context=contextvars.Context())
        await asyncio.shield(self._ending)

    async def _end(self, reason: str) -> None:
        while self._under_way:
            await asyncio.wait(self._under_way)
        self.hub.publish(
            Message("end", {"type": "end", "stream_id": self.stream_id, "reason": reason, "frames": self.frames})
        )
        self.session.close()
        self._lease.release()
        self.over.set()


def _problem_of(error: BaseException) -> BaseException:
    """Give the problem that a frame's failure is to whoever sent it."""
    if isinstance(error, DuplicateFrameError | LateFrameError):
        index, last = error.frame_index, error.last_index
        is_late_by_index = index is not None and last is not None and index <= last
        fault = (
            {"parameter": "X-Frame-Index", "message": f"must be above {error.last_index}"}
            if is_late_by_index
            else {"parameter": "X-Frame-Timestamp", "message": "must be above that of the last frame"}
        )
        return ProblemError(LATE_FRAME, str(error), errors=[fault])
    if isinstance(error, ConfigError):
        return ProblemError(BAD_PARAMETER, str(error))
    if isinstance(error, FrameError):
        return ProblemError(BAD_FRAME, str(error))
    if isinstance(error, StreamError):
        return ProblemError(UNKNOWN_STREAM, str(error))
    return error
