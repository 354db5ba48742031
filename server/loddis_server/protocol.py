"""uvicorn's HTTP protocol, with the limits that it leaves to a proxy; this server may well stand without one.

- The head of a request (request line and headers) has a limit of bytes and of time; who passes either is told.
- After an answer that came before the whole body, what is left of the body is read and dropped for some seconds, so
  that the other side sees the answer; then the connection is closed.
- An answer that nobody reads is given up after some time.
- Trailers after a body in chunks are not kept, and have the limit of a head.
- An offer to change the protocol other than to WebSocket (`Upgrade: h2c`, which some clients make with every request)
  is overlooked, as RFC 9110 section 7.8 has it; the parser alone would take the body for the other protocol.
- What is no HTTP is answered with a problem document, too.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from loddis_server.endless import ABORT, UNREAD_S
from loddis_server.problems import (
    HEAD_TIMEOUT,
    HEAD_TOO_LARGE,
    MALFORMED_REQUEST,
    PROBLEM_MEDIA_TYPE,
    problem_document,
)

__all__ = ["MAX_HEAD_BYTES", "LimitedHttpProtocol"]

MAX_HEAD_BYTES = 32 * 1024
HEAD_TIMEOUT_S = 10.0
LINGER_S = 5.0


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._in_head = True
        self._silent_bytes = 0
        self._refusal = MALFORMED_REQUEST
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first head its time."""
        super().connection_made(transport)
        self._close_in(HEAD_TIMEOUT_S, self._give_up_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time limit."""
        self._clear_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head before the parser keeps it."""
        if self._in_head:
            # A body may follow in the same read: its bytes count only if the head goes on.
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refusal = HEAD_TOO_LARGE
                self.send_400_response("")
                return
            self._head_bytes += len(data)
            if self._deadline is None:
                self._close_in(HEAD_TIMEOUT_S, self._give_up_head)
        elif self._silent_bytes > MAX_HEAD_BYTES:  # neither body nor a new head: trailers without end
            self._refusal = HEAD_TOO_LARGE
            self.send_400_response("")
            return
        self._silent_bytes += len(data)
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        """Parse what came."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._is_websocket():
                self._open_websocket()
            elif self._upgrade_offered():
                self._overlook_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("this is no HTTP request")

    def _open_websocket(self) -> None:
        """Hand the connection over; where an answer is still due, it comes, and the connection ends with it."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False  # opened now, the WebSocket would have that answer in its midst
            return
        self._clear_deadline()
        self.handle_websocket_upgrade()

    def _upgrade_offered(self) -> bool:
        return bool(self.parser.should_upgrade()) and any(name == b"upgrade" for name, _ in self.headers)

    def _is_websocket(self) -> bool:
        return bool(self.parser.should_upgrade()) and self._should_upgrade()

    def _overlook_upgrade(self, rest: bytes) -> None:
        """Parse the request again without its offer, and what follows the head as its body."""
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"".join([*head, b"\r\n", rest]))

    def on_message_begin(self) -> None:
        """Let the application end the connection of an answer that nobody reads."""
        super().on_message_begin()
        self.scope[ABORT] = self.transport.abort  # type: ignore[literal-required]

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what comes after the body is none."""
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._silent_bytes = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """End the head's time; the application has limits of its own from here."""
        if self._is_websocket():
            if any(
                name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
                for name, value in self.headers
            ):
                raise ValueError("a WebSocket's handshake has no body")
            super().on_headers_complete()  # notes the method, no more
            return
        if self._upgrade_offered():
            return
        self._in_head = False
        self._head_bytes = 0
        self._clear_deadline()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            self._refusal = HEAD_TOO_LARGE
            raise ValueError("head too large")  # for the parser, which then asks for `send_400_response`
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Begin to wait for the next head."""
        if self._upgrade_offered():
            return
        super().on_message_complete()
        self._in_head = True
        self._silent_bytes = 0
        self._clear_deadline()
        if self.cycle.response_complete:  # a late end of a body: no answer follows that would start the time
            self._close_in(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        """Give what is left of the body some time to come, so that the answer is seen before the connection ends."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._close_in(LINGER_S)
        if self.transport.get_write_buffer_size():
            self.loop.call_later(UNREAD_S, self._give_up_unread)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, too much of it, or too slow."""
        if self._refusal is HEAD_TOO_LARGE:
            msg = f"the head of a request may have {MAX_HEAD_BYTES} bytes"
        document = problem_document(self._refusal, msg, instance="", request_id=uuid.uuid4().hex)
        body = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
        head = f"content-type: {PROBLEM_MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[self._refusal.status] + head.encode() + body)
        self.transport.close()

    def _give_up_head(self) -> None:
        """End a connection that brings no head; one that has brought a part of it is told, unless it gets an answer."""
        if self._head_bytes and (self.cycle is None or self.cycle.response_complete):
            self._refusal = HEAD_TIMEOUT
            self.send_400_response(f"the head of the request was not here {HEAD_TIMEOUT_S:g} s after it began")
        else:
            self.transport.close()

    def _give_up_unread(self) -> None:
        if not self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.transport.abort()

    def _close_in(self, seconds: float, close: Callable[[], None] | None = None) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, close or self.transport.close)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
