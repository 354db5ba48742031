"""Connections to a camera: to the address that the parent has checked and connected to, and to no other."""

from __future__ import annotations

import socket
import ssl
from types import TracebackType

from loddis_server.sources.media_error import MediaError
from loddis_server.sources.wire import Request

__all__ = ["CameraConnector"]


class CameraConnector:
    """Gives connections to one camera, TLS included; they are closed on exit.

    The first is the one that the parent has made. Those after it go to that one's other end: no name is looked up
    again, and nothing that the camera says leads elsewhere.

    Args:
        request: With the parent's connection.

    Raises:
        OSError: That has ended already.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._first: socket.socket | None = socket.socket(fileno=request.media_fd)
        self._given: list[socket.socket] = [self._first]
        self._address = self._first.getpeername()

    def connect(self) -> socket.socket:
        """Give a connection that nothing was sent over yet.

        Raises:
            MediaError: The camera's TLS is not accepted.
            OSError: It cannot be connected to.
        """
        connection, self._first = self._first, None
        if connection is None:
            connection = socket.socket(self._given[0].family, socket.SOCK_STREAM)
            self._given.append(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.connect(self._address)  # the parent's watchdog ends a wait that is too long
        connection.setblocking(True)
        if self._request.tls_host is not None:
            connection = self._encrypted(connection, self._request.tls_host)
            self._given.append(connection)
        return connection

    def _encrypted(self, connection: socket.socket, host: str) -> ssl.SSLSocket:
        """Begin TLS on a connection."""
        context = ssl.create_default_context()
        if not self._request.verify_tls:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            return context.wrap_socket(connection, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            raise MediaError(
                "unauthorised", f"the camera's certificate is not accepted: {error.verify_message}"
            ) from None
        except ssl.SSLError as error:
            raise MediaError("lost", f"TLS with the camera failed: {error.reason or 'no reason given'}") from None

    def __enter__(self) -> CameraConnector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._given:
            connection.close()
