"""The health of a stream's sensor: what is wrong with it, since when, by how much.

Legend: H W pixels of the frame, N pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame
from loddis_runtime.scene_measures import white_noise
from loddis_server.scene_health.change import FLOAT_STEP, ROUNDING, ChangeMeter, ShutterMeter
from loddis_server.scene_health.dead_pixels import DeadPixelMeter
from loddis_server.scene_health.hysteresis import Hysteresis
from loddis_server.scene_health.saturation import SaturationMeter
from loddis_server.scene_health.settings import CONDITIONS, HealthCondition, HealthSettings, Limits
from loddis_server.scene_health.sharpness import SharpnessMeter
from loddis_server.scene_health.stripes import StripeMeter

__all__ = ["HealthReport", "SensorHealth"]

NEWEST_SHIFT: Final = 0.2  # weight of a frame's shift in the mean
SMALLEST_SIDE_PX: Final = 32  # of frames whose patterns can be told
NONE: Final[frozenset[HealthCondition]] = frozenset()


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What is known of a sensor with a frame.

    Attributes:
        conditions: That hold.
        began: That hold with this frame and did not before.
        ended: That held before and do not with this frame.
        unknown: That cannot be told now: history is missing, or the scene has nothing to tell them by.
        hold_alarms: Whether alarms are to be held back: in a shutter event and for some frames after it, and while the
            picture is frozen.
        restarted: Whether everything was forgotten before this frame, as its size or dtype is another.
        measures: What conditions were judged by, as far as it is known. `change`: mean difference from the frame
            before, levels. `unchanged_frames`. `contrast`: over what is usual. `noise`: sigma of a pixel, levels.
            `saturated`: share of pixels. `dead_pixels`: their number. `column_stripes`, `row_stripes`: deviation over
            noise. `sharpness`: fine over coarse curvature. `sharpness_lost`: share of what is usual. `shift`: of the
            scene, smoothed, pixels per frame. `unchanged_s`: time since the last change, seconds, where frames have
            timestamps.
    """

    conditions: frozenset[HealthCondition]
    began: frozenset[HealthCondition]
    ended: frozenset[HealthCondition]
    unknown: frozenset[HealthCondition]
    hold_alarms: bool
    restarted: bool
    measures: Mapping[str, float]


