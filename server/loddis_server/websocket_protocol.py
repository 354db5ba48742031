"""uvicorn's WebSocket protocol, which lets go of clients that do not read.

uvicorn ends a connection by closing it, which waits until all is sent: to a client that never reads, for ever. While
something waits to be sent no ping is, so the wait itself has a limit.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from loddis_server import endless

__all__ = ["LimitedWebSocketProtocol"]


class LimitedWebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

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
        if self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)
