"""Targets of known SNR in copies of live frames: would what should be found be found?

Legend: T frames of the model's window, oldest first; H W pixels of a frame; N boxes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from loddis_runtime.detections import Detections
from loddis_runtime.frames import Frame
from loddis_runtime.scenes import Injection, inject_target
from loddis_server.scene_health.canary_status import CanaryStatus, Tally

__all__ = ["Canary", "CanaryFrame", "CanaryOutcome", "CanarySettings"]

TRIALS: Final = 16  # places that are tried in a frame
JITTER: Final = (0.5, 1.5)  # of the time to the next turn: nothing periodic in a scene may keep step with it
WHOLE: Final = 0.95  # of the SNR asked for: below, the sensor's range has cut the target

Boxes = NDArray[np.floating]


class CanarySettings(BaseModel):
    """What is put in, how often, and when it counts as found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_minute: float = Field(
        default=6.0,
        gt=0,
        le=6000,
        allow_inf_nan=False,
        description="Targets a minute; each costs a run of the network.",
    )
    snr_levels: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(
        default=(5.0, 8.0, 12.0, 20.0),
        min_length=1,
        description="Signal to noise ratios, taken in turn at random; over the noise around the place.",
    )
    psf_fwhm_px: float = Field(default=1.6, ge=1.2, le=8, description="Width at half height of the target, pixels.")
    speed_px_per_frame: tuple[float, float] = Field(
        default=(0.3, 3.0), description="Least and largest speed in a window of several frames, pixels per frame."
    )
    border_px: float = Field(default=12.0, ge=0, description="Distance from the border of the frame, pixels.")
    clearance_px: float = Field(default=16.0, ge=0, description="Distance from boxes that are avoided, pixels.")
    centre_distance_px: float = Field(
        default=5.0, gt=0, description="Within which a detection counts as one of the target, pixels, by centres."
    )
    window: int = Field(default=200, ge=1, le=100_000, description="Newest targets of each SNR that Pd is of.")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="Of the intervals around Pd, of 1.")


@dataclass(frozen=True, slots=True, eq=False)
class CanaryFrame:
    """Copies of live frames with a target in them: for the network alone, never to be shown or tracked.

    Attributes:
        frames: T frames, oldest first; the last is the key frame. `Detector.prepare_window` takes them as they are.
        box_xyxy: ``(4,)`` float32, of the target in the key frame, pixels.
        centre_xy: Of it, pixels.
        snr_level: That was asked for, one of the settings'.
        snr: That the key frame has, once levels are rounded to whole ones.
        polarity: Brighter or darker than what is around.
    """

    frames: tuple[Frame, ...]
    box_xyxy: NDArray[np.float32]
    centre_xy: tuple[float, float]
    snr_level: float
    snr: float
    polarity: Literal["hot", "cold"]

    @property
    def key_frame(self) -> Frame:
        """The frame to detect on, ``(H, W)``."""
        return self.frames[-1]


@dataclass(frozen=True, slots=True)
class CanaryOutcome:
    """Whether a target was found.

    Attributes:
        hit: Whether it was.
        snr_level: Of the target.
        distance_px: Of the nearest detection's centre from the target's, pixels; None where there is no detection.
        score: Of the best detection that counts as one of it; None without.
    """

    hit: bool
    snr_level: float
    distance_px: float | None
    score: float | None


