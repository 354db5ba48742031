"""A request whose answer is read while its body is still sent.

A server that answers a video as it comes stops taking it once its answers are not read. httpx's transports send a body
whole before they read, so this exchange has a connection of its own, and a thread that sends.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Generator, Iterable, Iterator
from types import TracebackType

import httpx

from loddis_client._errors import ConnectionFailed, LoddisClientError, TimedOut
from loddis_client._messages import MessageReader
from loddis_client._responses import error_of
from loddis_client._streams import StreamMessage
from loddis_client._wire import LARGEST_ANSWER, Answer

__all__ = ["VideoExchange"]

SILENCE_S = 660.0  # a server takes ten minutes for a video at most, and may say nothing before it has the whole of it
LEAVE_S = 1.0  # for the sender to see that the connection is gone
PIECE = 2**16


class VideoExchange:
    """One video on its way, as a context; `messages` gives what is answered.

    Args:
        request: Without its body.
        chunks: Of the video; read by a thread of its own.
        timeout_s: For connecting.
    """

    def __init__(self, request: httpx.Request, chunks: Iterable[bytes], *, timeout_s: float) -> None:
        self._request = request
        self._chunks = chunks
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._failure: Exception | None = None
        self._is_closed = False

    def messages(self) -> Generator[StreamMessage]:
        """Send the video, and give the messages as they come.

        Raises:
            ServerError: The server refused.
            ConnectionFailed, TimedOut, ProtocolError: As every request.
            Exception: Whatever reading the chunks raised.
        """
        url = str(self._request.url)
        try:
            yield from self._messages(url)
        except TimeoutError as error:
            raise TimedOut(f"{url} did not answer in time") from error
        except (OSError, http.client.HTTPException, LoddisClientError) as error:
            if self._failure is not None:  # what broke the exchange off
                raise self._failure from None
            if isinstance(error, LoddisClientError):
                raise
            raise ConnectionFailed(f"no connection to {url}: {error or type(error).__name__}") from error

    def close(self) -> None:
        """Break off; whatever waits for this exchange, on any thread, goes on."""
        self._is_closed = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it is gone already
                self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> VideoExchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _messages(self, url: str) -> Iterator[StreamMessage]:
        connection = self._connection()
        sender: threading.Thread | None = None
        try:
            connection.connect()
            self._socket = connection.sock
            self._socket.settimeout(max(self._timeout_s, SILENCE_S))
            connection.putrequest(
                self._request.method, self._request.url.raw_path.decode(), skip_host=True, skip_accept_encoding=True
            )
            for name, value in self._request.headers.items():
                if name.lower() != "content-length":
                    connection.putheader(name, value)
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            sender = threading.Thread(
                target=self._send, args=(connection.sock,), name="loddis-client-video", daemon=True
            )
            sender.start()
            with connection.getresponse() as response:
                if response.status != http.client.OK:
                    content = response.read(LARGEST_ANSWER)
                    raise error_of(Answer(url, response.status, dict(response.headers), content))
                reader = MessageReader(url)
                while piece := response.read1(PIECE):
                    yield from reader.add(piece)
                reader.finish()
        finally:
            self.close()
            if sender is not None:
                sender.join(LEAVE_S)
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._request.url.host, self._request.url.port
        if self._request.url.scheme == "https":
            context = httpx.create_ssl_context()
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=context)
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)

    def _send(self, connection: socket.socket) -> None:
        """Send the body, until it is whole or the exchange is over."""
        try:
            for chunk in self._chunks:
                if self._is_closed or (chunk and not _put(connection, chunk)):
                    return
        except Exception as error:  # of whoever gives the chunks
            self._failure = error
            self.close()
        else:
            _put(connection, b"")


def _put(connection: socket.socket, chunk: bytes) -> bool:
    """Send a chunk, an empty one as the last; tell whether that went well. If it did not, the answer says why."""
    try:
        connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    except OSError:
        return False
    return True
