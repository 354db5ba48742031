"""Exponential moving average of a model's weights: what is validated, saved and exported.

References:
    Polyak and Juditsky 1992; TensorFlow, `tf.train.ExponentialMovingAverage`, `num_updates` (the ramp of the decay).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """Keep a copy of a model that follows it slowly.

    After s steps the decay is (1 + s) / (10 + s), until it reaches `decay`: the average reaches back over about a tenth
    of the steps that there were, so that the random first weights are forgotten and short trainings have an average,
    too. Running statistics of normalisation layers are averaged as the weights are.

    Args:
        model: What to follow. Its copy is `average`, in evaluation mode, without gradients.
        decay: Share of the old average kept in a step, in [0, 1).

    Raises:
        ValueError: `decay` outside [0, 1).
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.average = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards `model` by one step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        mine, theirs = self.average.state_dict(), model.state_dict()
        floating = [name for name, value in mine.items() if value.dtype.is_floating_point]
        averages: list[Tensor] = [mine[name] for name in floating]
        torch._foreach_lerp_(averages, [theirs[name] for name in floating], 1 - decay)
        for name in mine.keys() - set(floating):
            mine[name].copy_(theirs[name])
