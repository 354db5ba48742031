"""uvicorn's WebSocket protocol, which lets go of clients that do not read, and answers every handshake.

uvicorn ends a connection by closing it, which waits until all is sent: to a client that never reads, for ever. While
something waits to be sent no ping is, so the wait itself has a limit.

A handshake that the library cannot read, uvicorn neither answers nor ends. Here it is answered as `protocol` answers
such heads; that the application answers the others has a limit of time.
"""

from __future__ import annotations

import asyncio
import uuid
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.exceptions import SecurityError
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS, Response

from loddis_server import endless
from loddis_server.problems import (
    HEAD_TOO_LARGE,
    MALFORMED_REQUEST,
    PROBLEM_MEDIA_TYPE,
    TIMEOUT,
    ProblemType,
    problem_document,
)

__all__ = ["LimitedWebSocketProtocol"]

HANDSHAKE_TIMEOUT_S = 10.0


class LimitedWebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the handshake its time."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HANDSHAKE_TIMEOUT_S, self._give_up_handshake)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time limit."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; the handshake is the first of it, and whole."""
        super().data_received(data)
        failure = self.conn.handshake_exc
        if failure is None or self.handshake_initiated or self.close_sent:
            return
        if isinstance(failure, SecurityError) or isinstance(failure.__cause__, SecurityError):
            limits = f"{MAX_NUM_HEADERS} headers, and each line {MAX_LINE_LENGTH} bytes"
            self._refuse(HEAD_TOO_LARGE, f"the handshake of a WebSocket may have {limits}")
        else:
            self._refuse(MALFORMED_REQUEST, "this is no handshake of a WebSocket")

    def keepalive_timeout(self) -> None:
        """End a connection whose other side has not answered a ping; one that has not even read it ends at once."""
        super().keepalive_timeout()
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    async def send(self, message: Any) -> None:
        """Send a message; after a close, the other side has some seconds to agree.

        Raises:
            OSError: The other side is gone, or has not read for half a minute and is let go.
        """
        try:
            async with asyncio.timeout(endless.UNREAD_S):
                await super().send(message)
        except TimeoutError:
            self.transport.abort()
            raise
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # by a refusal; uvicorn would take it for none, and log that as a fault
        if self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def _give_up_handshake(self) -> None:
        """End a connection whose handshake the application has not answered."""
        if not self.handshake_complete:
            self._refuse(TIMEOUT, f"the handshake was not answered within {HANDSHAKE_TIMEOUT_S:g} s")

    def _refuse(self, kind: ProblemType, detail: str) -> None:
        """Answer a handshake that the application has not seen, or not answered, and close."""
        document = problem_document(kind, detail, instance="", request_id=uuid.uuid4().hex)
        body = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
        headers = Headers({"Content-Type": PROBLEM_MEDIA_TYPE, "Content-Length": str(len(body)), "Connection": "close"})
        self.transport.write(Response(kind.status, HTTPStatus(kind.status).phrase, headers, body).serialize())
        self.transport.close()
        self.handshake_complete = self.close_sent = self.disconnected = True
