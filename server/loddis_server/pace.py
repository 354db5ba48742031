"""How fast frames go, measured as they pass: what a lone one takes, at full load, and how long one more would."""

from __future__ import annotations

import threading
import time

__all__ = ["Pace"]

SMOOTHING = 0.1  # weight of the newest measurement in a running mean


class Pace:
    """Running means of a server's own times.

    Written by the threads that do the work, read by the event loop. Two writers at once may lose a measurement of a
    thousand, which a mean bears better than a hot path bears a lock.

    Args:
        workers: Threads that read frames side by side.
        lanes: Threads that run the network side by side.
    """

    def __init__(self, *, workers: int, lanes: int = 1) -> None:
        self._workers = workers
        self._lanes = lanes
        self._reading_s = 0.0
        self._run_s: dict[int, float] = {}  # of the network, by the frames in a batch
        self._running: dict[int, tuple[int, float]] = {}  # by lane: frames of its batch, and when it began

    def note_reading(self, seconds: float) -> None:
        """Tell how long it took to decode and prepare one frame."""
        self._reading_s = _smoothed(self._reading_s or None, seconds)

    def begin_run(self, frames: int) -> None:
        """Tell that the network begins with a batch; on the thread of its lane only."""
        self._running[threading.get_ident()] = (frames, time.monotonic())

    def end_run(self) -> None:
        """Tell that the network is done with the batch, or failed at it; on the thread of its lane only."""
        self._running.pop(threading.get_ident(), None)

    def note_run(self, frames: int, seconds: float) -> None:
        """Tell how long the network took for one batch; on the thread of its lane only."""
        self._run_s[frames] = _smoothed(self._run_s.get(frames), seconds)

    @property
    def frame_s(self) -> float:
        """Seconds from one answer to the next at full load: of the network at its best batch, or of the decoders.

        0 before the first frame.
        """
        best, runs = self._best_batch(), self._run_s
        return max(runs[best] / best / self._lanes if best else 0.0, self._reading_s / self._workers)

    @property
    def alone_s(self) -> float:
        """Seconds that a frame takes with no other about; 0 before the first."""
        runs = self._run_s.copy()
        return self._reading_s + (runs[min(runs)] if runs else 0.0)

    def expected_s(self, at_work: int) -> float:
        """Give how long one more frame would be at work: until a lane is free, others that wait, and its own.

        Args:
            at_work: Frames between the end of their body and their result, batches under way included.
        """
        running = list(self._running.copy().values())
        now_s = time.monotonic()
        ends_s = [max(0.0, began_s + self._run_s.get(frames, 0.0) - now_s) for frames, began_s in running]
        left_s = min(ends_s) if len(ends_s) >= self._lanes else 0.0
        waiting = max(0, at_work - sum(frames for frames, _ in running))
        best, frame_s = self._best_batch() or 1, self.frame_s
        full = waiting - waiting % best  # frames in batches that come before its own
        return left_s + full * frame_s + max(self.alone_s, (waiting - full + 1) * frame_s)

    def _best_batch(self) -> int:
        """Give the frames of the batch with the most frames a second; 0 before the first."""
        runs = self._run_s.copy()
        return min(runs, key=lambda frames: runs[frames] / frames, default=0)


def _smoothed(mean: float | None, newest: float) -> float:
    """Move a running mean."""
    return newest if mean is None else mean + SMOOTHING * (newest - mean)
