"""A video that is still being uploaded, as a file for FFmpeg.

Most containers can be read from front to back. MP4 and QuickTime may have their index (`moov`) behind the pictures
(`mdat`); such a file is written to the spool first, as it comes, and decoded once it is whole.
"""

from __future__ import annotations

import contextlib
import os
from typing import BinaryIO, Protocol

from loddis_server.sources.media_error import MediaError, media_error_of

__all__ = ["ReadableFile", "open_upload"]

BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"uuid"))
MAX_LEADING_BYTES = 2**20  # of boxes before the index; larger ones count as pictures
CHUNK_BYTES = 256 * 2**10


class ReadableFile(Protocol):
    """What FFmpeg reads from; if it can `seek`, FFmpeg does."""

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes, none at the end."""
        ...

    def close(self) -> None:
        """Be read no more."""
        ...


def open_upload(media_fd: int, spool_fd: int, *, max_spool_bytes: int) -> ReadableFile:
    """Wait for the first bytes, and give the file as it can be read.

    Args:
        media_fd: Where the bytes arrive.
        spool_fd: Empty file for a video that must be whole; it is left open.
        max_spool_bytes: Largest video of that kind.

    Raises:
        MediaError: Such a video is larger, or the disk has no room for it.
    """
    upload = _Upload(media_fd)
    if not upload.has_late_index():
        return upload
    with contextlib.closing(upload):
        return upload.spooled(spool_fd, max_bytes=max_spool_bytes)


class _Upload:
    """Bytes as they arrive, the first of which can be looked at before they are read."""

    def __init__(self, media_fd: int) -> None:
        self._fd = media_fd
        self._ahead = bytearray()

    def read(self, size: int) -> bytes:
        """Give what has arrived, up to `size` bytes; wait only if nothing has."""
        if self._ahead:
            data = bytes(self._ahead[:size])
            del self._ahead[:size]
            return data
        return os.read(self._fd, size)

    def close(self) -> None:
        """Take no more bytes."""
        os.close(self._fd)

    def has_late_index(self) -> bool:
        """Walk the boxes of an MP4 up to its index or its pictures; other containers have none."""
        position = 0
        while (head := self._peek(position, 16))[4:8] in BOXES:
            if head[4:8] == b"moov":
                return False
            size = int.from_bytes(head[:4], "big")
            if size == 1:  # the size follows, in 64 bits
                size = int.from_bytes(head[8:16], "big")
            position += size
            if head[4:8] == b"mdat" or size < 8 or position > MAX_LEADING_BYTES:
                return True
        return False

    def spooled(self, spool_fd: int, *, max_bytes: int) -> BinaryIO:
        """Write all to the spool, and give that from its beginning."""
        try:
            with contextlib.ExitStack() as stack:
                spool = stack.enter_context(os.fdopen(os.dup(spool_fd), "w+b"))
                while data := self.read(CHUNK_BYTES):
                    if spool.tell() + len(data) > max_bytes:
                        raise MediaError(
                            "too_large",
                            f"an MP4 whose index is at its end must be at most {max_bytes} bytes; write it with the "
                            "index in front (faststart), or as Matroska",
                        )
                    spool.write(data)
                spool.seek(0)
                stack.pop_all()  # whole: whoever reads it closes it
                return spool
        except OSError as error:
            raise media_error_of(error, doing="storing the video until it is whole") from None

    def _peek(self, position: int, size: int) -> bytes:
        """Look at bytes further on; fewer come only at the end."""
        while len(self._ahead) < position + size:
            data = os.read(self._fd, CHUNK_BYTES)
            if not data:
                break
            self._ahead += data
        return bytes(self._ahead[position : position + size])
