"""The client for programs that wait."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Literal, cast, overload

import httpx

from loddis_client._duplex import VideoExchange
from loddis_client._encoding import video_chunks
from loddis_client._errors import LoddisClientError, UsageError
from loddis_client._messages import MessageReader, parse_batch, parse_stream_result
from loddis_client._models import DetectionResult, ModelInfo
from loddis_client._parallel import check_many, in_threads
from loddis_client._requests import (
    DEFAULT_URL,
    Request,
    StreamPlace,
    batch_request,
    detect_request,
    listen_request,
    video_request,
)
from loddis_client._responses import error_of, parse_detection_result, parse_models, parse_png, retry_after_s
from loddis_client._retries import RetryPolicy
from loddis_client._streams import StreamMessage, StreamResult
from loddis_client._wire import LIMITS, RETRIED, SILENCE_S, Answer, Receipt, Wire, may_retry, translate

__all__ = ["Client"]


class Client:
    """Talk to a Loddis server. One client may serve many threads; close it, or use it as a context.

        with Client() as client:
            result = client.detect(frame)

    Args:
        base_url: Of the server; a path before the routes is kept.
        api_key: If the server asks for one.
        timeout_s: For a request to be answered, seconds.
        model: Detects where a call names none; the server's default if none.
        retries: Tries after the first one, where the server is full or cannot be reached.
        transport: Replaces the network, for tests.

    Raises:
        UsageError: A base URL that is none, or a number out of range.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        model: str | None = None,
        retries: int = 2,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._retries = RetryPolicy(retries)
        self._wire = Wire(base_url, api_key=api_key, timeout_s=timeout_s)
        self._transport = transport or httpx.HTTPTransport(limits=LIMITS)
        self._closed = False
        self._model = model

    @overload
    def detect(
        self,
        frame: Any,
        *,
        score_threshold: float | None = ...,
        max_detections: int | None = ...,
        model: str | None = ...,
        stream_id: None = ...,
    ) -> DetectionResult: ...

    @overload
    def detect(
        self,
        frame: Any,
        *,
        score_threshold: float | None = ...,
        max_detections: int | None = ...,
        model: str | None = ...,
        stream_id: str,
        frame_index: int | None = ...,
        timestamp_s: float | None = ...,
        reset: bool = ...,
    ) -> StreamResult: ...

    def detect(
        self,
        frame: Any,
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        model: str | None = None,
        stream_id: str | None = None,
        frame_index: int | None = None,
        timestamp_s: float | None = None,
        reset: bool = False,
    ) -> DetectionResult:
        """Detect the targets in a frame; with `stream_id`, as the next one of a stream.

        A frame of a stream is sent again only where the server refused it or could not be connected to: one that got
        lost on the way may have become part of the stream.

        Args:
            frame: An array ``(H, W)`` of uint8, uint16 or float32, the bytes of an image file, or its path.
            score_threshold: Only scores from here on, in [0, 1]; the model's own if none.
            max_detections: The best so many; the model's own limit if none.
            model: ``NAME`` or ``NAME:VERSION``.
            stream_id: Makes it a frame of this stream, which its first frame opens.
            frame_index: Its place in the stream, from 0; one after the last if none.
            timestamp_s: When it was taken, seconds on any clock that does not go back.
            reset: Let the stream forget its window and its tracks before this frame; what it has learned of the sensor,
                the scene and its false alarms stays.

        Returns:
            For a frame of a stream a `StreamResult`, with tracks and alarms.

        Raises:
            FrameError: The frame cannot be sent.
            LateFrame: It does not come after the last one of its stream.
            ServerError: The server refused; `FrameRejected`, `ModelNotFound`, `Overloaded` and so on.
            ConnectionFailed: The server cannot be reached.
            TimedOut: It did not answer in time.
        """
        request = detect_request(
            frame,
            score_threshold=score_threshold,
            max_detections=max_detections,
            model=model or self._model,
            place=StreamPlace.of(stream_id, frame_index=frame_index, timestamp_s=timestamp_s, reset=reset),
        )
        parse = parse_detection_result if stream_id is None else parse_stream_result
        return parse(self._send(request))

    def detect_batch(
        self,
        frames: Iterable[Any],
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        model: str | None = None,
    ) -> tuple[DetectionResult | LoddisClientError, ...]:
        """Detect in several frames with one request, which the server limits to 64 unless its operator says otherwise.

        Args:
            frames: What `detect` takes, each.
            score_threshold: As `detect`.
            max_detections: As `detect`.
            model: As `detect`.

        Returns:
            The result of each frame, in their order; where the server refused one, the error in its place.

        Raises:
            FrameError: One of them cannot be sent; none is, then.
            ServerError, ConnectionFailed, TimedOut: As `detect`.
        """
        request = batch_request(
            frames, score_threshold=score_threshold, max_detections=max_detections, model=model or self._model
        )
        return parse_batch(self._send(request))

    def detect_video(
        self,
        video: Any,
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        model: str | None = None,
    ) -> Iterator[StreamMessage]:
        """Detect and track in a video; messages come while it is still sent.

        Whoever stops taking messages stops the work. The exchange has a connection of its own; `transport` is not used.

        Args:
            video: The path of a file, its bytes, or an iterable of pieces of them, which a thread of its own reads.
            score_threshold: As `detect`.
            max_detections: As `detect`.
            model: As `detect`.

        Returns:
            A `StreamResult` a frame, a `FrameProblem` where one is refused or the video breaks off, and at last a
            `StreamEnd`.

        Raises:
            FrameError: The file cannot be read.
            ServerError, ConnectionFailed, TimedOut: As `detect`, with the first message or later.
        """
        exchange = self._video_exchange(
            video, score_threshold=score_threshold, max_detections=max_detections, model=model
        )
        return _messages_of(exchange)

    def stream_detections(self, stream_id: str) -> Iterator[StreamMessage]:
        """Listen to a stream: what it says from now on, until it ends.

        Who takes messages too slowly loses the oldest, which shows as a gap in `frame_index`.

        Args:
            stream_id: Of the stream.

        Returns:
            A `StreamResult` a frame, a `SourceState` where that changes, and at last a `StreamEnd`.

        Raises:
            UsageError: The name cannot be one of a stream.
            StreamNotFound: There is no such stream (yet).
            ConnectionFailed: The server cannot be reached, or broke off.
        """
        return self._listen(listen_request(stream_id))

    def detect_image(
        self,
        frame: Any,
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        model: str | None = None,
    ) -> bytes:
        """Detect as `detect` does, and give the frame as a PNG with the detections drawn in."""
        request = detect_request(
            frame,
            score_threshold=score_threshold,
            max_detections=max_detections,
            model=model or self._model,
            as_image=True,
        )
        return parse_png(self._send(request))

    @overload
    def detect_many(
        self,
        frames: Iterable[Any],
        *,
        concurrency: int = ...,
        ordered: bool = ...,
        on_error: Literal["raise"] = ...,
        score_threshold: float | None = ...,
        max_detections: int | None = ...,
        model: str | None = ...,
    ) -> Iterator[DetectionResult]: ...

    @overload
    def detect_many(
        self,
        frames: Iterable[Any],
        *,
        concurrency: int = ...,
        ordered: bool = ...,
        on_error: Literal["yield"],
        score_threshold: float | None = ...,
        max_detections: int | None = ...,
        model: str | None = ...,
    ) -> Iterator[DetectionResult | LoddisClientError]: ...

    def detect_many(
        self,
        frames: Iterable[Any],
        *,
        concurrency: int = 4,
        ordered: bool = True,
        on_error: Literal["raise", "yield"] = "raise",
        score_threshold: float | None = None,
        max_detections: int | None = None,
        model: str | None = None,
    ) -> Iterator[DetectionResult | LoddisClientError]:
        """Detect in many frames, several at once.

        Frames are drawn as room comes free, never more than `concurrency` ahead of what was taken: an endless source is
        fine, and so is one that lets wait: a thread of its own draws it. Whoever stops taking stops the work.

        Args:
            frames: Any iterable of what `detect` takes.
            concurrency: Requests under way at most.
            ordered: Give results in the order of the frames; otherwise as they come.
            on_error: ``raise`` stops at the first frame that fails; ``yield`` gives its error in its place and goes on.
            score_threshold: As `detect`.
            max_detections: As `detect`.
            model: As `detect`.

        Raises:
            UsageError: A concurrency below 1.
        """
        check_many(concurrency=concurrency, on_error=on_error)

        def one(frame: Any) -> DetectionResult | LoddisClientError:
            try:
                return self.detect(frame, score_threshold=score_threshold, max_detections=max_detections, model=model)
            except LoddisClientError as error:
                if on_error == "raise":
                    raise
                return error

        return in_threads(one, frames, concurrency=concurrency, ordered=ordered)

    def models(self) -> tuple[ModelInfo, ...]:
        """List the models that the server has."""
        return parse_models(self._send(Request("GET", "v1/models")))

    def ready(self) -> bool:
        """Tell whether the server takes frames now; ``False`` also where it cannot be reached."""
        try:
            answer = self._answer(Request("GET", "readyz"))
        except (httpx.HTTPError, LoddisClientError):
            return False
        return answer.status == 200

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _video_exchange(self, video: Any, **options: Any) -> VideoExchange:
        if self._closed:
            raise UsageError("the client is closed")
        options["model"] = options["model"] or self._model
        request = self._wire.request(video_request(**options))
        return VideoExchange(request, video_chunks(video), timeout_s=self._wire.timeout_s)

    def _listen(self, request: Request) -> Iterator[StreamMessage]:
        if self._closed:
            raise UsageError("the client is closed")
        wanted = self._wire.request(request, silence_s=SILENCE_S)
        try:
            response = self._transport.handle_request(wanted)
            stream = cast(httpx.SyncByteStream, response.stream)
            try:
                if response.status_code != 200:
                    receipt = Receipt(self._wire, wanted)
                    for chunk in stream:
                        receipt.add(chunk)
                    raise error_of(receipt.answer(response))
                reader = MessageReader(str(wanted.url))
                for chunk in stream:
                    yield from reader.add(chunk)
                reader.finish()
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise translate(error, self._wire.url) from error

    def _answer(self, request: Request) -> Answer:
        if self._closed:
            raise UsageError("the client is closed")
        wanted = self._wire.request(request)
        receipt = Receipt(self._wire, wanted)
        response = self._transport.handle_request(wanted)
        try:
            for chunk in cast(httpx.SyncByteStream, response.stream):
                receipt.add(chunk)
        finally:
            response.close()
        return receipt.answer(response)

    def _send(self, request: Request) -> Answer:
        attempt = 0
        while True:
            try:
                answer = self._answer(request)
            except httpx.HTTPError as error:
                pause = self._retries.pause_s(attempt) if may_retry(error, request) else None
                if pause is None:
                    raise translate(error, self._wire.url) from error
            else:
                full = answer.status in RETRIED
                pause = self._retries.pause_s(attempt, retry_after_s=retry_after_s(answer)) if full else None
                if pause is None:
                    return answer
            attempt += 1
            time.sleep(pause)


def _messages_of(exchange: VideoExchange) -> Iterator[StreamMessage]:
    with exchange:
        yield from exchange.messages()
