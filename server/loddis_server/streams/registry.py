"""All streams of a server, by id: opened, found, ended when idle, and those whose frames the server fetches itself."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from loddis_server.bodies import reader_of_pixels
from loddis_server.models import ModelStore, ServedModel
from loddis_server.models.finding import parse_reference
from loddis_server.pipeline import Pipeline
from loddis_server.problems import (
    BAD_PARAMETER,
    NOT_READY,
    SOURCE_NOT_ALLOWED,
    STREAM_CONFLICT,
    TOO_MANY_STREAMS,
    UNKNOWN_STREAM,
    ProblemError,
)
from loddis_server.scene_health import FrameArchive
from loddis_server.sources.allow_list import RefusedError, SourceAllowList
from loddis_server.sources.opening import check_allowed
from loddis_server.sources.settings import SourceSettings
from loddis_server.sources.source import Source
from loddis_server.sources.status import SourceFrame, SourceStatus
from loddis_server.streams.documents import source_record
from loddis_server.streams.live import LiveStream, StreamKind
from loddis_server.streams.media_time import MediaTime
from loddis_server.streams.reporting import StreamReporter
from loddis_server.streams.session import FrameOptions
from loddis_server.streams.settings import STREAM_ID, SourceStreamSettings, StreamSettings, StreamsSettings
from loddis_server.streams.unlike_frames import UnlikeFrames

__all__ = ["StreamRegistry"]

logger = logging.getLogger(__name__)

SWEEP_S = 1.0
END_TIMEOUT_S = 5.0  # for whoever asked for the end; a frame that hangs holds up no answer


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A source and the task that takes its frames to its stream."""

    source: Source
    task: asyncio.Task[None]


