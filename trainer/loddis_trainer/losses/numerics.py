"""Arithmetic that the losses share: full precision under autocast, and normalisation with finite gradients."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["at_least_float32", "full_precision", "standardise", "unit_vectors"]


def full_precision(like: Tensor) -> torch.autocast:
    """Give a context in which autocast lets the arithmetic on ``like``'s device alone."""
    return torch.autocast(device_type=like.device.type, enabled=False)


def at_least_float32(x: Tensor) -> Tensor:
    """Widen half precision to float32; float64 stays (gradient checks need it)."""
    return x if x.dtype == torch.float64 else x.float()


def standardise(x: Tensor, *, floor: float = 1e-5) -> Tensor:
    """Bring every column of ``x`` ``(n, c)`` to mean 0 and sample variance 1.

    A constant column becomes 0 with a finite gradient: every variance is lifted by ``floor`` times the mean variance of
    all columns. A floor relative to the batch, not an absolute one, so that features cannot duck under it together.
    """
    centred = at_least_float32(x)
    centred = centred - centred.mean(0, keepdim=True)
    variance = centred.square().sum(0, keepdim=True) / max(len(x) - 1, 1)
    return centred * (variance + floor * variance.mean() + 1e-20).rsqrt()


def unit_vectors(x: Tensor, *, eps: float = 1e-10) -> Tensor:
    """Divide the rows of ``x`` ``(n, c)`` by their length.

    The square of the length is lifted by ``eps`` before the root: a zero row stays zero, with a finite gradient.
    """
    return x * (x.square().sum(dim=-1, keepdim=True) + eps).rsqrt()
