"""Gradient reversal: the identity forward, −λ times the gradient backward.

It turns the min-max game of equation 6 into one backward pass: below the reversal the domain classifier φ minimises
L_MI, above it the feature extractor θ is pushed the other way (equations 7 and 8).

References:
    Ganin et al. 2016, Domain-Adversarial Training of Neural Networks, JMLR 17(59):1–35.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.autograd import Function

__all__ = ["reverse_gradient"]


class _ReverseGradient(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)  # a view: returning x itself would make autograd see no function at all

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (grad,) = grad_outputs
        return grad * -ctx.strength, None


def reverse_gradient(x: Tensor, *, strength: float = 1.0) -> Tensor:
    """Give ``x`` unchanged, and −``strength`` times its gradient on the way back.

    Args:
        x: Any shape and floating dtype.
        strength: λ of equation 6, at least 0; 0 lets no gradient through.

    Returns:
        The values of ``x``.

    Raises:
        ValueError: ``strength`` is negative or not finite.
    """
    if not (math.isfinite(strength) and strength >= 0):
        raise ValueError(f"strength must be finite and at least 0, got {strength}")
    out: Tensor = _ReverseGradient.apply(x, strength)  # type: ignore[no-untyped-call]
    return out
