"""Answers without a known end: messages as they come. A listener that stops reading is let go, not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing

from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

__all__ = ["ABORT", "DuplexResponse", "EndlessResponse"]

ABORT = "loddis.abort"  # key of a scope: ends its connection at once, what waits to be sent included
UNREAD_S = 30.0


class EndlessResponse(StreamingResponse):
    """An answer in chunks.

    Args:
        chunks: Closed when the answer ends, whichever side ends it.
        media_type: Of the answer.
        resources: What the chunks are made of; closed after them, also if not one was asked for.
    """

    def __init__(self, chunks: AsyncGenerator[bytes], *, media_type: str, resources: AsyncExitStack) -> None:
        # No proxy should keep back what is sent to be seen now.
        super().__init__(
            chunks, media_type=media_type, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        self._chunks = chunks
        self._resources = resources
        self._abort: Callable[[], None] = _do_nothing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        self._abort = scope.get(ABORT, self._abort)
        async with self._resources:
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send the chunks.

        Raises:
            ClientDisconnect: The other side has not read for half a minute.
        """
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                try:
                    async with asyncio.timeout(UNREAD_S):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                except TimeoutError:
                    self._abort()
                    raise ClientDisconnect from None
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class DuplexResponse(EndlessResponse):
    """An answer that begins while the request still comes in; whoever gives its chunks sees the other side leave."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; `receive` is left to whoever reads the request."""
        del receive
        self._abort = scope.get(ABORT, self._abort)
        async with self._resources:
            await self.stream_response(send)


def _do_nothing() -> None:
    """Abort nothing: what carries the answer cannot."""
