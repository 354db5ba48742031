"""Learning rate over the steps of a training."""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["ScheduleName", "learning_rate_factor"]

ScheduleName = Literal["constant", "cosine"]


def learning_rate_factor(
    step: int, *, total_steps: int, warmup_steps: int, schedule: ScheduleName, final_factor: float = 0.02
) -> float:
    """Give the factor on the base learning rate for a step.

    It rises linearly over the warm-up; then it stays at 1 (`constant`) or falls along half a cosine to `final_factor`.

    Args:
        step: From 0.
        total_steps: Steps of the whole training.
        warmup_steps: Steps of the rise.
        schedule: Shape after the rise.
        final_factor: Where the cosine ends, in [0, 1].
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * progress))
