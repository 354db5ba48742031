"""How far a training has come, and whether it is worth going on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loddis_trainer.checkpoint import CheckpointInfo

__all__ = ["TrainingProgress"]


@dataclass(slots=True)
class TrainingProgress:
    """Counters of a training; a checkpoint carries them over a stop.

    Attributes:
        epoch: Epochs completed.
        step: Optimiser steps completed.
        best_map50: Best validation mAP50 so far, in [0, 1]; −∞ before the first.
        stale: Validations since then.
    """

    epoch: int = 0
    step: int = 0
    best_map50: float = -math.inf
    stale: int = 0

    @classmethod
    def of(cls, info: CheckpointInfo) -> TrainingProgress:
        """Give where a checkpoint stands."""
        best = -math.inf if info.best_map50 is None else info.best_map50
        return cls(info.epoch, info.step, best, info.stale)

    def judge(self, map50: float) -> bool:
        """Take in a validation; tell whether it is the best so far. An undefined mAP50 (no targets) never is."""
        if map50 > self.best_map50:
            self.best_map50, self.stale = map50, 0
            return True
        self.stale += 1
        return False

    def exhausted(self, patience: int) -> bool:
        """Tell whether `patience` validations in a row brought nothing better; 0 waits for ever."""
        return 0 < patience <= self.stale
