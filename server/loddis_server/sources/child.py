"""The process that reads one source: `python -m loddis_server.sources.child SOCKET PARENT`.

It is told over a socket what to read, answers with frames, and dies with its parent. Memory, open files and the size of
what it writes are limited: it is where hostile bytes do their harm.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys

import av.logging

from loddis_server.sources.media import read_media
from loddis_server.sources.media_error import MediaError
from loddis_server.sources.wire import Failed, Request, receive_request, send_message

__all__ = ["confine", "main", "serve"]

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
MAX_OPEN_FILES = 64
MAX_STDERR_BYTES = 64 * 2**10


def main() -> None:
    """Read what the parent asks for."""
    connection_fd, parent_pid = map(int, sys.argv[1:])
    die_with(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process when it is time
    av.logging.set_level(None)
    with socket.socket(fileno=connection_fd) as connection:
        request = receive_request(connection)
        confine(request)
        serve(connection, request)


def die_with(parent_pid: int) -> None:
    """Be killed when the parent ends, however it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) or libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent_pid:  # it ended before it could be watched
        os._exit(0)


def confine(request: Request) -> None:
    """Limit what this process may use."""
    largest_file = max(MAX_STDERR_BYTES, request.max_spool_bytes)
    for kind, limit in (
        (resource.RLIMIT_AS, request.memory_bytes),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_FSIZE, largest_file),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def serve(connection: socket.socket, request: Request) -> None:
    """Read to the end, or say why not.

    Args:
        connection: To the parent.
        request: What to read.
    """
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the parent wants no more
        try:
            for message in read_media(request):
                send_message(connection, message)
        except MediaError as error:
            send_message(connection, Failed(error.reason, error.cause))
        except MemoryError:
            send_message(connection, Failed("crashed", f"decoding needs more than {request.memory_bytes} bytes"))


if __name__ == "__main__":
    main()
