"""The look at held-out frames between epochs: cheap, and by the same path as every other measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loddis_trainer.config import FitConfig
from loddis_trainer.data import DomainDataset, Mixture
from loddis_trainer.evaluate import collect_results
from loddis_trainer.metrics import common_threshold, detection_roc, evaluate_images, mean_of_defined
from loddis_trainer.models import LoddisDetector
from loddis_trainer.torch_engine import wrap_detector

__all__ = ["MAX_FALSE_ALARMS", "Validation", "frames_to_validate", "validate"]

MAX_FALSE_ALARMS = 0.1  # per frame, where the operating point is set


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validation gave: means over the task domains, each weighing alike.

    Attributes:
        map50: In [0, 1].
        pd: At `score_threshold`, centre distance 3 px.
        f1: Likewise.
        score_threshold: With 0.1 false alarms per frame, mean of the domains.
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


def frames_to_validate(dataset: DomainDataset, config: FitConfig) -> list[int]:
    """Give the numbers of the frames that validations look at."""
    return dataset.evenly_spaced(config.validate_frames or len(dataset))


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
    by_domain = [
        collect_results(
            detector,
            domain.dataset,
            numbers=frames_to_validate(domain.dataset, config),
            measure=False,
            progress=False,
        )
        for domain in held_out.domains
    ]
    threshold = common_threshold([detection_roc(results) for results in by_domain], MAX_FALSE_ALARMS)
    there = [evaluate_images(results, score_threshold=threshold) for results in by_domain]
    return Validation(
        map50=mean_of_defined(one.map50 for one in there),
        pd=mean_of_defined(one.pd for one in there),
        f1=mean_of_defined(one.f1 for one in there),
        score_threshold=threshold,
    )
