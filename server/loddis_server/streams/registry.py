"""All streams of a server, by id: opened, found, ended when idle, and those whose frames the server fetches itself."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from loddis_server.bodies import FrameReader
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
from loddis_server.sources.status import SourceStatus
from loddis_server.streams.live import LiveStream, StreamKind
from loddis_server.streams.reporting import StreamReporter
from loddis_server.streams.session import FrameOptions
from loddis_server.streams.settings import STREAM_ID, SourceStreamSettings, StreamSettings, StreamsSettings

__all__ = ["StreamRegistry"]

logger = logging.getLogger(__name__)

SWEEP_S = 1.0


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
        self._streams: dict[str, LiveStream] = {}
        self._fetched: dict[str, _Fetched] = {}
        self._tasks: list[asyncio.Task[None]] = []
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

        Raises:
            ProblemError: There is none of that name.
        """
        stream = self.find(stream_id)
        del self._streams[stream_id]
        fetched = self._fetched.pop(stream_id, None)
        if fetched is not None:
            fetched.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await fetched.task
            await fetched.source.stop()
        await stream.end(reason)
        logger.info("stream ended", extra={"stream_id": stream_id, "reason": reason, "frames": stream.frames})

    async def stop(self) -> None:
        """End all streams, and take no new ones."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        for stream in self:
            with contextlib.suppress(ProblemError):  # somebody else was quicker
                await self.remove(stream.stream_id, "the server is stopping")

    def _add(self, stream_id: str, kind: StreamKind, *, model: str | None, settings: StreamSettings) -> LiveStream:
        if self._is_closed:
            raise ProblemError(NOT_READY, "the server is stopping")
        if not STREAM_ID.fullmatch(stream_id):
            raise ProblemError(
                BAD_PARAMETER,
                "a stream's id is 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit, "
                f"got {stream_id[:100]!r}",
            )
        if len(self._streams) >= self.settings.max_streams:
            raise ProblemError(
                TOO_MANY_STREAMS,
                f"there are {len(self._streams)} streams, this server takes {self.settings.max_streams}",
            )
        stream = LiveStream(
            stream_id,
            kind,
            lend=lambda: self._models.lease(model),
            settings=settings,
            limits=self.settings,
            pipeline=self._pipeline,
            on_result=self._reporter.report_result,
            archive=self._archive(stream_id) if kind != "video" else None,
        )
        self._streams[stream_id] = stream
        logger.info("stream opened", extra={"stream_id": stream_id, "kind": kind, "model": stream.model.reference})
        return stream

    def _archive(self, stream_id: str) -> FrameArchive | None:
        """Give the folder of a stream's unlike frames, if they are kept."""
        wanted = self.settings.unlike_frames
        if wanted is None:
            return None
        try:
            return FrameArchive(wanted.folder / stream_id, wanted.limits)
        except OSError as error:
            logger.error("unlike frames are not kept", extra={"stream_id": stream_id, "cause": str(error)})
            return None

    async def _open_camera(self, camera: SourceStreamSettings) -> None:
        """Open a stream of the settings; one that cannot be is told in the log, and keeps no other from starting."""
        try:
            await self.create(camera.stream_id, camera.source, model=camera.model, settings=camera.settings)
        except ProblemError as error:
            logger.error("camera cannot be read", extra={"stream_id": camera.stream_id, "cause": error.detail})

    async def _fetch(self, stream: LiveStream, source: Source) -> None:
        """Take a source's frames to its stream until it ends. A frame that cannot be used is no reason to stop."""
        async for frame in source.frames():
            options = FrameOptions(frame_index=frame.index, captured_at=frame.captured_at)
            reader = FrameReader(lambda image=frame.image: image, is_quick=True)  # type: ignore[misc]
            try:
                await stream.detect(reader, options)
            except ProblemError as error:
                logger.warning("frame refused", extra={"stream_id": stream.stream_id, "cause": error.detail})
            except Exception:
                logger.exception("frame failed", extra={"stream_id": stream.stream_id, "frame_index": frame.index})

    def _source_changed(self, stream: LiveStream, status: SourceStatus) -> None:
        stream.say("source", {"state": status.state, "cause": status.cause, "restarts": status.restarts})
        self._reporter.report_source(stream, status)

    async def _sweep(self) -> None:
        """End streams that nobody sends frames to any more."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for stream in self:
                if stream.kind == "pushed" and now - stream.last_frame_s > self.settings.idle_timeout_s:
                    with contextlib.suppress(ProblemError):
                        await self.remove(stream.stream_id, f"no frame for {self.settings.idle_timeout_s:g} s")


def _is_called(model: ServedModel, reference: str) -> bool:
    """Tell whether a reference, with or without a version, may mean a model."""
    name, version = parse_reference(reference)
    return model.name == name and version in (None, model.version)
