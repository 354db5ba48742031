"""`WS /v1/streams/{id}/frames`: frames in, answers out, over one WebSocket.

A binary message is a frame: an image file, or raw pixels if the address says of what size and type. A text message
before it may give its index and time. Each frame is answered by one text message, in order: `frame` or `problem`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Annotated, Literal, NoReturn

import orjson
from fastapi import APIRouter, Path, Query, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect

from loddis_server.bodies import BodyPlan, FrameReader, plan_body
from loddis_server.problems import BAD_PARAMETER, INTERNAL, MALFORMED_REQUEST, ProblemError
from loddis_server.routes.refusals import refusal_line
from loddis_server.schemas import DetectOptions
from loddis_server.security import authorise, offered_protocol
from loddis_server.service import Service
from loddis_server.streams.live import LiveStream
from loddis_server.streams.session import FrameOptions
from loddis_server.streams.settings import STREAM_ID

__all__ = ["router"]

logger = logging.getLogger(__name__)

router = APIRouter()

GOING_AWAY = 1001
LARGEST_INDEX = 10**18 - 1  # as X-Frame-Index has it: it fits 64 bits, with room to count on


class FramesQuery(DetectOptions):
    """What all frames of a connection have in common."""

    width: int | None = Field(default=None, ge=1, description="Raw pixels only: width, pixels.")
    height: int | None = Field(default=None, ge=1, description="Raw pixels only: height, pixels.")
    dtype: Literal["uint8", "uint16", "float32"] | None = Field(
        default=None, description="Raw pixels only: their type, little-endian."
    )

    def headers(self) -> dict[str, str]:
        """Say the same of raw pixels as the headers of a request would."""
        described = {"x-frame-width": self.width, "x-frame-height": self.height, "x-frame-dtype": self.dtype}
        return {name: str(value) for name, value in described.items() if value is not None}


class FrameNote(BaseModel):
    """What a text message says of the frame that follows it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    frame_index: int | None = Field(default=None, ge=0, le=LARGEST_INDEX)
    timestamp_s: float | None = Field(default=None, allow_inf_nan=False)
    reset: bool = False


@router.websocket("/v1/streams/{stream_id}/frames")
async def exchange(
    websocket: WebSocket,
    stream_id: Annotated[str, Path(pattern=STREAM_ID.pattern)],
    query: Annotated[FramesQuery, Query()],
) -> None:
    """Take frames and answer them until either side closes.

    The next frame is read while the one before is worked on, no further: whoever sends faster is slowed by TCP.
    """
    authorise(websocket, "detect")
    service: Service = websocket.app.state.service
    plan = plan_body(query.headers(), max_pixels=service.settings.max_frame_pixels)
    stream = service.streams.open(stream_id, model=query.model)
    await websocket.accept(subprotocol=offered_protocol(websocket))
    exchange_ = _Exchange(websocket, service, stream, query)
    answering = asyncio.ensure_future(exchange_.answer_all(plan))
    over = asyncio.ensure_future(stream.over.wait())
    try:
        await asyncio.wait((answering, over), return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
        else:
            await exchange_.close()
    except WebSocketDisconnect:
        logger.debug("client left", extra={"stream_id": stream_id})
    finally:
        answering.cancel()
        over.cancel()
        await asyncio.gather(answering, return_exceptions=True)  # what it ended by was told, or nobody is left


class _Exchange:
    """One connection."""

    def __init__(self, websocket: WebSocket, service: Service, stream: LiveStream, query: FramesQuery) -> None:
        self._websocket = websocket
        self._service = service
        self._stream = stream
        self._query = query
        self._note = FrameNote()
        self._answering = asyncio.Lock()

    async def close(self) -> None:
        """Close the connection; a frame that was let in is answered first."""
        async with self._answering:
            await self._websocket.close(GOING_AWAY, self._stream.ended)

    async def answer_all(self, plan: BodyPlan) -> NoReturn:
        """Answer frame after frame.

        Raises:
            WebSocketDisconnect: The other side has left.
        """
        while True:
            await self._answer_next(plan)

    async def _answer_next(self, plan: BodyPlan) -> None:
        """Read a message and, if it is a frame, answer it."""
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", GOING_AWAY))
        async with self._answering:
            await self._answer(message, plan)

    async def _answer(self, message: Message, plan: BodyPlan) -> None:
        note = self._note
        try:
            data: bytes | None = message.get("bytes")
            if data is None:
                self._note = _parse_note(message.get("text") or "")
                return
            self._note = FrameNote()
            document = await self._detect(plan(data), note)
        except ProblemError as error:
            document = self._problem(error, note)
        except Exception:
            logger.exception("frame failed", extra={"stream_id": self._stream.stream_id})
            document = self._problem(ProblemError(INTERNAL, "an unexpected error; the server's log has it"), note)
        await self._websocket.send_text(document.decode())

    def _problem(self, error: ProblemError, note: FrameNote) -> bytes:
        return orjson.dumps(refusal_line(self._websocket, error, frame_index=note.frame_index))

    async def _detect(self, reader: FrameReader, note: FrameNote) -> bytes:
        with self._service.admission.enter() as ticket:
            options = FrameOptions(
                frame_index=note.frame_index,
                timestamp_s=note.timestamp_s,
                captured_at=time.time(),
                reset=note.reset,
                score_threshold=self._query.score_threshold,
                max_detections=self._query.max_detections,
            )
            answer = await self._stream.detect(reader, options, place=ticket)
        return answer.message.json


def _parse_note(text: str) -> FrameNote:
    """Read a text message.

    Raises:
        ProblemError: It is no JSON object, or says what no frame has.
    """
    try:
        return FrameNote.model_validate_json(text)
    except ValidationError as error:
        faults = error.errors()
        if faults[0]["type"] == "json_invalid":
            raise ProblemError(MALFORMED_REQUEST, "a text message must be a JSON object") from None
        detail = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
        raise ProblemError(BAD_PARAMETER, detail) from None
