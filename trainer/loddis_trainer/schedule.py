"""What changes over the steps of a training: the learning rate, and how strongly gradients are reversed.

References:
    Ganin et al. 2016, Domain-Adversarial Training of Neural Networks, JMLR 17(59):1–35 (the ramp).
"""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["ReversalScheduleName", "ScheduleName", "learning_rate_factor", "reversal_factor"]

ScheduleName = Literal["constant", "cosine"]
ReversalScheduleName = Literal["constant", "ramp"]

RAMP_STEEPNESS = 10.0  # Ganin et al., section 5.2


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


def reversal_factor(step: int, *, total_steps: int, schedule: ReversalScheduleName) -> float:
    """Give the factor on λ of the gradient reversal for a step, in [0, 1].

    It is 1 throughout (`constant`, as in the paper), or rises from 0 as 2 / (1 + exp(−10 p)) − 1 of the progress p
    (`ramp`): a classifier that knows nothing yet has nothing to teach.

    Args:
        step: From 0.
        total_steps: Steps of the whole training.
        schedule: Shape.
    """
    if schedule == "constant":
        return 1.0
    progress = min(1.0, step / max(1, total_steps))
    return 2 / (1 + math.exp(-RAMP_STEEPNESS * progress)) - 1
