"""What a process holds, sampled from outside: memory, threads, files, children, processor time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

__all__ = ["ProcessSample", "Watch", "resident_bytes", "sample_process", "theil_sen_slope"]

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MAX_POINTS = 400  # of a robust slope, which looks at every pair of them


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """One look at a process."""

    time_s: float
    """On the clock of `time.monotonic`."""
    resident_bytes: int
    """Memory in use, shared libraries included."""
    threads: int
    """Threads that live."""
    files: int
    """Open file descriptors, sockets included."""
    children: int
    """Processes that it started and that live, or were not waited for."""
    processor_s: float
    """Processor time so far, of all threads."""


def resident_bytes(pid: int) -> int:
    """Give the memory that a process has in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def sample_process(pid: int) -> ProcessSample:
    """Look at a process.

    Raises:
        FileNotFoundError: It is gone.
    """
    folder = Path(f"/proc/{pid}")
    # After the name in brackets, which may hold anything: utime and stime are fields 14 and 15, num_threads is 20.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    children = 0
    for task in (folder / "task").iterdir():
        try:
            children += len((task / "children").read_text().split())
        except OSError:  # a thread that ended meanwhile
            continue
    return ProcessSample(
        time_s=time.monotonic(),
        resident_bytes=resident_bytes(pid),
        threads=int(fields[17]),
        files=sum(1 for _ in (folder / "fd").iterdir()),
        children=children,
        processor_s=(int(fields[11]) + int(fields[12])) / TICKS_PER_S,
    )


class Watch:
    """Samples a process at intervals, on a thread of its own, from `__enter__` to `__exit__`.

    Args:
        pid: Of the process.
        interval_s: Between samples.

    Attributes:
        samples: Oldest first.
        is_gone: Whether the process ended meanwhile.
    """

    def __init__(self, pid: int, *, interval_s: float = 1.0) -> None:
        self.samples: list[ProcessSample] = []
        self.is_gone = False
        self._pid = pid
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="process-watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self.samples.append(sample_process(self._pid))
            except OSError:
                self.is_gone = True
                return
            if self._stop.wait(self._interval_s):
                return


def theil_sen_slope(times_s: Sequence[float], values: Sequence[float]) -> float:
    """Give the median slope between any two points: a line that single jumps and spikes do not tilt.

    Args:
        times_s: Of the points, ascending; no two alike.
        values: At those times. Long series are thinned out evenly.

    Returns:
        Change of the value a second; 0 for less than two points.

    References:
        P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", 1968.
    """
    step = -(-len(times_s) // MAX_POINTS) or 1
    times, levels = np.asarray(times_s)[::step], np.asarray(values, dtype=np.float64)[::step]
    first, second = np.triu_indices(len(times), k=1)
    if not len(first):
        return 0.0
    return float(np.median((levels[second] - levels[first]) / (times[second] - times[first])))
