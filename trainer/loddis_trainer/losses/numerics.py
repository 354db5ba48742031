"""Arithmetic that the losses share: full precision under autocast, and norms that have a gradient everywhere."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["at_least_float32", "full_precision", "unit_vectors"]


def full_precision(like: Tensor) -> torch.autocast:
    """Give a context in which autocast lets the arithmetic on ``like``'s device alone."""
    return torch.autocast(device_type=like.device.type, enabled=False)


def at_least_float32(x: Tensor) -> Tensor:
    """Widen half precision to float32; float64 stays (gradient checks need it)."""
    return x if x.dtype == torch.float64 else x.float()


def unit_vectors(x: Tensor, *, eps: float = 1e-10) -> Tensor:
    """Divide the rows of ``x`` ``(n, c)`` by their length.

    The square of the length is lifted by ``eps`` before the root: a zero row stays zero, with a finite gradient.
    """
    return x * (x.square().sum(dim=-1, keepdim=True) + eps).rsqrt()