class SensorHealth:
    """Watches the frames of one stream, in their order.

    What changes fast is measured in every frame; noise, saturation, dead pixels, stripes and focus in every so many,
    one after the other, so that no frame pays for all of them.

    Frames are kept until the next one: they must not be written to.

    Args:
        settings: When conditions begin and end.
    """

    def __init__(self, settings: HealthSettings | None = None) -> None:
        self.settings = settings or HealthSettings()
        self._kind: tuple[tuple[int, ...], str] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the stream: its history and all that holds."""
        settings = self.settings
        self._changes = ChangeMeter(settings)
        self._shutter = ShutterMeter(settings)
        self._saturation = SaturationMeter(settings)
        self._dead = DeadPixelMeter(settings)
        self._stripes = StripeMeter()
        self._sharpness = SharpnessMeter(settings)
        at_once = Limits(begin=1, end=1)
        self._states: dict[HealthCondition, Hysteresis] = {
            "frozen": Hysteresis(Limits(begin=1, end=1, end_after=2)),
            "shutter": Hysteresis(at_once),
            "saturated": Hysteresis(settings.saturated),
            "dead_pixels": Hysteresis(settings.dead_pixels),
            "stripes": Hysteresis(settings.stripes),
            "defocused": Hysteresis(settings.defocused),
            "moving": Hysteresis(settings.moving),
        }
        self._noise: float | None = None
        self._shift: float | None = None
        self._changed_s: float | None = None
        self._measured = 0  # frames that were fit to be measured
        self._frames_since_shutter: int | None = None
        self._measures: dict[str, float] = {}
        self._unknown: set[HealthCondition] = set(CONDITIONS)

    @property
    def dead_pixels_xy(self) -> NDArray[np.intp]:
        """Columns and rows ``(N, 2)`` of the pixels that are dead."""
        return self._dead.pixels_xy

    @property
    def level_range(self) -> tuple[float, float] | None:
        """Lowest and highest level of the sensor, as far as it is known."""
        return self._saturation.range

    def update(
        self,
        frame: Frame,
        *,
        timestamp_s: float | None = None,
        camera_shift_xy: tuple[float, float] | None = None,
    ) -> HealthReport:
        """Take the next frame.

        Args:
            frame: ``(H, W)`` uint8, uint16 or float32; of another size or dtype than before, it starts afresh.
            timestamp_s: When it was taken, seconds on any clock.
            camera_shift_xy: How far the scene moved since the frame before, pixels; None where that is not known.
        """
        held = self._holding()
        kind = (frame.shape, frame.dtype.name)
        restarted = self._kind is not None and kind != self._kind
        if restarted:
            self.reset()
        self._kind = kind
        self._take_shift(camera_shift_xy)
        self._changes.update(frame, moving=self._states["moving"].holds)
        self._take_change(timestamp_s)
        if min(frame.shape) >= SMALLEST_SIDE_PX:
            self._take_shutter(frame)
            if not (self._changes.unchanged_frames or self._states["shutter"].holds):
                self._measure_in_turn(frame)
        holding = self._holding()
        return HealthReport(
            conditions=holding,
            began=holding - held,
            ended=held - holding,
            unknown=frozenset(self._unknown - holding),
            hold_alarms=self._holds_alarms(),
            restarted=restarted,
            measures=dict(self._measures),
        )

    def _holding(self) -> frozenset[HealthCondition]:
        return frozenset(name for name, state in self._states.items() if state.holds) or NONE

    def _judge(self, condition: HealthCondition, measure: float | None) -> None:
        """Let a measure decide on a condition; None says that there is none."""
        if measure is None:
            self._unknown.add(condition)
        else:
            self._unknown.discard(condition)
        self._states[condition].update(measure)

    def _keep(self, name: str, measure: float | None) -> None:
        """Report a measure from now on, or no longer."""
        if measure is None:
            self._measures.pop(name, None)
        else:
            self._measures[name] = measure

    def _take_shift(self, shift_xy: tuple[float, float] | None) -> None:
        if shift_xy is not None:
            shift = math.hypot(*shift_xy)
            self._shift = shift if self._shift is None else self._shift + NEWEST_SHIFT * (shift - self._shift)
            self._keep("shift", self._shift)
        self._judge("moving", None if shift_xy is None else self._shift)

    def _take_change(self, timestamp_s: float | None) -> None:
        changes = self._changes
        self._judge("frozen", changes.frozen)
        self._keep("change", changes.change)
        self._keep("unchanged_frames", float(changes.unchanged_frames))
        if changes.unchanged_frames == 0 or self._changed_s is None:
            self._changed_s = timestamp_s
        unchanged_s = None if timestamp_s is None or self._changed_s is None else timestamp_s - self._changed_s
        self._keep("unchanged_s", unchanged_s)

    def _take_shutter(self, frame: Frame) -> None:
        step = FLOAT_STEP if frame.dtype.kind == "f" else 1.0
        closed = self._shutter.update(
            frame,
            unchanged_frames=self._changes.unchanged_frames,
            noise=max(self._noise or 0.0, ROUNDING * step),
        )
        self._states["shutter"].update(float(closed))
        self._keep("contrast", self._shutter.contrast)
        if self._shutter.contrast is None:
            self._unknown.add("shutter")
        else:
            self._unknown.discard("shutter")
        if closed:
            self._frames_since_shutter = 0
        elif self._frames_since_shutter is not None:
            self._frames_since_shutter += 1

    def _holds_alarms(self) -> bool:
        since = self._frames_since_shutter
        shutter = since is not None and since <= self.settings.hold_back_frames
        return shutter or self._states["frozen"].holds

    def _measure_in_turn(self, frame: Frame) -> None:
        """Measure one of what changes slowly, each in every so many frames."""
        turns: tuple[Callable[[Frame], None], ...] = (
            self._measure_noise_and_stripes,
            self._measure_saturation,
            self._measure_dead_pixels,
            self._measure_sharpness,
        )
        every = self.settings.measure_every
        for turn, measure in enumerate(turns):
            if self._measured % every == turn * every // len(turns):
                measure(frame)
        self._measured += 1

    def _measure_noise_and_stripes(self, frame: Frame) -> None:
        levels = frame.astype(np.float32, copy=False)
        step = FLOAT_STEP if frame.dtype.kind == "f" else 1.0
        self._noise = white_noise(levels)
        self._keep("noise", self._noise)
        columns, rows = self._stripes.update(levels, noise=self._noise, step=step)
        self._keep("column_stripes", columns)
        self._keep("row_stripes", rows)
        self._judge("stripes", max(columns, rows))

    def _measure_saturation(self, frame: Frame) -> None:
        share = self._saturation.update(frame)
        self._keep("saturated", share)
        self._judge("saturated", share)

    def _measure_dead_pixels(self, frame: Frame) -> None:
        step = FLOAT_STEP if frame.dtype.kind == "f" else 1.0
        share = self._dead.update(frame, noise=max(self._noise or 0.0, ROUNDING * step))
        self._keep("dead_pixels", None if share is None else round(share * frame.size))
        self._judge("dead_pixels", share)

    def _measure_sharpness(self, frame: Frame) -> None:
        lost = self._sharpness.update(
            frame.astype(np.float32, copy=False),
            noise=self._noise or 0.0,
            defocused=self._states["defocused"].holds,
        )
        self._keep("sharpness", self._sharpness.sharpness)
        self._keep("sharpness_lost", lost)
        self._judge("defocused", lost)
