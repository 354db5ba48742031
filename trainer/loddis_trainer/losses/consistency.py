"""Target consistency: a target is the same target before another domain's background.

Legend: n samples, c channels.

References:
    The paper, equations 13 and 14.
    van den Oord et al. 2018, Representation Learning with Contrastive Predictive Coding, arXiv:1807.03748.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from loddis_trainer.losses.numerics import at_least_float32, full_precision, unit_vectors

__all__ = ["info_nce", "swap_indices"]


def swap_indices(domain_ids: Tensor) -> Tensor:
    """Say whose background each sample gets (equation 13, for any number of domains).

    Samples are laid out domain by domain, in batch order; of a domain that holds more than half of the batch only the
    first few stay, as many as there are samples of the others. What stays is rotated by the size of its largest domain,
    which carries every sample into another one. So as many samples swap as can: min(n, 2 (n − largest domain)).

    With two domains this is equation 13 to the letter: the first k samples of each, in pairs, exchange backgrounds.
    With more, backgrounds pass on in longer cycles, so that no odd sample is left out.

    Args:
        domain_ids: ``(n,)`` integers.

    Returns:
        ``(n,)`` int64 on the same device, a permutation: sample i gets the background of sample ``partner[i]``;
        ``partner[i] == i`` where it keeps its own.

    Raises:
        ValueError: Not one-dimensional or not integers.
    """
    if domain_ids.ndim != 1 or domain_ids.is_floating_point() or domain_ids.is_complex():
        raise ValueError(f"domain_ids must be (n,) integers, got {tuple(domain_ids.shape)} {domain_ids.dtype}")
    n = len(domain_ids)
    partner = torch.arange(n)
    if n == 0:
        return partner.to(domain_ids.device)
    _, domain, counts = torch.unique(domain_ids.cpu(), return_inverse=True, return_counts=True)
    largest = int(counts.argmax())
    others = n - int(counts[largest])

    members = torch.argsort(domain, stable=True)  # domain by domain, batch order within
    if int(counts[largest]) > others:
        start = int(counts[:largest].sum())
        members = torch.cat((members[: start + others], members[start + int(counts[largest]) :]))
    shift = min(int(counts[largest]), others)
    partner[members] = members.roll(-shift)
    return partner.to(domain_ids.device)


def info_nce(z: Tensor, z_hat: Tensor, *, temperature: float = 0.2, counted: Tensor | None = None) -> Tensor:
    """Measure L_CL: how badly z_i picks its own ẑ_i among all ẑ_j of the batch (equation 14).

    Similarity is the cosine. The loss of a sample is log n where all candidates look alike, and never below
    log(1 + (n − 1) exp(−2 / τ)).

    Args:
        z: Target features ``(n, c)``, n at least 1 (one sample has nothing to be told from: 0).
        z_hat: The same targets before swapped backgrounds, ``(n, c)``.
        temperature: τ, above 0.
        counted: ``(n,)`` bool, the samples i whose loss counts, all if none; all are candidates. The sum is divided by
            n whatever is counted: the fewer count, the less it weighs.

    Returns:
        Scalar, float32 (float64 where the inputs are), at least 0.

    Raises:
        ValueError: The shapes do not fit, no sample, `counted` of another type, or a temperature that is not above 0.
    """
    if z.ndim != 2 or z.shape != z_hat.shape or len(z) == 0:
        raise ValueError(f"z and z_hat must both be (n, c), got {tuple(z.shape)} and {tuple(z_hat.shape)}")
    if counted is not None and (counted.shape != z.shape[:1] or counted.dtype != torch.bool):
        raise ValueError(f"counted must be ({len(z)},) bool, got {tuple(counted.shape)} {counted.dtype}")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    with full_precision(z):
        similarity = unit_vectors(at_least_float32(z)) @ unit_vectors(at_least_float32(z_hat)).T  # (n, n)
        own = torch.arange(len(z), device=z.device)
        if counted is None:
            return cross_entropy(similarity / temperature, own)
        return cross_entropy(similarity / temperature, own, reduction="none") @ counted.to(similarity) / len(z)
