"""The addresses that the server listens on."""

from __future__ import annotations

import os
import socket

from loddis_runtime.errors import ConfigError

__all__ = ["listen", "url_of"]

BACKLOG = 2048


def listen(host: str, port: int) -> list[socket.socket]:
    """Open listening sockets on every address of a host.

    Args:
        host: Name or address.
        port: 0 takes a free one, the same for all addresses.

    Raises:
        ConfigError: The host is unknown, or an address cannot be listened on.
    """
    sockets: list[socket.socket] = []
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(infos):
            own_port = sockets[0].getsockname()[1] if sockets else address[1]
            sockets.append(socket.create_server((address[0], own_port), family=family, backlog=BACKLOG))
    except OSError as error:
        for opened in sockets:
            opened.close()
        cause = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise ConfigError(f"cannot listen on {host}:{port}: {cause}") from None
    return sockets


def url_of(listener: socket.socket) -> str:
    """Give the address of a listening socket as people write it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"
