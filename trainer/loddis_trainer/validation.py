"""The look at held-out frames between epochs: cheap, and by the same path as every other measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loddis_trainer.config import FitConfig
from loddis_trainer.data import Mixture
from loddis_trainer.evaluate import collect_results
from loddis_trainer.metrics import ImageResult, evaluate_images
from loddis_trainer.models import LoddisDetector
from loddis_trainer.torch_engine import wrap_detector

__all__ = ["MAX_FALSE_ALARMS", "Validation", "validate"]

MAX_FALSE_ALARMS = 0.1  # per frame, where the operating point is set


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validation gave, over the task domains together.

    Attributes:
        map50: In [0, 1].
        pd: At 0.1 false alarms per frame, centre distance 3 px.
        f1: At `score_threshold`.
        score_threshold: The lowest with no more than 0.1 false alarms per frame.
    """

    map50: float
    pd: float
    f1: float
    score_threshold: float

    def headline(self) -> dict[str, float]:
        """Give the figures for logs; those that are undefined are left out."""
        figures = {
            "map50": self.map50,
            "pd": self.pd,
            "f1": self.f1,
            "score_threshold": self.score_threshold,
        }
        return {name: round(value, 5) for name, value in figures.items() if math.isfinite(value)}


def validate(model: LoddisDetector, config: FitConfig, held_out: Mixture) -> Validation:
    """Measure a detector on the validation splits of the task domains.

    Args:
        model: The averaged weights.
        config: Of the run; `validate_frames` bounds the frames of each domain.
        held_out: The task domains' validation splits.
    """
    detector = wrap_detector(
        model,
        variant=config.variant,
        classes=config.classes,
        window=config.window,
        register_window=config.register_window,
        size_hw=config.size_hw,
        intensity=config.intensity,
        autocast=config.precision != "32-true",
    )
    results: list[ImageResult] = []
    for domain in held_out.domains:
        numbers = domain.dataset.evenly_spaced(config.validate_frames or len(domain.dataset))
        results += collect_results(detector, domain.dataset, numbers=numbers, measure=False, progress=False)
    first = evaluate_images(results, score_threshold=0.5)
    threshold = first.threshold_at(MAX_FALSE_ALARMS)
    there = evaluate_images(results, score_threshold=threshold)
    return Validation(there.map50, there.pd, there.f1, threshold)
