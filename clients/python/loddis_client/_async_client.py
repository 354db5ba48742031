"""The client for programs that do not wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Literal, cast

import httpx

from loddis_client._client import check_many
from loddis_client._errors import LoddisClientError, UsageError
from loddis_client._models import DetectionResult, ModelInfo
from loddis_client._requests import DEFAULT_URL, Request, detect_request
from loddis_client._responses import parse_detection_result, parse_models, parse_png, retry_after_s
from loddis_client._retries import RetryPolicy
from loddis_client._wire import LIMITS, RETRIED, Answer, Receipt, Wire, may_retry, translate

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

    async def detect(
        self,
        frame: Any,
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        model: str | None = None,
    ) -> DetectionResult:
        """Detect the targets in a frame, as `Client.detect`."""
        request = detect_request(
            frame,
            score_threshold=score_threshold,
            max_detections=max_detections,
            model=model or self._model,
        )
        return parse_detection_result(await self._send(request))

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
        """Detect in many frames, several at once, as `Client.detect_many`; the source may be asynchronous."""
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

        running: deque[asyncio.Task[DetectionResult | LoddisClientError]] = deque()
        try:
            async for frame in _each(frames):
                running.append(asyncio.create_task(one(frame)))
                if len(running) >= concurrency:
                    yield await _next_done(running, ordered=ordered)
            while running:
                yield await _next_done(running, ordered=ordered)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

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
                pause = self._retries.pause_s(attempt) if may_retry(error) else None
                if pause is None:
                    raise translate(error, self._wire.url) from error
            else:
                full = answer.status in RETRIED
                pause = self._retries.pause_s(attempt, retry_after_s=retry_after_s(answer)) if full else None
                if pause is None:
                    return answer
            attempt += 1
            await asyncio.sleep(pause)


async def _each(frames: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(frames, AsyncIterable):
        async for frame in frames:
            yield frame
    else:
        for frame in frames:
            yield frame


async def _next_done(running: deque[asyncio.Task[Any]], *, ordered: bool) -> Any:
    if ordered:
        task = running[0]
    else:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        task = next(iter(done))
    try:
        return await task
    finally:
        running.remove(task)