class Canary:
    """Puts targets into copies of a stream's frames, and keeps count of how many are found.

    Every few seconds, at random, a frame gets its turn: a target is drawn into a copy of it at a random place, away
    from borders and from what was detected. For a model that sees several frames, it moves through copies of the last
    of them at a constant speed. The live frames are read, and never written to.

    Live frames are kept for as long as the model's window reaches back: they must not be written to by others either.

    Args:
        settings: What, and how often.
        seed: Of all that is drawn by chance.
        frames: T of the model.
        polarities: Which targets the model looks for.
    """

    def __init__(
        self,
        settings: CanarySettings | None = None,
        seed: int = 0,
        *,
        frames: int = 1,
        polarities: Sequence[Literal["hot", "cold"]] = ("hot",),
    ) -> None:
        self.settings = settings or CanarySettings()
        self._rng = np.random.default_rng(seed)
        self._past: deque[Frame] = deque(maxlen=frames)
        self._frames = frames
        self._polarities = tuple(polarities)
        self._next_s: float | None = None
        self._tally = Tally(self.settings.snr_levels, window=self.settings.window, confidence=self.settings.confidence)
        self._skipped = 0

    def inject(
        self,
        frame: Frame,
        avoid_boxes: Boxes,
        *,
        timestamp_s: float,
        missing: int = 0,
        level_range: tuple[float, float] | None = None,
    ) -> CanaryFrame | None:
        """Take the next live frame, and give copies with a target if it is a canary's turn.

        Args:
            frame: ``(H, W)`` uint8, uint16 or float32; left as it is.
            avoid_boxes: ``(N, 4)`` x1, y1, x2, y2 of detections and tracks in it, pixels.
            timestamp_s: When it was taken, seconds on any clock.
            missing: Frames that are missing before it: no target moves over a hole.
            level_range: Lowest and highest level of the sensor, as `SensorHealth.level_range` knows it; the dtype's if
                none.

        Returns:
            None if it is not a canary's turn, or the frame has no place for one.
        """
        if missing or (self._past and _kind(self._past[-1]) != _kind(frame)):
            self.forget()
        self._past.append(frame)
        pause_s = 60 / self.settings.per_minute
        if self._next_s is None or self._next_s - timestamp_s > JITTER[1] * pause_s:  # the first, or a clock set back
            self._next_s = timestamp_s + pause_s * self._rng.uniform(0, JITTER[1])
        if timestamp_s < self._next_s or len(self._past) < self._frames:
            return None
        self._next_s = timestamp_s + pause_s * self._rng.uniform(*JITTER)
        canary = self._draw(np.asarray(avoid_boxes, dtype=np.float64).reshape(-1, 4), level_range)
        self._skipped += canary is None
        return canary

    def forget(self) -> None:
        """Forget the frames before: another scene follows. What was counted stays."""
        self._past.clear()

    def judge(self, canary: CanaryFrame, detections: Detections, *, score_threshold: float = 0.0) -> CanaryOutcome:
        """Tell whether the target was found, and count it.

        Args:
            canary: That the network saw.
            detections: That it found in the key frame.
            score_threshold: At which the stream reports detections now; lower ones do not count.
        """
        counted = detections.scores >= score_threshold
        boxes = detections.boxes_xyxy[counted]
        distances = np.hypot(*((boxes[:, :2] + boxes[:, 2:]) / 2 - np.array(canary.centre_xy)).T)
        near = distances <= self.settings.centre_distance_px
        outcome = CanaryOutcome(
            hit=bool(near.any()),
            snr_level=canary.snr_level,
            distance_px=float(distances.min()) if distances.size else None,
            score=float(detections.scores[counted][near].max()) if near.any() else None,
        )
        self._tally.add(canary.snr_level, hit=outcome.hit)
        return outcome

    def status(self) -> CanaryStatus:
        """Give Pd of each SNR over the newest targets."""
        return self._tally.status(skipped=self._skipped)

    def _draw(self, avoid: NDArray[np.float64], level_range: tuple[float, float] | None) -> CanaryFrame | None:
        """Put a target into copies of the window; None where no place that was tried would do."""
        settings, rng = self.settings, self._rng
        snr = float(rng.choice(settings.snr_levels))
        polarity = self._polarities[rng.integers(len(self._polarities))]
        height, width = self._past[-1].shape
        inner_low = np.full(2, settings.border_px)
        inner_high = np.array([width, height]) - settings.border_px
        if (inner_low >= inner_high).any():
            return None
        for _ in range(TRIALS):
            centre_xy = rng.uniform(inner_low, inner_high)
            angle, speed = rng.uniform(0, 2 * math.pi), rng.uniform(*settings.speed_px_per_frame)
            step_xy = speed * np.array([math.cos(angle), math.sin(angle)])
            places = centre_xy - np.arange(self._frames - 1, -1, -1)[:, None] * step_xy  # (T, 2)
            if (places < inner_low).any() or (places > inner_high).any():
                continue
            if any(_distance_px(place, avoid) < settings.clearance_px for place in places):
                continue
            injections = self._put(places, snr, polarity, level_range)
            if all(one.snr >= WHOLE * asked for one, asked in injections):
                key = injections[-1][0]
                x, y = centre_xy.tolist()
                frames = tuple(one.frame for one, _ in injections)
                rounded_snr = cv2.norm(key.frame, self._past[-1], cv2.NORM_INF) / key.noise
                return CanaryFrame(frames, key.box_xyxy, (x, y), snr, rounded_snr, polarity)
        return None

    def _put(
        self,
        places: NDArray[np.float64],
        snr: float,
        polarity: Literal["hot", "cold"],
        level_range: tuple[float, float] | None,
    ) -> list[tuple[Injection, float]]:
        """Put one target, equally bright in all, at places ``(T, 2)``; give the SNR that was asked for in each, too."""

        def put(frame: Frame, place: NDArray[np.float64], ratio: float) -> Injection:
            x, y = place.tolist()
            return inject_target(
                frame,
                centre_xy=(x, y),
                snr=ratio,
                psf_fwhm_px=self.settings.psf_fwhm_px,
                polarity=polarity,
                level_range=level_range,
            )

        key = put(self._past[-1], places[-1], snr)
        height = snr * key.noise  # levels
        put_in = []
        for frame, place in zip(list(self._past)[:-1], places[:-1], strict=True):
            asked = height / put(frame, place, snr).noise
            put_in.append((put(frame, place, asked), asked))
        return [*put_in, (key, snr)]


def _kind(frame: Frame) -> tuple[tuple[int, ...], str]:
    return frame.shape, frame.dtype.name


def _distance_px(place: NDArray[np.float64], boxes: NDArray[np.float64]) -> float:
    """Give the distance of a place from the nearest of boxes ``(N, 4)``; infinite without any."""
    if not len(boxes):
        return math.inf
    outside = np.maximum(np.maximum(boxes[:, :2] - place, place - boxes[:, 2:]), 0.0)
    return float(np.hypot(*outside.T).min())
