"""One child process, seen from the parent: started, listened to, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from types import TracebackType

from loddis_server.sources.opening import Medium
from loddis_server.sources.wire import Failed, Message, WireError, receive_message, send_request

__all__ = ["ChildProcess"]

# All that the child needs of this process's environment, in which there may be keys.
ENVIRONMENT = (
    "COVERAGE_PROCESS_START",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONPATH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TZ",
)
MODULE = ("-P", "-m", "loddis_server.sources.child")  # -P: no file in the current folder is one of its modules
SOLO = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
GRACE_S = 0.3  # to say goodbye to the camera
LAST_WORDS_BYTES = 4096
RECEIVE_BUFFER_BYTES = 4 * 2**20


class ChildProcess:
    """A process that reads one medium; ends on `__exit__`.

    Linux ends it with the thread that started it, too: that thread must live as long.

    Args:
        medium: What it reads; it inherits the open files.

    Raises:
        OSError: No process can be started.
    """

    def __init__(self, medium: Medium) -> None:
        self._max_pixels = medium.request.max_pixels
        with contextlib.ExitStack() as stack:
            # Stays open until the child has ended: its last words explain a crash.
            self._stderr = stack.enter_context(tempfile.TemporaryFile())
            self._connection, childs_end = socket.socketpair()
            stack.enter_context(self._connection)
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            with childs_end:
                self._process = subprocess.Popen(  # noqa: S603  # our own module
                    [sys.executable, *MODULE, str(childs_end.fileno()), str(os.getpid())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._stderr,
                    env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ} | SOLO,
                    pass_fds=(childs_end.fileno(), *medium.descriptors),
                )
            self._files = stack.pop_all()
        with contextlib.suppress(OSError):  # it has ended already; `receive` says how
            send_request(self._connection, medium.request)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def receive(self, *, timeout_s: float) -> Message:
        """Wait for the next message.

        Args:
            timeout_s: Longest silence.

        Returns:
            `Failed` with the reason `crashed` too, if the process has ended without a word.

        Raises:
            TimeoutError: Nothing came in time.
        """
        self._connection.settimeout(timeout_s)
        try:
            message = receive_message(self._connection, max_pixels=self._max_pixels)
        except WireError as error:
            return Failed("crashed", f"the process that reads talks nonsense: {error}")
        return message or Failed("crashed", self._last_words())

    def interrupt(self) -> None:
        """Let a `receive` of another thread return, as if the process had ended."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.interrupt()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self._process.kill()
        self._process.wait()
        self._files.close()

    def _has_ended(self) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        return self._process.returncode is not None

    def _last_words(self) -> str:
        """Say how the process ended."""
        if not self._has_ended():
            return "the process that reads has closed its connection"
        status = self._process.returncode
        if status < 0:
            return f"the process that reads was ended by {signal.Signals(-status).name}"
        self._stderr.seek(0)
        lines = self._stderr.read()[-LAST_WORDS_BYTES:].decode(errors="replace").strip().splitlines()
        return f"the process that reads ended with status {status}" + (f": {lines[-1][:200]}" if lines else "")