class StreamRegistry:
    """The streams. Used on the event loop.

    Args:
        settings: Of all streams.
        allow: What sources may be read.
        models: That streams detect with.
        pipeline: That their frames go through.
        reporter: Told of every result, and of every change of a source's state.
    """

    def __init__(
        self,
        settings: StreamsSettings,
        *,
        allow: SourceAllowList,
        models: ModelStore,
        pipeline: Pipeline,
        reporter: StreamReporter,
    ) -> None:
        self.settings = settings
        self._allow = allow
        self._models = models
        self._pipeline = pipeline
        self._reporter = reporter
        unlike = settings.unlike_frames
        self._archive = None if unlike is None else FrameArchive(unlike.folder, unlike.limits)
        self._streams: dict[str, LiveStream] = {}
        self._fetched: dict[str, _Fetched] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._awaited = {camera.stream_id for camera in settings.cameras}  # their ids and places are kept for them
        self._is_closed = False

    def __iter__(self) -> Iterator[LiveStream]:
        return iter(list(self._streams.values()))

    def __len__(self) -> int:
        return len(self._streams)

    def start(self) -> None:
        """Begin to read the cameras of the settings, and to end idle streams."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._open_camera(camera)) for camera in self.settings.cameras]
        self._tasks.append(loop.create_task(self._sweep()))

    def find(self, stream_id: str) -> LiveStream:
        """Give a stream.

        Raises:
            ProblemError: There is none of that name.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            raise ProblemError(UNKNOWN_STREAM, f"there is no stream {stream_id[:100]!r}")
        return stream

    def source_status(self, stream: LiveStream) -> SourceStatus | None:
        """Give the state of a stream's source; none if its frames are sent to it."""
        fetched = self._fetched.get(stream.stream_id)
        return None if fetched is None else fetched.source.status

    def open(self, stream_id: str, *, model: str | None = None) -> LiveStream:
        """Give the stream that frames of this id belong to; opens it with its first frame.

        Args:
            stream_id: Chosen by whoever sends the frames.
            model: ``NAME`` or ``NAME:VERSION``; what the stream has, or the default, if none.

        Raises:
            ProblemError: The id cannot be one, the stream has a source or another model, or there are too many.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return self._add(stream_id, "pushed", model=model, settings=self.settings.defaults)
        if stream.kind != "pushed":
            raise ProblemError(STREAM_CONFLICT, f"the frames of the stream {stream_id} come from its source")
        if model is not None and not _is_called(stream.model, model):
            raise ProblemError(
                STREAM_CONFLICT, f"the stream {stream_id} detects with {stream.model.reference}, not with {model[:100]}"
            )
        return stream

    def open_video(self, *, model: str | None = None) -> LiveStream:
        """Open a stream for an upload; end it with `remove`.

        Raises:
            ProblemError: There is no such model, or there are too many streams.
        """
        return self._add(f"video-{uuid.uuid4().hex}", "video", model=model, settings=self.settings.defaults)

    async def create(
        self, stream_id: str | None, source: SourceSettings, *, model: str | None, settings: StreamSettings | None
    ) -> LiveStream:
        """Open a stream whose frames the server fetches.

        Raises:
            ProblemError: The source is not allowed, the id is taken or cannot be one, there are too many streams.
        """
        try:
            await asyncio.to_thread(check_allowed, source, self._allow)
        except RefusedError as error:
            raise ProblemError(SOURCE_NOT_ALLOWED, str(error)) from None
        name = stream_id or f"stream-{uuid.uuid4().hex[:12]}"
        if name in self._streams:
            raise ProblemError(STREAM_CONFLICT, f"there is a stream {name} already")
        stream = self._add(name, "source", model=model, settings=settings or self.settings.defaults)
        try:
            reader = Source(source, allow=self._allow, on_status=lambda status: self._source_changed(stream, status))
            await reader.start()
        except BaseException:
            await self.remove(name, "its source could not be opened")
            raise
        # In a context of its own: what the stream does from now on is no part of the request that asked for it.
        task = asyncio.get_running_loop().create_task(
            self._fetch(stream, reader), name=f"stream {name}", context=contextvars.Context()
        )
        self._fetched[name] = _Fetched(reader, task)
        return stream

    async def remove(self, stream_id: str, reason: str) -> None:
        """End a stream and forget it; listeners are told why.

        It is forgotten at once. Its end, which its last frame may hold up, goes on whether or not anybody waits for it.

        Raises:
            ProblemError: There is none of that name.
        """
        await asyncio.wait((self._begin_end(stream_id, reason),), timeout=END_TIMEOUT_S)

    async def stop(self) -> None:
        """End all streams, and take no new ones; returns once they have ended."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        for stream in self:
            self._begin_end(stream.stream_id, "the server is stopping")
        if self._ending:
            await asyncio.wait(self._ending)

    def _begin_end(self, stream_id: str, reason: str) -> asyncio.Task[None]:
        """Forget a stream, and end it in a task of its own: whoever asked for that may leave."""
        stream = self.find(stream_id)
        del self._streams[stream_id]
        task = asyncio.get_running_loop().create_task(
            self._end(stream, self._fetched.pop(stream_id, None), reason), context=contextvars.Context()
        )
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _end(self, stream: LiveStream, fetched: _Fetched | None, reason: str) -> None:
        try:
            if fetched is not None:
                fetched.task.cancel()
                await fetched.source.stop()
            await stream.end(reason)
        except Exception:
            logger.exception("stream could not be ended", extra={"stream_id": stream.stream_id})
        else:
            logger.info(
                "stream ended", extra={"stream_id": stream.stream_id, "reason": reason, "frames": stream.frames}
            )

    def _add(self, stream_id: str, kind: StreamKind, *, model: str | None, settings: StreamSettings) -> LiveStream:
        if self._is_closed:
            raise ProblemError(NOT_READY, "the server is stopping")
        if not STREAM_ID.fullmatch(stream_id):
            raise ProblemError(
                BAD_PARAMETER,
                "a stream's id is 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit, "
                f"got {stream_id[:100]!r}",
            )
        if kind == "pushed" and stream_id in self._awaited:
            raise ProblemError(STREAM_CONFLICT, f"the frames of the stream {stream_id} will come from its source")
        kept = len(self._awaited - {stream_id})
        if len(self._streams) + kept >= self.settings.max_streams:
            self._forget_oldest_ended()
        if len(self._streams) + kept >= self.settings.max_streams:
            raise ProblemError(
                TOO_MANY_STREAMS,
                f"there are {len(self._streams) + kept} streams, this server takes {self.settings.max_streams}",
            )
        stream = LiveStream(
            stream_id,
            kind,
            lend=lambda: self._models.lease(model),
            settings=settings,
            limits=self.settings,
            pipeline=self._pipeline,
            on_result=self._reporter.report_result,
            unlike_frames=None if kind == "video" else self._unlike_frames(stream_id),
        )
        self._streams[stream_id] = stream
        logger.info("stream opened", extra={"stream_id": stream_id, "kind": kind, "model": stream.model.reference})
        return stream

    def _forget_oldest_ended(self) -> None:
        """Make room by the stream that has been over for longest, if one is."""
        for stream in self:
            if stream.over.is_set():
                self._begin_end(stream.stream_id, "its place was needed")
                return

    def _unlike_frames(self, stream_id: str) -> UnlikeFrames | None:
        """Give where a stream's unlike frames are kept, if they are."""
        return None if self._archive is None else UnlikeFrames(self._archive, stream_id)

    async def _open_camera(self, camera: SourceStreamSettings) -> None:
        """Open a stream of the settings; one that cannot be is told in the log, and keeps no other from starting."""
        try:
            await self.create(camera.stream_id, camera.source, model=camera.model, settings=camera.settings)
        except ProblemError as error:
            logger.error("camera cannot be read", extra={"stream_id": camera.stream_id, "cause": error.detail})
        except Exception:
            logger.exception("camera cannot be read", extra={"stream_id": camera.stream_id})
        finally:
            self._awaited.discard(camera.stream_id)

    async def _fetch(self, stream: LiveStream, source: Source) -> None:
        """Take a source's frames to its stream until it ends. A frame that cannot be used is no reason to stop."""
        cause: str | None = None
        times = MediaTime()
        try:
            async for frame in source.frames():
                # A file may be read faster than it was recorded: its own times tell what a frame stands for.
                timestamp_s = None if source.settings.is_live else times.take(frame.pts_s)
                options = FrameOptions(frame_index=frame.index, timestamp_s=timestamp_s, captured_at=frame.captured_at)
                before, cause = cause, await self._refusal(stream, frame, options)
                if cause is not None and cause != before:  # of many in a row, the log hears of the first
                    logger.warning("frames refused", extra={"stream_id": stream.stream_id, "cause": cause})
        except Exception:
            logger.exception("source failed", extra={"stream_id": stream.stream_id})
        # It stays in the list, to say how it ended, until it is deleted or its place is needed.
        await stream.end(source.status.cause or f"its source is {source.status.state}")

    async def _refusal(self, stream: LiveStream, frame: SourceFrame, options: FrameOptions) -> str | None:
        """Take a frame to its stream; say why it could not be used, if it could not."""
        try:
            await stream.detect(reader_of_pixels(frame.image), options)
        except ProblemError as error:
            return error.detail
        except Exception:
            logger.exception("frame failed", extra={"stream_id": stream.stream_id, "frame_index": frame.index})
        return None

    def _source_changed(self, stream: LiveStream, status: SourceStatus) -> None:
        stream.say("source", source_record(status))
        self._reporter.report_source(stream, status)

    async def _sweep(self) -> None:
        """End streams that nobody sends frames to any more."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for stream in self:
                is_left = stream.is_idle and now - stream.last_frame_s > self.settings.idle_timeout_s
                if stream.kind == "pushed" and is_left:
                    self._begin_end(stream.stream_id, f"no frame for {self.settings.idle_timeout_s:g} s")


def _is_called(model: ServedModel, reference: str) -> bool:
    """Tell whether a reference, with or without a version, may mean a model."""
    name, version = parse_reference(reference)
    return model.name == name and version in (None, model.version)
