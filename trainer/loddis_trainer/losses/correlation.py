"""Correlation weakening: the statistical dependence between target and background features.

Legend: n samples, c channels; K kernel matrix (n, n), H = I − 1/n the centring matrix.

References:
    The paper, equations 2–5.
    Gretton et al. 2005, Measuring Statistical Dependence with Hilbert–Schmidt Norms, ALT.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from loddis_trainer.losses.numerics import at_least_float32, full_precision, standardise

__all__ = ["MIN_SAMPLES", "Kernel", "correlation_weakening_loss", "hsic"]

Kernel = Literal["linear", "rbf"]

# Of two samples every standardised feature is ±1/√2: each correlation is ±1 whatever the features are.
MIN_SAMPLES = 3


def correlation_weakening_loss(z: Tensor, b: Tensor, *, kernel: Kernel = "linear") -> Tensor:
    """Measure L_CW: the dependence between z and b, whatever their scale.

    Every feature is standardised over the batch and the vectors are divided by √c, then `hsic` is taken. The
    covariance of equation 3 could be made small by shrinking the features; this cannot, and neither can dependence hide
    in features of small variance. With the linear kernel the loss is the mean of the c² squared correlation
    coefficients between a feature of z and one of b: 0 where all are uncorrelated, 1 where all are proportional.
    Samples that are independent still give 1 / (n − 1) on average, so compare values of equal batch size only.

    Args:
        z: Target features ``(n, c)``, n at least 3.
        b: Background features ``(n, c')``.
        kernel: See `hsic`.

    Returns:
        Scalar, float32 (float64 where the inputs are), at least 0; at most 1 with the linear kernel.

    Raises:
        ValueError: The shapes do not fit, fewer than three samples, or an unknown kernel.
    """
    _check(z, b, min_samples=MIN_SAMPLES)
    with full_precision(z):
        z, b = standardise(z) / z.shape[1] ** 0.5, standardise(b) / b.shape[1] ** 0.5
        return hsic(z, b, kernel=kernel)


def hsic(z: Tensor, b: Tensor, *, kernel: Kernel = "linear") -> Tensor:
    """Estimate the Hilbert–Schmidt independence criterion tr(K_z H K_b H) / (n − 1)².

    With the linear kernel it is the squared Frobenius norm of the sample covariance C_zb (equations 2 and 3), which is
    also the double sum of equation 4 over all pairs of samples; equation 5 names its factor. The RBF kernel
    exp(−d² / median d²) sees any dependence, not only the linear one; its bandwidth, the median squared distance of
    the batch, carries no gradient.

    It is symmetric in z and b, and does not change under rotation, reflection or translation of either. Scaling by a
    changes the linear form by a², the RBF form not at all.

    Args:
        z: ``(n, c)``, n at least 2.
        b: ``(n, c')``, sample by sample with z.
        kernel: ``linear`` (the paper) or ``rbf``.

    Returns:
        Scalar, float32 (float64 where the inputs are), at least 0 up to rounding.

    Raises:
        ValueError: The shapes do not fit, fewer than two samples, or an unknown kernel.
    """
    _check(z, b, min_samples=2)
    if kernel not in get_args(Kernel):
        raise ValueError(f"kernel must be one of {', '.join(get_args(Kernel))}, got {kernel!r}")
    with full_precision(z):
        matrix_z, matrix_b = _kernel_matrix(z, kernel), _kernel_matrix(b, kernel)
        centred = (
            matrix_z - matrix_z.mean(0, keepdim=True) - matrix_z.mean(1, keepdim=True) + matrix_z.mean()
        )  # H K_z H
        return (centred * matrix_b).sum() / (len(z) - 1) ** 2


def _kernel_matrix(x: Tensor, kernel: Kernel) -> Tensor:
    x = at_least_float32(x)
    x = x - x.mean(0, keepdim=True)  # changes no centred kernel matrix, and keeps a large mean from eating the digits
    gram = x @ x.T
    if kernel == "linear":
        return gram
    norms = gram.diagonal()
    squared_distances = (norms[:, None] + norms[None, :] - 2 * gram).clamp(min=0)
    return torch.exp(-squared_distances / _median_bandwidth(squared_distances.detach()))


def _median_bandwidth(squared_distances: Tensor) -> Tensor:
    """Give the median over all pairs; where more than half of them coincide, the mean; where all do, 1."""
    n = len(squared_distances)
    rows, columns = torch.triu_indices(n, n, offset=1, device=squared_distances.device)
    pairs = squared_distances[rows, columns]
    median, mean = pairs.median(), pairs.mean()
    bandwidth = torch.where(median > 0, median, mean)
    return torch.where(bandwidth > 0, bandwidth, torch.ones_like(bandwidth))


def _check(z: Tensor, b: Tensor, *, min_samples: int) -> None:
    if z.ndim != 2 or b.ndim != 2 or len(z) != len(b):
        raise ValueError(f"z must be (n, c) and b (n, c'), got {tuple(z.shape)} and {tuple(b.shape)}")
    if len(z) < min_samples:
        raise ValueError(f"dependence needs at least {min_samples} samples, got {len(z)}")
