"""`POST /v1/videos`: a video in, its detections and tracks out while it is still being decoded, and even still sent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive

from loddis_server import problems
from loddis_server.bodies import reader_of_pixels
from loddis_server.endless import DuplexResponse
from loddis_server.openapi import BINARY, problem_answers
from loddis_server.problems import ProblemError, ProblemType
from loddis_server.routes.context import service_of
from loddis_server.routes.parameters import refuse_repetition
from loddis_server.routes.refusals import refusal_line
from loddis_server.routes.streams import NDJSON
from loddis_server.schemas import DetectOptions
from loddis_server.security import require_scope
from loddis_server.service import Service
from loddis_server.sources.status import SourceFrame
from loddis_server.sources.uploads import VideoDecoder, VideoError
from loddis_server.streams.live import LiveStream
from loddis_server.streams.media_time import MediaTime
from loddis_server.streams.session import FrameOptions

__all__ = ["router"]

logger = logging.getLogger(__name__)

router = APIRouter(tags=["streams"], dependencies=[Depends(require_scope("detect"))])

KINDS: dict[str, ProblemType] = {
    "true_colour": problems.TRUE_COLOUR,
    "too_large": problems.FRAME_TOO_LARGE,
    "no_space": problems.INSUFFICIENT_STORAGE,
}


@router.post(
    "/v1/videos",
    summary="Detect and track targets in a video",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A message of the type `frame` for each frame, in order, then one of the type `end`. What "
            "ends the video early comes as one of the type `problem` before that.",
            "content": {NDJSON: {"itemSchema": {"$ref": "#/components/schemas/StreamMessage"}}},
        },
        **problem_answers(
            [
                problems.EMPTY_BODY,
                problems.UNAUTHORISED,
                problems.FORBIDDEN,
                problems.UNKNOWN_MODEL,
                problems.UPLOAD_TIMEOUT,
                problems.FRAME_TOO_LARGE,
                problems.BAD_PARAMETER,
                problems.BAD_VIDEO,
                problems.TRUE_COLOUR,
                problems.TOO_MANY_STREAMS,
                problems.INTERNAL,
                problems.NOT_READY,
                problems.INSUFFICIENT_STORAGE,
            ]
        ),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "Any container and codec that FFmpeg reads: Matroska, MP4, AVI, MPEG-TS, motion JPEG …",
            "content": {"video/*": {"schema": BINARY}, "application/octet-stream": {"schema": BINARY}},
        }
    },
)
async def detect_video(request: Request, query: Annotated[DetectOptions, Query()]) -> Response:
    """Find and track moving small targets in a video.

    The answer begins with the first frame, while the rest is still sent: read it as it comes. What is wrong with the
    video before its first frame is answered by a status; what is wrong later, by a message. The video is a stream of
    its own; its frames count from 0.
    """
    refuse_repetition(request)
    service = service_of(request)
    if service.state != "ready":
        raise ProblemError(problems.NOT_READY, f"the server is {service.state}")
    async with contextlib.AsyncExitStack() as resources:
        video = _Video(service, service.streams.open_video(model=query.model), query, request)
        resources.push_async_callback(video.close)
        await video.open()
        return DuplexResponse(video.lines(), media_type=NDJSON, resources=resources.pop_all())


class _Video:
    """One upload, from its first byte to the last answer."""

    def __init__(self, service: Service, stream: LiveStream, query: DetectOptions, request: Request) -> None:
        self._service = service
        self._stream = stream
        self._query = query
        self._request = request
        self._receive: Receive = request.receive
        self._decoder = VideoDecoder(service.settings.videos)
        self._resources = contextlib.AsyncExitStack()
        self._feeder: asyncio.Task[None] | None = None
        self._frames: AsyncIterator[SourceFrame] | None = None
        self._first: SourceFrame | None = None
        self._times = MediaTime()
        self._is_whole = False

    async def open(self) -> None:
        """Take the video in up to its first frame.

        Raises:
            ProblemError: There is none.
            ClientDisconnect: The other side left.
        """
        first = await self._next_chunk()
        if not first:
            raise ProblemError(problems.EMPTY_BODY, "expected a video, got 0 bytes")
        try:
            await self._resources.enter_async_context(self._decoder)
            self._feeder = asyncio.get_running_loop().create_task(self._feed(first))
            self._frames = self._decoder.frames()
            self._first = await self._while_fed(anext(self._frames, None))
        except VideoError as error:
            raise _problem_of(error) from None
        if self._first is None:
            raise ProblemError(problems.BAD_VIDEO, "the video has no frame")

    async def lines(self) -> AsyncGenerator[bytes]:
        """Give one line a frame, and the last."""
        reason = "the video is over"
        frame = self._first
        while frame is not None and self._frames is not None:
            try:
                self._check_open()
                yield await self._line(frame)
                frame = await self._while_fed(anext(self._frames, None))
            except (ProblemError, VideoError) as error:
                problem = error if isinstance(error, ProblemError) else _problem_of(error)
                reason = problem.detail
                yield self._problem(problem, frame_index=None)
                break
        end = {"type": "end", "stream_id": self._stream.stream_id, "reason": reason, "frames": self._stream.frames}
        yield orjson.dumps(end) + b"\n"

    async def close(self) -> None:
        """Let go of everything."""
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.gather(self._feeder, return_exceptions=True)  # what ended it was told, or nobody is left
        await self._resources.aclose()
        with contextlib.suppress(ProblemError):  # the server's end may have been quicker
            await self._service.streams.remove(self._stream.stream_id, "the video is over")

    async def _line(self, frame: SourceFrame) -> bytes:
        """Detect in a frame; what is wrong with it is the line."""
        options = FrameOptions(
            frame_index=frame.index,
            timestamp_s=self._times.take(frame.pts_s),
            score_threshold=self._query.score_threshold,
            max_detections=self._query.max_detections,
        )
        try:
            answer = await self._stream.detect(reader_of_pixels(frame.image), options)
        except ProblemError as error:
            return self._problem(error, frame_index=frame.index)
        except Exception:
            logger.exception("frame failed", extra={"stream_id": self._stream.stream_id, "frame_index": frame.index})
            failure = ProblemError(problems.INTERNAL, "an unexpected error; the server's log has it")
            return self._problem(failure, frame_index=frame.index)
        return answer.message.json + b"\n"

    def _problem(self, error: ProblemError, *, frame_index: int | None) -> bytes:
        return orjson.dumps(refusal_line(self._request, error, frame_index=frame_index)) + b"\n"

    async def _feed(self, first: bytes) -> None:
        """Pass the body on to the decoder, then watch whether the other side stays."""
        chunk: bytes | None = first
        while chunk is not None:
            if not await self._decoder.feed(chunk):
                break  # it has what it needs, or has failed: `frames` tells
            chunk = await self._next_chunk()
        self._decoder.finish()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise ClientDisconnect

    async def _next_chunk(self) -> bytes | None:
        """Give the next bytes of the body; None at its end.

        Raises:
            ProblemError: None came for as long as a request may take.
            ClientDisconnect: The other side left.
        """
        limit_s = self._service.settings.request_timeout_s
        while not self._is_whole:
            try:
                message = await asyncio.wait_for(self._receive(), limit_s)
            except TimeoutError:
                raise ProblemError(problems.UPLOAD_TIMEOUT, f"nothing of the video came for {limit_s:g} s") from None
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self._is_whole = not message.get("more_body", False)
            body: bytes = message.get("body", b"")
            if body:
                return body
        return None

    async def _while_fed(self, wanted: Any) -> SourceFrame | None:
        """Wait for a frame, as long as the upload and the stream go on.

        Raises:
            ProblemError, ClientDisconnect: What ended the upload, or the stream.
            VideoError: What ended the decoding.
        """
        assert self._feeder is not None  # noqa: S101
        frame: asyncio.Task[SourceFrame | None] = asyncio.ensure_future(wanted)
        over = asyncio.ensure_future(self._stream.over.wait())
        try:
            await asyncio.wait((frame, self._feeder, over), return_when=asyncio.FIRST_COMPLETED)
            self._check_open()
            if not frame.done():
                self._feeder.result()  # it ends by what went wrong, and not otherwise
            return await frame
        finally:
            frame.cancel()
            over.cancel()

    def _check_open(self) -> None:
        """Check that the stream has not ended, as it does when it is deleted or the server stops."""
        if self._stream.ended is not None:
            kind = problems.NOT_READY if self._service.state == "draining" else problems.UNKNOWN_STREAM
            raise ProblemError(kind, f"the stream of this video has ended: {self._stream.ended}")


def _problem_of(error: VideoError) -> ProblemError:
    """Give the problem that a video's failure is to whoever sent it."""
    return ProblemError(KINDS.get(error.reason, problems.BAD_VIDEO), str(error))
