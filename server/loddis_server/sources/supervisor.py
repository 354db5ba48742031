"""Child after child, on a thread of its own, until a source is over.

The thread waits for frames with a time limit, which is the watchdog. A child that ends, hangs or says nonsense is ended
and replaced; what can only fail again is not tried again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from loddis_server.sources.allow_list import SourceAllowList
from loddis_server.sources.backoff import Backoff
from loddis_server.sources.indexing import FrameIndexer
from loddis_server.sources.opening import OpeningError, open_medium
from loddis_server.sources.pacing import longest_wait_s
from loddis_server.sources.process import ChildProcess
from loddis_server.sources.settings import SourceSettings
from loddis_server.sources.status import SourceFrame, SourceState, SourceStatus
from loddis_server.sources.wire import Ended, Failed, FailureReason, FrameMessage, Opened

__all__ = ["Supervisor"]

logger = logging.getLogger(__name__)

# Trying again changes nothing, and a camera locks out who comes with a wrong password too often.
FINAL: frozenset[FailureReason] = frozenset(("refused", "unauthorised"))
# What a camera shows may pass. One that starts answers 404, or sends a page or a splash in colour, until its encoder
# runs; a palette or a size that somebody has set is set back; a device is plugged in again. Tried, but slowly.
MAY_HEAL: frozenset[FailureReason] = frozenset(("not_found", "unsupported", "true_colour", "too_large"))
FILE_TRIES = 3  # for a file that ends its reader at the same place
HEALTHY_S = 2.0  # of frames, then the next loss is the first one again
RATE_WINDOW_S = 2.0
STOP_TIMEOUT_S = 5.0


class Supervisor:
    """Reads a source until it ends, fails, or is stopped.

    Args:
        settings: Of the source.
        allow: What may be read.
        on_frame: Called on this thread with each frame; it may wait, which holds a file back. Returns how many frames
            were given up for it.
        on_status: Called on this thread when state or cause change.
    """

    def __init__(
        self,
        settings: SourceSettings,
        allow: SourceAllowList,
        *,
        on_frame: Callable[[SourceFrame], int],
        on_status: Callable[[SourceStatus], None],
    ) -> None:
        self._settings = settings
        self._allow = allow
        self._on_frame = on_frame
        self._on_status = on_status
        self._indexer = FrameIndexer(from_times=settings.is_live)
        self._backoff = Backoff(settings.reconnect_first_s, settings.reconnect_max_s)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._status = SourceStatus(since=time.time())
        self._arrivals: deque[float] = deque()
        self._child: ChildProcess | None = None
        self._connections = 0
        self._tries_without_frame = 0
        self._thread = threading.Thread(target=self._run, name=f"source {settings.shown}", daemon=True)

    @property
    def status(self) -> SourceStatus:
        """How it is now."""
        with self._lock:
            recent = sum(1 for at in self._arrivals if at > time.monotonic() - RATE_WINDOW_S)
            return replace(self._status, fps=recent / RATE_WINDOW_S)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def interrupt(self) -> None:
        """Let the child and the thread end; does not wait for them."""
        self._stopped.set()
        with self._lock:
            if self._child is not None:
                self._child.interrupt()

    def stop(self) -> None:
        """End the child and the thread."""
        self.interrupt()
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                outcome = self._attempt()
                if self._stopped.is_set():
                    break
                if isinstance(outcome, Ended):
                    self._change("ended")
                    return
                wait_s = self._wait_after(outcome)
                if wait_s is None:
                    self._change("failed", outcome)
                    return
                may_heal = outcome.reason in MAY_HEAL
                lost_state: SourceState = "stalled" if self._status.frames else "connecting"
                self._change("failed" if may_heal else lost_state, outcome, retry_at=time.time() + wait_s)
                if self._stopped.wait(wait_s):
                    break
                with self._lock:
                    self._status = replace(self._status, restarts=self._status.restarts + 1)
            self._change("ended")
        except Exception as error:  # a fault of ours must not leave a source that looks alive
            logger.exception("supervisor failed", extra={"source": self._settings.shown})
            self._change("failed", Failed("crashed", f"the supervisor failed: {type(error).__name__}"))

    def _attempt(self) -> Ended | Failed:
        """Read with one child until it is over."""
        try:
            skip_frames = 0 if self._settings.is_live else self._status.frames
            with open_medium(self._settings, self._allow, skip_frames=skip_frames) as medium:
                child = ChildProcess(medium)
        except OpeningError as error:
            return Failed(error.reason, error.cause)
        except OSError as error:
            return Failed("crashed", f"no process could be started: {error.strerror}")
        try:
            with child:
                self._adopt(child)
                return self._listen(child)
        finally:
            self._adopt(None)

    def _listen(self, child: ChildProcess) -> Ended | Failed:
        settings = self._settings
        first_frame_at: float | None = None
        damaged = 0
        stall_timeout_s = settings.stall_timeout_s
        deadline = time.monotonic() + settings.open_timeout_s
        while not self._stopped.is_set():
            try:
                message = child.receive(timeout_s=max(0.001, deadline - time.monotonic()))
            except TimeoutError:
                if first_frame_at is None:
                    return Failed("lost", f"no frame within {settings.open_timeout_s:g} s of connecting")
                return Failed("lost", f"no frame for {stall_timeout_s:g} s")
            if isinstance(message, Ended | Failed):
                return message
            if isinstance(message, Opened):
                self._opened(message)
                if settings.realtime:  # until the next frame is due, silence is no fault
                    stall_timeout_s = settings.stall_timeout_s + longest_wait_s(message.frame_rate_hz)
                continue
            now = time.monotonic()
            first_frame_at = now if first_frame_at is None else first_frame_at
            if now - first_frame_at > HEALTHY_S:
                self._backoff.reset()
            self._take(message, newly_damaged=max(0, message.damaged - damaged))
            damaged = message.damaged
            deadline = time.monotonic() + stall_timeout_s
        return Ended()

    def _opened(self, message: Opened) -> None:
        if self._settings.is_live:
            self._indexer.reconnected(message.frame_rate_hz)
        with self._lock:
            self._status = replace(self._status, container=message.container, codec=message.codec)

    def _take(self, message: FrameMessage, *, newly_damaged: int) -> None:
        """Number a frame and pass it on."""
        self._tries_without_frame = 0
        if self._status.state != "live":
            self._connections += 1
            self._change("live")
        frame = SourceFrame(
            index=self._indexer.next(pts_s=message.pts_s, captured_at=message.captured_at),
            captured_at=message.captured_at,
            pts_s=message.pts_s,
            image=message.image,
            connection=self._connections - 1,
        )
        now = time.monotonic()
        with self._lock:
            self._arrivals.append(now)
            while self._arrivals[0] < now - RATE_WINDOW_S:
                self._arrivals.popleft()
            self._status = replace(self._status, frames=self._status.frames + 1, last_frame_at=time.time())
        given_up = self._on_frame(frame)
        if given_up or newly_damaged:
            with self._lock:
                self._status = replace(self._status, dropped=self._status.dropped + given_up + newly_damaged)

    def _wait_after(self, failure: Failed) -> float | None:
        """Give the wait before the next try, seconds; None if there is none."""
        settings = self._settings
        if failure.reason in FINAL:
            return None
        if not settings.is_live:
            self._tries_without_frame += 1
            is_reader_at_fault = failure.reason in ("crashed", "lost")
            return self._backoff.next() if is_reader_at_fault and self._tries_without_frame < FILE_TRIES else None
        if not settings.reconnect:
            return None
        if failure.reason in MAY_HEAL:
            return settings.retry_failed_s or None
        return self._backoff.next()

    def _adopt(self, child: ChildProcess | None) -> None:
        with self._lock:
            self._child = child
            self._status = replace(self._status, pid=child.pid if child else None)
        if child is not None and self._stopped.is_set():  # it was stopped while the child started
            child.interrupt()

    def _change(self, state: SourceState, failure: Failed | None = None, *, retry_at: float | None = None) -> None:
        """Note a state and its cause, and tell if it is news."""
        with self._lock:
            before = self._status
            self._status = replace(
                before,
                state=state,
                since=before.since if state == before.state else time.time(),
                cause=failure.cause if failure else None,
                reason=failure.reason if failure else None,
                retry_at=retry_at,
            )
            after = self._status
        if (before.state, before.cause) == (after.state, after.cause):
            return
        level = logging.INFO if after.cause is None else logging.WARNING
        logger.log(level, "source %s", state, extra={"source": self._settings.shown, "cause": after.cause})
        self._on_status(after)
