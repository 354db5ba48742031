"""The client for programs that do not wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Literal, cast, overload

import httpx

from loddis_client._duplex import VideoExchange
from loddis_client._encoding import video_chunks
from loddis_client._errors import LoddisClientError, UsageError
from loddis_client._messages import MessageReader, parse_batch, parse_stream_result
from loddis_client._models import DetectionResult, ModelInfo
from loddis_client._parallel import check_many, in_tasks
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

__all__ = ["AsyncClient"]


class AsyncClient:
    """Talk to a Loddis server from asyncio; everything is as in `Client`.

        async with AsyncClient() as client:
            result = await client.detect(frame)

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
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._retries = RetryPolicy(retries)
        self._wire = Wire(base_url, api_key=api_key, timeout_s=timeout_s)
        self._transport = transport or httpx.AsyncHTTPTransport(limits=LIMITS)
        self._closed = False
        self._model = model

    @overload
    async def detect(
        self,
        frame: Any,
        *,
        score_threshold: float | None = ...,
        max_detections: int | None = ...,
        model: str | None = ...,
        stream_id: None = ...,
    ) -> DetectionResult: ...

    @overload
    async def detect(
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

    async def detect(
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
        """Detect the targets in a frame, by itself or of a stream, as `Client.detect`."""
        request = detect_request(
            frame,
            score_threshold=score_threshold,
            max_detections=max_detections,
            model=model or self._model,
            place=StreamPlace.of(stream_id, frame_index=frame_index, timestamp_s=timestamp_s, reset=reset),
        )
        parse = parse_detection_result if stream_id is None else parse_stream_result
        return parse(await self._send(request))

    async def detect_batch(
        self,
        frames: Iterable[Any],
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        model: str | None = None,
    ) -> tuple[DetectionResult | LoddisClientError, ...]:
        """Detect in several frames with one request, as `Client.detect_batch`."""
        request = batch_request(
            frames, score_threshold=score_threshold, max_detections=max_detections, model=model or self._model
        )
        return parse_batch(await self._send(request))

    async def detect_video(
        self,
        video: Any,
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        model: str | None = None,
    ) -> AsyncIterator[StreamMessage]:
        """Detect and track in a video, as `Client.detect_video`; threads read and send it."""
        if self._closed:
            raise UsageError("the client is closed")
        wanted = video_request(
            score_threshold=score_threshold, max_detections=max_detections, model=model or self._model
        )
        chunks = video_chunks(video)
        with VideoExchange(self._wire.request(wanted), chunks, timeout_s=self._wire.timeout_s) as exchange:
            messages = exchange.messages()
            try:
                while (message := await asyncio.to_thread(next, messages, None)) is not None:
                    yield message
            finally:
                exchange.close()
                with contextlib.suppress(ValueError):  # a thread still waits for the next, and now ends it
                    messages.close()

    async def stream_detections(self, stream_id: str) -> AsyncIterator[StreamMessage]:
        """Listen to a stream, as `Client.stream_detections`."""
        request = listen_request(stream_id)
        if self._closed:
            raise UsageError("the client is closed")
        wanted = self._wire.request(request, silence_s=SILENCE_S)
        try:
            response = await self._transport.handle_async_request(wanted)
            stream = cast(httpx.AsyncByteStream, response.stream)
            try:
                if response.status_code != 200:
                    receipt = Receipt(self._wire, wanted)
                    async for chunk in stream:
                        receipt.add(chunk)
                    raise error_of(receipt.answer(response))
                reader = MessageReader(str(wanted.url))
                async for chunk in stream:
                    for message in reader.add(chunk):
                        yield message
                reader.finish()
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise translate(error, self._wire.url) from error

    async def detect_image(
        self,
        frame: Any,
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        model: str | None = None,
    ) -> bytes:
        """Detect, and give the frame as a PNG with the detections drawn in."""
        request = detect_request(
            frame,
            score_threshold=score_threshold,
            max_detections=max_detections,
            model=model or self._model,
            as_image=True,
        )
        return parse_png(await self._send(request))

    async def detect_many(
        self,
        frames: Iterable[Any] | AsyncIterable[Any],
        *,
        concurrency: int = 4,
        ordered: bool = True,
        on_error: Literal["raise", "yield"] = "raise",
        score_threshold: float | None = None,
        max_detections: int | None = None,
        model: str | None = None,
    ) -> AsyncIterator[DetectionResult | LoddisClientError]:
        """Detect in many frames, several at once, as `Client.detect_many`.

        The source may be asynchronous, and is best so if it lets wait: others are drawn on the event loop.
        """
        check_many(concurrency=concurrency, on_error=on_error)

        async def one(frame: Any) -> DetectionResult | LoddisClientError:
            try:
                return await self.detect(
                    frame, score_threshold=score_threshold, max_detections=max_detections, model=model
                )
            except LoddisClientError as error:
                if on_error == "raise":
                    raise
                return error

        outcomes = in_tasks(one, frames, concurrency=concurrency, ordered=ordered)
        async with contextlib.aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome

    async def models(self) -> tuple[ModelInfo, ...]:
        """List the models that the server has."""
        return parse_models(await self._send(Request("GET", "v1/models")))

    async def ready(self) -> bool:
        """Tell whether the server takes frames now; ``False`` also where it cannot be reached."""
        try:
            answer = await self._answer(Request("GET", "readyz"))
        except (httpx.HTTPError, LoddisClientError):
            return False
        return answer.status == 200

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        await self._transport.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _answer(self, request: Request) -> Answer:
        if self._closed:
            raise UsageError("the client is closed")
        wanted = self._wire.request(request)
        receipt = Receipt(self._wire, wanted)
        response = await self._transport.handle_async_request(wanted)
        try:
            async for chunk in cast(httpx.AsyncByteStream, response.stream):
                receipt.add(chunk)
        finally:
            await response.aclose()
        return receipt.answer(response)

    async def _send(self, request: Request) -> Answer:
        attempt = 0
        while True:
            try:
                answer = await self._answer(request)
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
            await asyncio.sleep(pause)
