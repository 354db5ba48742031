"""What is remembered from one frame of a stream to the next, and what is made of it.

Frames come one at a time and in order, on worker threads; the event loop's side is `live`. What tells how it goes
(`threshold`, `false_alarms`) may be asked from any thread meanwhile.

Legend: K candidates of the network.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.detections import Detections
from loddis_runtime.detector import Detector, PreparedFrame
from loddis_runtime.errors import DuplicateFrameError, LateFrameError
from loddis_runtime.frames import Frame
from loddis_runtime.stream import StreamWindow
from loddis_server.alarms import FalseAlarmControl, FalseAlarmStatus
from loddis_server.events import thumbnail_png
from loddis_server.scene_health import Canary, CanaryFrame, DriftMonitor, DriftReport, HealthReport, SensorHealth
from loddis_server.streams.settings import StreamSettings
from loddis_server.tracking import Track, Tracker, TrackUpdate

__all__ = ["FrameOptions", "StreamResult", "StreamSession"]

LOW_SCORE = 0.05  # of detections that may keep a track alive
LONGEST_FRAME_S = 2.0  # between two frames that belong to one look at the scene


@dataclass(frozen=True, slots=True)
class FrameOptions:
    """What comes with a frame.

    Attributes:
        frame_index: Its place in the stream; one after the last if none.
        timestamp_s: When it was taken, seconds on any clock that does not go back.
        captured_at: When it was taken or came, seconds since 1970.
        reset: Forget window and tracks before this frame; what was learned of sensor, scene and false alarms stays.
        score_threshold: For the detections that are reported; the stream's own if none.
        max_detections: The model's if none.
    """

    frame_index: int | None = None
    timestamp_s: float | None = None
    captured_at: float | None = None
    reset: bool = False
    score_threshold: float | None = None
    max_detections: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StreamResult:
    """The answer to one frame of a stream.

    Attributes:
        frame: Itself.
        window: What the network saw.
        detections: At the threshold that held.
        tracks: All tracks after this frame.
        alarms: Tracks that are announced with this frame: confirmed, and not held back.
        ended: Announced tracks that were lost with this frame.
        threshold: Least score of `detections`.
        held_back: Whether announcements wait: the sensor's shutter is, or just was, closed, or its picture is frozen.
        health: Of the sensor.
        drift: Of the scene.
        pictures: By id of a track in `alarms`, its neighbourhood as PNG.
        options: As given.
    """

    frame: Frame
    window: StreamWindow
    detections: Detections
    tracks: TrackUpdate
    alarms: tuple[Track, ...]
    ended: tuple[Track, ...]
    threshold: float
    held_back: bool
    health: HealthReport
    drift: DriftReport
    pictures: Mapping[int, bytes]
    options: FrameOptions


class StreamSession:
    """One stream's memory: window, tracks, alarms, health, drift, canary.

    Args:
        detector: Of the stream's model.
        settings: Of the stream.
        seed: Of the canary's targets.
    """

    def __init__(self, detector: Detector, settings: StreamSettings, *, seed: int = 0) -> None:
        self._settings = settings
        self._detector = detector
        self._stream = detector.stream(max_gap=settings.max_gap)
        self._last_index: int | None = None
        self._must_reset = False
        self.tracker = Tracker(settings.tracker)
        self._control = _false_alarm_control(detector, settings)
        self._controlling = threading.Lock()  # the control bears one thread, and is asked how it goes on another
        self.health = SensorHealth(settings.health)
        self.drift = DriftMonitor(detector.manifest.scenes, settings.drift)
        self._was_unlike = False
        self._seed = seed
        self.canary = self._new_canary()
        self._announced: set[int] = set()
        self._last_options = FrameOptions()

    @property
    def threshold(self) -> float:
        """Least score of a reported detection now."""
        control = self._control
        return self._detector.manifest.score_threshold if control is None else control.threshold

    def false_alarms(self) -> FalseAlarmStatus | None:
        """Give the rate of false alarms that is held; None where none is to be."""
        with self._controlling:
            return None if self._control is None else self._control.status()

    def prepare(self, frame: Frame, options: FrameOptions) -> tuple[PreparedFrame, StreamWindow]:
        """Take the next frame up to the network.

        Raises:
            DuplicateFrameError, LateFrameError, FrameError, ConfigError: As `Stream.prepare`; the session is as before,
                but for a reset that came with the frame.
        """
        if options.reset:
            self._stream.reset()
            self._last_index = None
            self._must_reset = True
        index = options.frame_index
        if self._last_index is not None:  # which the window does not know once the model has been exchanged
            index = self._last_index + 1 if index is None else index
            if index <= self._last_index:
                kind = DuplicateFrameError if index == self._last_index else LateFrameError
                what = "came already" if index == self._last_index else f"is late: the stream is at {self._last_index}"
                raise kind(f"frame {index} {what}", frame_index=options.frame_index, last_index=self._last_index)
        prepared, window = self._stream.prepare(frame, frame_index=index, timestamp_s=options.timestamp_s)
        self._last_index = window.frame_index
        return prepared, window

    def adopt(self, detector: Detector) -> None:
        """Go on with another model: the window starts afresh; tracks live on if the classes are the same.

        What was learned of the other model's scores says nothing of this one's: the control of false alarms begins anew
        at this model's own threshold.
        """
        self._stream.close()
        self._detector = detector
        with self._controlling:
            self._control = _false_alarm_control(detector, self._settings)
        self._stream = detector.stream(max_gap=self._settings.max_gap)
        self.drift = DriftMonitor(detector.manifest.scenes, self._settings.drift)
        self.canary = self._new_canary()

    def conclude(
        self,
        prepared: PreparedFrame,
        window: StreamWindow,
        candidates: NDArray[np.float32],
        options: FrameOptions,
    ) -> StreamResult:
        """Make the answer of ``(K, 6)`` candidates.

        Raises:
            ConfigError, EngineError: As `Detector.finish`.
        """
        own = self.threshold
        threshold = own if options.score_threshold is None else options.score_threshold
        found = self._detector.finish(prepared, candidates, score_threshold=min(threshold, self._floor))
        lost = self._forget() if self._must_reset else ()
        tracks = self.tracker.update(
            _best(found, self._floor, None),  # what one request wants to see makes no tracks
            frame=prepared.frame,
            frame_index=window.frame_index,
            score_threshold=own,
        )
        tracks = replace(tracks, ended=lost + tracks.ended)
        health = self.health.update(
            prepared.frame, timestamp_s=options.timestamp_s, camera_shift_xy=tracks.camera_shift_xy
        )
        held_back = health.hold_alarms
        self._observe(tracks, self._elapsed_s(options, missing=window.missing), held_back=held_back)
        drift = self._drift(prepared, window)
        alarms = self._announce(tracks, held_back=held_back)
        return StreamResult(
            frame=prepared.frame,
            window=window,
            detections=_best(found, threshold, options.max_detections),
            tracks=tracks,
            alarms=alarms,
            ended=self._withdraw(tracks.ended),
            threshold=threshold,
            held_back=held_back,
            health=health,
            drift=drift,
            pictures={track.track_id: thumbnail_png(prepared.frame, track.box_xyxy) for track in alarms},
            options=options,
        )

    def canary_frame(self, result: StreamResult) -> CanaryFrame | None:
        """Give copies of the window with a target in it, if it is the canary's turn."""
        if self.canary is None:
            return None
        boxes = [result.detections.boxes_xyxy, *(np.array([track.box_xyxy]) for track in result.tracks.tracks)]
        time_s = result.options.timestamp_s if result.options.timestamp_s is not None else result.options.captured_at
        return self.canary.inject(
            result.frame,
            np.concatenate(boxes),
            timestamp_s=time.monotonic() if time_s is None else time_s,
            missing=result.window.missing,
            level_range=self.health.level_range,
        )

    def close(self) -> None:
        """Let go of the frames."""
        self._stream.close()

    def _forget(self) -> tuple[Track, ...]:
        """Forget what was before a reset, but for what was learned; give the tracks that end by it."""
        self._must_reset = False
        if self.canary is not None:
            self.canary.forget()
        return self.tracker.reset()

    def _new_canary(self) -> Canary | None:
        if self._settings.canary is None:
            return None
        return Canary(self._settings.canary, seed=self._seed, frames=self._detector.manifest.window)

    @property
    def _floor(self) -> float:
        """Least score that tracks are made of; clutter is known from what lies between it and the threshold."""
        low = self._control.settings.score_floor if self._control is not None else LOW_SCORE
        return min(low, self.threshold)

    def _elapsed_s(self, options: FrameOptions, *, missing: int) -> float:
        """Give the time that a frame stands for; time in which nothing was looked at does not count."""
        last, self._last_options = self._last_options, options
        for now_s, last_s in ((options.timestamp_s, last.timestamp_s), (options.captured_at, last.captured_at)):
            if now_s is not None and last_s is not None:
                return min(max(now_s - last_s, 0.0) / (missing + 1), LONGEST_FRAME_S)
        return 0.0

    def _observe(self, tracks: TrackUpdate, elapsed_s: float, *, held_back: bool) -> None:
        """Let the control of false alarms see a frame, unless alarms are held back: none is raised in such time."""
        if self._control is None or held_back:
            return
        with self._controlling:
            self._control.observe(tracks, elapsed_s=elapsed_s)

    def _drift(self, prepared: PreparedFrame, window: StreamWindow) -> DriftReport:
        """Compare the scene with the training domains; frames of another size or depth are another scene."""
        if window.restart in ("size", "dtype"):
            self.drift.reset()
        drift = self.drift.update(prepared)
        changed = drift.is_unlike != self._was_unlike  # which a monitor that starts afresh does not know
        self._was_unlike = drift.is_unlike
        return drift if drift.changed == changed else replace(drift, changed=changed)

    def _announce(self, tracks: TrackUpdate, *, held_back: bool) -> tuple[Track, ...]:
        """Give the confirmed tracks that nobody was told of; what is held back is told later, if it still lives."""
        if held_back:
            return ()
        new = tuple(
            track for track in tracks.tracks if track.state == "confirmed" and track.track_id not in self._announced
        )
        self._announced.update(track.track_id for track in new)
        return new

    def _withdraw(self, ended: Sequence[Track]) -> tuple[Track, ...]:
        """Give the ended tracks that somebody was told of."""
        known = tuple(track for track in ended if track.track_id in self._announced)
        self._announced.difference_update(track.track_id for track in known)
        return known


def _false_alarm_control(detector: Detector, settings: StreamSettings) -> FalseAlarmControl | None:
    """Give what adapts the threshold, if a rate of false alarms is to be held."""
    if settings.alarms is None:
        return None
    return FalseAlarmControl(settings.alarms, initial_threshold=detector.manifest.score_threshold)


def _best(detections: Detections, threshold: float, limit: int | None) -> Detections:
    """Keep the detections from a score on, no more than a limit; they are sorted."""
    count = int(np.searchsorted(-detections.scores, -threshold, side="right"))
    count = count if limit is None else min(count, limit)
    return Detections(
        boxes_xyxy=detections.boxes_xyxy[:count],
        scores=detections.scores[:count],
        class_ids=detections.class_ids[:count],
        centroids=detections.centroids[:count],
        snr=detections.snr[:count],
        class_names=detections.class_names,
    )
