"""The camera's side of an RTSP connection, passed on to FFmpeg without what could lead it elsewhere.

FFmpeg's RTSP client opens its own connection and follows a redirect to any host, and no option forbids that. So it is
given a port of this process on loopback; what the camera answers on the connection that the parent has opened and
checked is taken apart here and put together again, without redirects. Whatever is not plain RTSP ends the connection:
FFmpeg never sees a byte that this file read in another way than it does.

RTSP 1.0 is RFC 2326; interleaved packets are its section 10.12.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import ssl
import threading

from loddis_server.sources.media_error import MediaError

__all__ = ["ReplyFilter", "RtspRelay"]

CHUNK_BYTES = 64 * 2**10
MAX_HEAD_BYTES = 64 * 2**10
MAX_BODY_BYTES = 256 * 2**10
ACCEPT_TIMEOUT_S = 5.0

INTERLEAVED = 0x24  # "$", channel, two bytes of length, packet
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
STATUS_LINE = re.compile(rb"RTSP/1\.0 ([1-5][0-9][0-9])( [^\r\n\0]*)?")
REQUEST_LINE = re.compile(rb"[A-Z_]+ [!-~]+ RTSP/1\.0")
HEADER_LINE = re.compile(rb"([A-Za-z0-9-]+)[ \t]*:([^\r\n\0]*)")


class ReplyFilter:
    """Takes what a camera sends in pieces of any size, and gives what FFmpeg may see."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Add bytes; give the messages and packets that are complete.

        Raises:
            MediaError: A redirect, or no RTSP.
        """
        self._buffer += data
        passed = bytearray()
        while self._buffer:
            taken = self._packet(passed) if self._buffer[0] == INTERLEAVED else self._message(passed)
            if taken == 0:
                break
            del self._buffer[:taken]
        return bytes(passed)

    def _packet(self, passed: bytearray) -> int:
        """Pass on an interleaved packet; give its length, 0 if it is not all there."""
        if len(self._buffer) < 4:
            return 0
        length = 4 + int.from_bytes(self._buffer[2:4], "big")
        if len(self._buffer) < length:
            return 0
        passed += self._buffer[:length]
        return length

    def _message(self, passed: bytearray) -> int:
        """Pass on a message; give its length, 0 if it is not all there."""
        if self._buffer[0] in b"\r\n":  # some cameras put an empty line between messages
            return 1
        end = END_OF_HEAD.search(self._buffer, 0, MAX_HEAD_BYTES)
        if end is None:
            if len(self._buffer) >= MAX_HEAD_BYTES:
                raise MediaError("damaged", f"the camera sent {MAX_HEAD_BYTES} bytes that are no RTSP message")
            return 0
        first, *lines = re.split(rb"\r?\n", bytes(self._buffer[: end.start()]))
        _check_first_line(first)
        headers = [_header(line) for line in lines]
        body_length = _body_length([value for name, value in headers if name.lower() == b"content-length"])
        if len(self._buffer) < end.end() + body_length:
            return 0
        kept = [line for line in headers if line[0].lower() not in (b"content-length", b"location")]
        if body_length:
            kept.append((b"Content-Length", b" %d" % body_length))
        passed += b"\r\n".join([first, *(name + b":" + value for name, value in kept)]) + b"\r\n\r\n"
        passed += self._buffer[end.end() : end.end() + body_length]
        return end.end() + body_length


class RtspRelay:
    """A port on loopback that leads to the camera, and to nothing else; open from `__enter__` to `__exit__`.

    One connection is taken, then the port is closed.

    Args:
        camera: Connection to the camera, TLS included.

    Attributes:
        port: On 127.0.0.1.
        failure: Why the relay ended the connection, if it did.
    """

    def __init__(self, camera: socket.socket) -> None:
        self._camera = camera
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(ACCEPT_TIMEOUT_S)
        self.port: int = self._listener.getsockname()[1]
        self.failure: MediaError | None = None
        self._thread = threading.Thread(target=self._run, name="rtsp-relay", daemon=True)

    def __enter__(self) -> RtspRelay:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.close()
        with contextlib.suppress(OSError):  # the camera may have been first
            self._camera.shutdown(socket.SHUT_RDWR)
        self._thread.join(ACCEPT_TIMEOUT_S)
        self._camera.close()

    def _run(self) -> None:
        try:
            with self._listener:
                client, _ = self._listener.accept()
        except OSError:
            return  # FFmpeg gave up before it connected
        with client:
            try:
                self._pass_on(client)
            except MediaError as error:
                self.failure = error
            except OSError:
                pass  # one side is gone; FFmpeg sees its connection end

    def _pass_on(self, client: socket.socket) -> None:
        """Copy both ways on one thread: a TLS connection bears no two."""
        replies = ReplyFilter()
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ)
            selector.register(self._camera, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is client:
                        data = client.recv(CHUNK_BYTES)
                        self._camera.sendall(data)
                    else:
                        data = self._camera.recv(CHUNK_BYTES)
                        if isinstance(self._camera, ssl.SSLSocket):
                            while pending := self._camera.pending():  # decrypted already, so no selector tells of it
                                data += self._camera.recv(pending)
                        client.sendall(replies.feed(data))
                    if not data:
                        return


def _check_first_line(line: bytes) -> None:
    status = STATUS_LINE.fullmatch(line)
    if status is None and REQUEST_LINE.fullmatch(line) is None:
        raise MediaError("damaged", "the camera sent something that is no RTSP message")
    if status is not None and status[1].startswith(b"3"):
        raise MediaError(
            "refused",
            f"the camera answered {status[1].decode()}, which sends to another address; give that one instead",
        )


def _header(line: bytes) -> tuple[bytes, bytes]:
    header = HEADER_LINE.fullmatch(line)
    if header is None:
        raise MediaError("damaged", "the camera sent an RTSP message with a malformed header")
    return header[1], header[2]


def _body_length(values: list[bytes]) -> int:
    if not values:
        return 0
    if len(values) > 1 or not values[0].strip().isdigit() or len(values[0]) > 10:
        raise MediaError("damaged", "the camera sent an RTSP message of unclear length")
    if int(values[0]) > MAX_BODY_BYTES:
        raise MediaError("damaged", f"the camera sent an RTSP message of more than {MAX_BODY_BYTES} bytes")
    return int(values[0])
