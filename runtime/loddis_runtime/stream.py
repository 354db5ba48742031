"""The frames of one camera, one at a time: a session that keeps the window and says what it was made of.

Legend: T frames of the model's window, oldest first; H W pixels of a frame.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Integral, Real
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from numpy.typing import ArrayLike

from loddis_runtime.detections import Detections
from loddis_runtime.errors import ConfigError, DuplicateFrameError, LateFrameError, StreamError
from loddis_runtime.frames import Frame, as_frame, own_frame
from loddis_runtime.preparation import PreparedFrame, WindowFrame, stack_window, window_frame

if TYPE_CHECKING:
    from loddis_runtime.detector import Detector

__all__ = ["Restart", "Stream", "StreamDetections", "StreamWindow"]

Restart = Literal["start", "reset", "size", "dtype", "gap"]


@dataclass(frozen=True, slots=True)
class StreamWindow:
    """What the network saw for a frame of a stream.

    Attributes:
        frame_indices: Of the frames in the window, oldest first, this frame last; from 1 to T. Where there are fewer
            than T, the network saw the oldest of them in place of those before it, as a scene that stood still.
        missing: Frames that are missing between the frame before and this one, by their indices; 0 where there is no
            frame before.
        restart: Why the window starts afresh with this frame; None if it goes on. `start`: the first frame. `reset`:
            the first after `Stream.reset`. `size`, `dtype`: of the frame, other than before. `gap`: more was missing
            than the stream allows. The first of these that is true.
    """

    frame_indices: tuple[int, ...]
    missing: int
    restart: Restart | None

    @property
    def frame_index(self) -> int:
        """Of this frame."""
        return self.frame_indices[-1]


@dataclass(frozen=True, slots=True, eq=False)
class StreamDetections:
    """The answer to a frame of a stream.

    Attributes:
        detections: In pixels of this frame.
        window: What the network saw.
    """

    detections: Detections
    window: StreamWindow


@dataclass(frozen=True, slots=True)
class _Last:
    """What a stream knows of the last frame that it took."""

    index: int
    timestamp_s: float | None
    size_hw: tuple[int, ...]
    dtype: str


class Stream:
    """A session over a detector, for the frames of one camera in their order; `Detector.stream` opens it.

    **The window** holds the newest frames that follow one another: at most T, of one size and dtype, with no more
    missing between neighbours than `max_gap` and `max_gap_s` allow. A frame that breaks this starts the window afresh:
    everything before it is dropped, and until T frames have come again the oldest stands for those before it. So the
    network never takes what moved over a hole for the motion of one frame. The answer says so in `StreamWindow`.
    It is the window that `Detector.prepare_window` makes of the same frames; what it needs of past frames is kept,
    not worked out again. With a model of one frame, the detections are those of `Detector.detect`.

    **Indices** are counted from 0 if none are given, and go on from the last one given. A frame that does not come
    after the last one is refused: `DuplicateFrameError` if it is the last one again, `LateFrameError` if it is older.
    A counter that wraps around looks late: unwrap it, or `reset`.

    A frame that is refused, for that or for another reason, leaves the session as it was. A frame counts as taken once
    it is prepared, even if the network fails on it.

    **Threads.** Any number of sessions may share one detector, each in a thread of its own. One session belongs to one
    thread at a time, since the order of its frames has a meaning that waiting for a lock would leave to chance: a
    second thread gets a `StreamError`. `reset` and `close` may come from any thread, and wait for the call under way.

    Args:
        detector: Stays open when the session is closed.
        max_gap: Frames that may be missing between neighbours in a window.
        max_gap_s: Longest time between neighbours in a window, seconds, counted from the last frame that had a
            timestamp; any if none.

    Raises:
        ConfigError: A limit that is no whole number from 0, or no time above 0.
    """

    def __init__(self, detector: Detector, *, max_gap: int = 0, max_gap_s: float | None = None) -> None:
        if not isinstance(max_gap, Integral) or max_gap < 0:
            raise ConfigError(f"max_gap must be a whole number from 0, got {max_gap!r}")
        if max_gap_s is not None and not (isinstance(max_gap_s, Real) and 0 < max_gap_s < math.inf):
            raise ConfigError(f"max_gap_s must be a time above 0 s, got {max_gap_s!r}")
        self._detector: Detector = detector
        self._max_gap: int = int(max_gap)
        self._max_gap_s: float = math.inf if max_gap_s is None else float(max_gap_s)
        self._lock: threading.Lock = threading.Lock()  # held while a call changes the session
        self._owned: threading.Lock = threading.Lock()  # held by the thread that gives frames
        self._closed: bool = False
        self._forget("start")

    def detect(
        self,
        frame: ArrayLike,
        *,
        frame_index: int | None = None,
        timestamp_s: float | None = None,
        score_threshold: float | None = None,
        max_detections: int | None = None,
    ) -> StreamDetections:
        """Find the targets in the next frame.

        Args:
            frame: ``(H, W)``, as `Detector.detect` takes it.
            frame_index: Its place in the stream, from 0; one after the last if none.
            timestamp_s: When it was taken, seconds on any clock that does not go back.
            score_threshold: As `Detector.detect`.
            max_detections: As `Detector.detect`.

        Raises:
            DuplicateFrameError: The last frame again, by index or timestamp.
            LateFrameError: A frame from before the last one.
            FrameError: The frame cannot be used.
            ConfigError: An index, timestamp, threshold or count that is none.
            EngineError: The network failed, or the detector is closed.
            StreamError: The session is closed, or in use by another thread.
        """
        with self._alone():
            threshold, limit = self._detector.check_options(score_threshold, max_detections)
            prepared, window = self._take(as_frame(frame), frame_index, timestamp_s)
            (raw,) = self._detector.infer([prepared])
            found = self._detector.finish(prepared, raw, score_threshold=threshold, max_detections=limit)
        return StreamDetections(found, window)

    def prepare(
        self, frame: ArrayLike, *, frame_index: int | None = None, timestamp_s: float | None = None
    ) -> tuple[PreparedFrame, StreamWindow]:
        """Take the next frame as `detect` does, up to the network: `Detector.infer` and `finish` do the rest.

        For who batches frames of several streams, or prepares the next while the network still runs. What is returned
        stays valid however the session goes on, and whatever the camera writes where the frame was.

        Raises:
            DuplicateFrameError, LateFrameError, FrameError, ConfigError, StreamError: As `detect`.
        """
        with self._alone():
            return self._take(own_frame(frame), frame_index, timestamp_s)  # targets are measured in it later

    def reset(self) -> None:
        """Forget all frames: the next one may have any index, and starts the window afresh.

        Raises:
            StreamError: The session is closed.
        """
        with self._lock:
            self._check_open()
            self._forget("reset")

    def close(self) -> None:
        """Let go of the frames; every call but `close` raises `StreamError` from then on. The detector stays open."""
        with self._lock:
            self._closed = True
            self._forget("reset")

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads out, without waiting for another one that gives frames."""
        if not self._owned.acquire(blocking=False):
            raise StreamError("the stream is in use by another thread: give it its frames in order, one at a time")
        try:
            with self._lock:  # which `reset` and `close` hold for a moment
                self._check_open()
                yield
        finally:
            self._owned.release()

    def _check_open(self) -> None:
        if self._closed:
            raise StreamError("the stream is closed")

    def _forget(self, restart: Restart) -> None:
        """Be as a new session whose first frame is a `restart`."""
        self._past: list[tuple[int, WindowFrame]] = []  # by index, oldest first; at most T - 1
        self._last: _Last | None = None
        self._first = restart

    def _take(
        self, frame: Frame, frame_index: int | None, timestamp_s: float | None
    ) -> tuple[PreparedFrame, StreamWindow]:
        """Check a frame's place in the stream, make the window, and only then let the session go on."""
        manifest = self._detector.manifest
        given_s = _time(timestamp_s)
        taken = _Last(self._index(frame_index), given_s, frame.shape, frame.dtype.name)
        self._check_order(taken, given=frame_index)
        restart = self._restart(taken)
        window = [*([] if restart else self._past), (taken.index, window_frame(frame, manifest))]
        prepared = PreparedFrame.of(frame, stack_window([part for _, part in window], manifest))
        missing = 0 if self._last is None else taken.index - self._last.index - 1
        self._past = window[len(window) - min(len(window), manifest.window - 1) :]
        if given_s is None and self._last is not None:  # the last time that is known goes on to count
            taken = replace(taken, timestamp_s=self._last.timestamp_s)
        self._last = taken
        return prepared, StreamWindow(tuple(index for index, _ in window), missing, restart)

    def _index(self, given: int | None) -> int:
        """Give a frame's index, counted on if none is given."""
        if given is None:
            return 0 if self._last is None else self._last.index + 1
        if not isinstance(given, Integral) or given < 0:
            raise ConfigError(f"frame_index must be a whole number from 0, got {given!r}")
        return int(given)

    def _check_order(self, taken: _Last, *, given: int | None) -> None:
        """Refuse a frame that does not come after the last one."""
        if (last := self._last) is None:
            return
        if taken.index <= last.index:
            again = taken.index == last.index
            here, there = f"frame {taken.index}", f"frame {last.index}"
        elif taken.timestamp_s is not None and last.timestamp_s is not None and taken.timestamp_s <= last.timestamp_s:
            again = taken.timestamp_s == last.timestamp_s
            here, there = f"the frame of {taken.timestamp_s:.6f} s", f"{last.timestamp_s:.6f} s"
        else:
            return
        if again:
            raise DuplicateFrameError(f"{here} came already", frame_index=given, last_index=last.index)
        raise LateFrameError(f"{here} is late: the stream is at {there}", frame_index=given, last_index=last.index)

    def _restart(self, taken: _Last) -> Restart | None:
        """Say why the window starts afresh, if it does."""
        if (last := self._last) is None:
            return self._first
        if taken.size_hw != last.size_hw:
            return "size"
        if taken.dtype != last.dtype:
            return "dtype"
        if taken.index - last.index - 1 > self._max_gap:
            return "gap"
        if taken.timestamp_s is None or last.timestamp_s is None:
            return None
        return "gap" if taken.timestamp_s - last.timestamp_s > self._max_gap_s else None


def _time(given: float | None) -> float | None:
    """Check a timestamp, seconds."""
    if given is not None and not (isinstance(given, Real) and math.isfinite(given)):
        raise ConfigError(f"timestamp_s must be a finite number of seconds, got {given!r}")
    return None if given is None else float(given)
