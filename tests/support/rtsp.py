"""Tests' and benchmarks' hold on the RTSP server: whether it can run here, its process, what its pictures say."""

from __future__ import annotations

import itertools
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np

from loddis_server.sources.wire import GrayImage

__all__ = ["RtspServer", "counter_in", "free_port", "missing_for_rtsp", "wrong_indices"]

PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).with_name("rtsp_server.py")
ELEMENTS = ("appsrc", "x264enc", "jpegenc", "rtph264pay", "rtpjpegpay")
BITS, BLOCK, COLUMNS = 24, 16, 12
TIMEOUT_S = 30.0


def missing_for_rtsp() -> str | None:
    """Say what this machine lacks for the server; None if nothing."""
    code = (
        "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0')\n"
        "from gi.repository import Gst, GstRtspServer\n"
        f"Gst.init(None); print(*(name for name in {ELEMENTS} if Gst.ElementFactory.find(name) is None))"
    )
    if not Path(PYTHON).exists():
        return f"there is no {PYTHON}"
    answer = subprocess.run([PYTHON, "-c", code], check=False, capture_output=True, text=True)
    if answer.returncode:
        return f"{PYTHON}: {answer.stderr.strip().splitlines()[-1]}"
    return f"GStreamer lacks {answer.stdout.strip()}" if answer.stdout.strip() else None


def free_port() -> int:
    """Give a port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class RtspServer:
    """The server in a process of its own, which can be killed and started again on the same port.

    Args:
        options: For the script.
    """

    def __init__(self, *options: str, fps: int = 25) -> None:
        self.fps = fps
        self.port = free_port()
        self.url = f"rtsp://127.0.0.1:{self.port}/camera"
        self._options = [*options, "--fps", str(fps), "--epoch", str(int(time.time()) - 1)]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [PYTHON, str(SCRIPT), "--port", str(self.port), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == str(self.port)

    def cut(self) -> None:
        """Kill it, as a cable that is pulled."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate(timeout=TIMEOUT_S)
            self._process = None

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()


def counter_in(image: GrayImage) -> int:
    """Read the counter in a picture of the server."""
    middles = image[BLOCK // 2 :: BLOCK, BLOCK // 2 :: BLOCK].reshape(-1)[:BITS]
    return int(sum(1 << bit for bit, level in enumerate(np.asarray(middles)) if level > 128))


def wrong_indices(seen: Iterable[tuple[int, int, int]]) -> list[str]:
    """Compare indices with the counters of a server that was never behind.

    Args:
        seen: Connection, index and counter of each frame, in the order they came.

    Returns:
        What is wrong: an index that does not grow, or that moves on within a connection by another number than the
        counter.
    """
    wrong = []
    for (connection, index, counter), (next_connection, next_index, next_counter) in itertools.pairwise(seen):
        steps = next_index - index
        is_right = steps > 1 if connection != next_connection else steps == next_counter - counter
        if steps <= 0 or not is_right:
            wrong.append(f"index {index} -> {next_index} while the counter went {counter} -> {next_counter}")
    return wrong
