"""Whether frames change from one to the next, and when a shutter closes between them.

Legend: H W pixels of the frame.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame
from loddis_runtime.scene_measures import white_noise
from loddis_server.scene_health.settings import HealthSettings
from loddis_server.scene_health.usual import Usual

__all__ = ["FLOAT_STEP", "ROUNDING", "ChangeMeter", "ShutterMeter"]

FLOAT_STEP: Final = 1 / 65535  # taken for the step of float frames
ROUNDING: Final = 12**-0.5  # standard deviation of rounding, steps
USUAL_QUANTILE: Final = 0.1  # of changes: motion comes on top of what noise changes
LEAST_CHANGE: Final = 0.25  # steps; below it a stream is too quiet for its noise to be missed
COARSE_PX: Final = 16  # side of the blocks whose means tell contrast: noise is a sixteenth in them
SUDDEN_FRAMES: Final = 3
SUDDEN_SHARE: Final = 0.6  # of the usual contrast, just before a flag
SHORTEST_FREEZE: Final = 3  # frames; one or two are repeated by many converters of frame rates
SAME_SCENE: Final = 0.5  # deviation of a jump over the coarse frame, as a share of the jump


class ChangeMeter:
    """How much a frame differs from the one before it.

    Args:
        settings: Of the stream.
    """

    def __init__(self, settings: HealthSettings) -> None:
        self._settings = settings
        self._last: Frame | None = None
        self._step = 1.0  # between levels
        self._usual = Usual(
            4 * settings.history,
            enough=settings.history,
            quantile=USUAL_QUANTILE,
            every=settings.measure_every,
        )
        self.change: float | None = None
        """Mean difference from the frame before, levels; None for the first."""
        self.unchanged_frames = 0
        """Frames in a row, up to the newest, that did not change."""

    @property
    def frozen(self) -> float | None:
        """Unchanged frames over those that it takes to be frozen; None before there are two frames."""
        if self.change is None:
            return None
        wanted = self._settings.frozen_frames if self._is_noisy else self._settings.frozen_quiet_frames
        return self.unchanged_frames / wanted

    @property
    def _is_noisy(self) -> bool:
        return self._usual.value is not None and self._usual.value >= LEAST_CHANGE * self._step

    def update(self, frame: Frame, *, moving: bool) -> None:
        """Take the next frame; while the camera moves, its changes tell nothing of the noise.

        Args:
            frame: ``(H, W)``, of the size and dtype of those before.
            moving: Whether the camera moves.
        """
        last, self._last = self._last, frame
        self._step = FLOAT_STEP if frame.dtype.kind == "f" else 1.0
        if last is None:
            return
        self.change = cv2.norm(frame, last, cv2.NORM_L1) / frame.size
        usual = self._usual.value
        if self.change == 0 or (usual and self._is_noisy and self.change <= self._settings.unchanged_share * usual):
            self.unchanged_frames += 1
            return
        self.unchanged_frames = 0
        if not moving:
            self._usual.learn(self.change)


class ShutterMeter:
    """Whether a shutter is before the sensor, or has just been.

    Two kinds are known. A *flag* that is seen: contrast between blocks of the frame falls from one frame to the next to
    next to nothing, and comes back. A flag that the camera hides: it repeats its last frame for a moment, and goes on
    with another level of the same scene.

    Args:
        settings: Of the stream.
    """

    def __init__(self, settings: HealthSettings) -> None:
        self._settings = settings
        self._usual = Usual(settings.history, enough=settings.history // 4, every=4)
        self._open_frames_ago = SUDDEN_FRAMES + 1
        self._closed_frames = 0
        self._before: NDArray[np.float32] | None = None  # coarse, the newest frame that changed
        self._frozen_frames = 0  # since then
        self.contrast: float | None = None
        """Of the newest frame, as a share of the usual; None while that is not known, or too low to tell a flag."""
        self.jump: float | None = None
        """Of the level after a freeze just over, levels; None where there was none."""

    def update(self, frame: Frame, *, unchanged_frames: int, noise: float) -> bool:
        """Take the next frame, and tell whether a shutter event is under way or has just ended.

        Args:
            frame: ``(H, W)``.
            unchanged_frames: That do not differ from the one before, up to this one.
            noise: Of a pixel, levels.
        """
        height, width = frame.shape
        coarse_wh = max(2, width // COARSE_PX), max(2, height // COARSE_PX)
        coarse = cv2.resize(frame, coarse_wh, interpolation=cv2.INTER_AREA).astype(np.float32)
        jumped = self._after_freeze(coarse, unchanged_frames, noise)
        return self._is_closed(frame, float(coarse.std()), noise) or jumped

    def _is_closed(self, frame: Frame, contrast: float, noise: float) -> bool:
        """Tell whether a flag is seen."""
        settings, usual = self._settings, self._usual.value
        # A scene that is itself nearly as flat as a flag does not show one.
        if usual is None or settings.shutter_contrast * usual < 2 * ROUNDING:
            self.contrast = None
            self._usual.learn(contrast)
            return False
        self.contrast = contrast / usual
        if self._closed_frames:
            self._closed_frames += 1
            if self.contrast < settings.shutter_open and self._closed_frames <= settings.shutter_frames:
                return True
            if self.contrast < settings.shutter_open:  # it stays: this is what the camera sees now
                self._usual.forget()
            self._closed_frames = 0
            return False
        if self.contrast <= settings.shutter_contrast and self._open_frames_ago <= SUDDEN_FRAMES:
            noise_now = max(noise, white_noise(frame.astype(np.float32)))  # a camera's gain may have risen with it
            if contrast <= settings.shutter_flatness * noise_now:
                self._closed_frames = 1
                return True
        self._open_frames_ago = 0 if self.contrast >= SUDDEN_SHARE else self._open_frames_ago + 1
        self._usual.learn(contrast)
        return False

    def _after_freeze(self, coarse: NDArray[np.float32], unchanged_frames: int, noise: float) -> bool:
        """Tell whether the level of the same scene jumped over a short freeze that this frame ends."""
        self.jump = None
        if unchanged_frames:
            self._frozen_frames = unchanged_frames
            return False
        before, self._before = self._before, coarse
        frozen, self._frozen_frames = self._frozen_frames, 0
        if before is None or not SHORTEST_FREEZE <= frozen <= self._settings.shutter_frames:
            return False
        difference = coarse - before
        self.jump = float(np.median(difference))
        return abs(self.jump) >= self._settings.shutter_jump * noise and float(difference.std()) <= SAME_SCENE * abs(
            self.jump
        )
