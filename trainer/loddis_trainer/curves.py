"""Curves of a training as a TensorBoard event file.

TensorBoard's own writer writes in a thread: a full disk ends that with a traceback that nobody can catch, and comes up
again wherever the writer is closed. A training has few figures, so they are written as they come.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

__all__ = ["Curves"]

FILE_VERSION = "brain.Event:2"
SECONDS_BETWEEN_FLUSHES = 60.0

log = logging.getLogger(__name__)


class Curves:
    """Write figures over steps; a disk that takes no more of them ends the curves, with one warning, and nothing else.

    Args:
        folder: Of the run; must exist.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        now = time.time_ns()
        seconds, rest = divmod(now, 10**9)  # files are read in the order of their names
        self.path = folder / f"events.out.tfevents.{seconds:010d}.{socket.gethostname()}.{os.getpid()}.{rest:09d}"
        self._file: BinaryIO | None = self.path.open("xb")
        self._flushed = time.monotonic()
        self._write(Event(wall_time=now / 1e9, file_version=FILE_VERSION))

    def add(self, figures: Mapping[str, float], *, step: int) -> None:
        """Add a point to the curve of each name."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        if time.monotonic() - self._flushed > SECONDS_BETWEEN_FLUSHES:
            self.flush()

    def flush(self) -> None:
        """Put what was added where TensorBoard sees it."""
        with self._ending() as file:
            if file is not None:
                file.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Put the rest there and close the file."""
        with self._ending() as file:
            if file is not None:
                self._file = None
                file.close()

    def _write(self, event: Event) -> None:
        with self._ending() as file:
            if file is not None:
                RecordWriter(file).write(event.SerializeToString())

    @contextlib.contextmanager
    def _ending(self) -> Iterator[BinaryIO | None]:
        """Give the file, none after it failed; a failure ends the curves."""
        file = self._file
        try:
            yield file
        except OSError as error:
            self._file = None
            log.warning("the curves for TensorBoard end here: %s: %s", self.path, error.strerror or error)
            if file is not None:
                with contextlib.suppress(OSError):  # what it still holds fails once more
                    file.close()
