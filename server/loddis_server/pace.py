"""How fast frames go, measured as they pass: what a lone one takes, and how soon one can follow another."""

from __future__ import annotations

__all__ = ["Pace"]

SMOOTHING = 0.1  # weight of the newest measurement in a running mean
LEAST_ROOM = 2  # one frame runs, and the next is there when it ends: less would let the network fall idle


class Pace:
    """Running means of a server's own times.

    Written by the threads that do the work, read by the event loop. Two writers at once may lose a measurement of a
    thousand, which a mean bears better than a hot path bears a lock.

    Args:
        workers: Threads that read frames side by side.
    """

    def __init__(self, *, workers: int) -> None:
        self._workers = workers
        self._reading_s = 0.0
        self._run_s: dict[int, float] = {}  # of the network, by the frames in a batch

    def note_reading(self, seconds: float) -> None:
        """Tell how long it took to decode and prepare one frame."""
        self._reading_s = _smoothed(self._reading_s or None, seconds)

    def note_run(self, frames: int, seconds: float) -> None:
        """Tell how long the network took for one batch; on the inference thread only."""
        self._run_s[frames] = _smoothed(self._run_s.get(frames), seconds)

    @property
    def frame_s(self) -> float:
        """Seconds from one answer to the next at full load: of the network at its best batch, or of the decoders.

        0 before the first frame.
        """
        runs = self._run_s.copy()
        network_s = min((seconds / frames for frames, seconds in runs.items()), default=0.0)
        return max(network_s, self._reading_s / self._workers)

    @property
    def alone_s(self) -> float:
        """Seconds that a frame takes with no other about; 0 before the first."""
        runs = self._run_s.copy()
        return self._reading_s + (runs[min(runs)] if runs else 0.0)

    def room(self, slowdown: float) -> int | None:
        """Give how many frames may be at work at once, if none is to take much longer than alone.

        By Little's law: frames at work = frames a second x seconds that each is at work. An engine that gains nothing
        by batches has room for two at twice the time of a lone frame, one that runs four as fast as one for eight.

        Args:
            slowdown: Longest time at work, in times of a lone frame.

        Returns:
            Frames, at least two; None before the first was measured.
        """
        frame_s = self.frame_s
        return max(LEAST_ROOM, int(slowdown * self.alone_s / frame_s)) if frame_s else None


def _smoothed(mean: float | None, newest: float) -> float:
    """Move a running mean."""
    return newest if mean is None else mean + SMOOTHING * (newest - mean)
