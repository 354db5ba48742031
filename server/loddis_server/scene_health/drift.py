"""Whether a stream shows what its model was trained on.

Legend: W measured frames of the sliding window, M measures.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from loddis_runtime.preparation import PreparedFrame
from loddis_runtime.scene_measures import MEASURES, measure_scene
from loddis_runtime.scene_statistics import SceneStatistics

__all__ = ["DriftMonitor", "DriftReport", "DriftSettings", "MeasureDeviation"]


class DriftSettings(BaseModel):
    """When a scene is called unlike those of the training domains."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure_every: int = Field(default=10, ge=1, le=100_000, description="Frames from one measured frame to the next.")
    window: int = Field(default=30, ge=1, le=100_000, description="Measured frames that a judgement is of, the newest.")
    least: int = Field(default=5, ge=1, le=100_000, description="Measured frames that a first judgement takes.")
    false_drift_probability: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="Of calling a scene unlike that is of a training domain. It is per scene, not per frame: while a "
        "camera sees the same, its judgements are the same.",
    )
    end_probability: float = Field(
        default=0.1, gt=0, lt=1, description="A scene is like again once its probability is at least this."
    )
    named: int = Field(default=3, ge=1, le=len(MEASURES), description="Measures that a report names.")


@dataclass(frozen=True, slots=True)
class MeasureDeviation:
    """How far one measure is off.

    Attributes:
        measure: As `loddis_runtime.scene_measures` names it.
        deviation: From the nearest domain's mean, in standard deviations over its frames; above 0: larger.
    """

    measure: str
    deviation: float


@dataclass(frozen=True, slots=True)
class DriftReport:
    """How a stream compares with the training domains.

    Attributes:
        distance: Mahalanobis distance of the window's mean measures from the nearest domain; None while there are too
            few frames, or if the bundle has no statistics to compare with.
        probability: Of a scene of that domain being at least this far off; None likewise.
        domain: The nearest: the one that makes that most probable; None likewise.
        is_unlike: Whether the scene is unlike all domains.
        changed: Whether `is_unlike` is another with this frame.
        most_unlike: Measures that differ most, the largest difference first; empty where there is no distance.
        cause: Why there is no distance, for people; None where there is one.
    """

    distance: float | None
    probability: float | None
    domain: str | None
    is_unlike: bool
    changed: bool
    most_unlike: tuple[MeasureDeviation, ...]
    cause: str | None


class DriftMonitor:
    """Compares a sliding window of a stream's frames with the scenes of its model's training domains.

    The window's mean has a distance from each domain, and each domain knows how far its own clips lie from it: see
    `DomainStatistics`. The most probable domain decides: a scene is unlike once a clip of even that one would be as far
    off with a probability below `false_drift_probability`.

    Args:
        reference: Of the manifest; without one, or with one of other measures than this release takes, there is no
            distance, and the reports say why.
        settings: When a scene is unlike.
    """

    def __init__(self, reference: SceneStatistics | None, settings: DriftSettings | None = None) -> None:
        self.settings = settings or DriftSettings()
        self._reference: SceneStatistics | None = None
        if reference is None:
            self._cause: str | None = "the model's bundle does not say what its training scenes are like"
        elif reference.measures != MEASURES:
            self._cause = "the model's bundle measures scenes as another release does: loddis-export scenes updates it"
        else:
            self._reference, self._cause = reference, None
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self._rows: deque[NDArray[np.float64]] = deque(maxlen=self.settings.window)
        self._frames = 0
        self._report = self._unknown(self._cause or "too few frames", changed=False)

    def update(self, prepared: PreparedFrame) -> DriftReport:
        """Take the next frame, as it goes to the network; most frames are only counted."""
        turn = self._frames % self.settings.measure_every == 0
        self._frames += 1
        if self._reference is None or not turn:
            return self._again()
        row = measure_scene(prepared)
        if row is None:
            self._report = self._unknown(
                "the frame is too small in the network's input", changed=self._report.is_unlike
            )
            return self._report
        self._rows.append(row)
        if len(self._rows) < min(self.settings.least, self.settings.window):
            return self._again()
        self._report = self._judge(self._reference, np.mean(self._rows, axis=0))
        return self._report

    def _judge(self, reference: SceneStatistics, mean: NDArray[np.float64]) -> DriftReport:
        """Compare the window's mean measures ``(M,)``."""
        domain, probability = reference.nearest(mean)
        settings, before = self.settings, self._report.is_unlike
        limit = max(settings.end_probability, settings.false_drift_probability)
        is_unlike = probability < (limit if before else settings.false_drift_probability)
        deviations = domain.deviations(mean)  # (M,)
        order = np.argsort(-np.abs(deviations))[: settings.named]
        return DriftReport(
            distance=domain.distance(mean),
            probability=probability,
            domain=domain.name,
            is_unlike=is_unlike,
            changed=is_unlike != before,
            most_unlike=tuple(MeasureDeviation(reference.measures[i], float(deviations[i])) for i in order),
            cause=None,
        )

    def _unknown(self, cause: str, *, changed: bool) -> DriftReport:
        return DriftReport(None, None, None, is_unlike=False, changed=changed, most_unlike=(), cause=cause)

    def _again(self) -> DriftReport:
        """Give the last judgement for a frame that was not measured."""
        if self._report.changed:
            r = self._report
            self._report = DriftReport(
                r.distance,
                r.probability,
                r.domain,
                r.is_unlike,
                changed=False,
                most_unlike=r.most_unlike,
                cause=r.cause,
            )
        return self._report
