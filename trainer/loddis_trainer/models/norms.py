"""Batch normalisation that keeps the statistics of domains apart while training.

In a mixed batch every domain is normalised by statistics that are none's own, and so is the task domain when the
weights are used. Here each group of a batch is normalised by its own; only those of the first, the task domains, are
remembered. The trained detector shows nothing of it: it has the parameters and running statistics of any other.

Legend: B batch, C channels, H W pixels of the map at hand.

References:
    Xie et al. 2020, Adversarial Examples Improve Image Recognition, arXiv:1911.09665 (for another purpose, and with
    parameters of its own for the second group).
    Chang et al. 2019, Domain-Specific Batch Normalization, arXiv:1906.03950.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["GroupedBatchNorm", "statistics_apart"]


class GroupedBatchNorm(nn.BatchNorm2d):
    """Normalise ``(B, C, H, W)``; within `statistics_apart`, each group of the batch by itself.

    The first group is treated as any batch: in evaluation mode by the running statistics. The others never are.
    """

    group_sizes: tuple[int, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x``."""
        if not self.group_sizes:
            return super().forward(x)
        first, *others = torch.split(x, list(self.group_sizes))
        groups = [super().forward(first)] if len(first) else []
        groups += [self._alone(group) for group in others if len(group)]
        return torch.cat(groups)

    def _alone(self, x: Tensor) -> Tensor:
        """Normalise a group that leaves no trace in the running statistics."""
        if x.numel() <= x.shape[1]:
            raise ValueError("a single sample on a map of 1 x 1 cannot be normalised by itself: take a larger size_hw")
        return functional.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


@contextmanager
def statistics_apart(module: nn.Module, sizes: Sequence[int]) -> Iterator[None]:
    """Let all normalisations of a module take batches as groups, in their order.

    Args:
        module: With normalisations of this kind, as detectors have them.
        sizes: Samples of each group, which sum to the batch; the running statistics follow the first. None at all
            leaves the batch together.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, GroupedBatchNorm)]
    for norm in norms:
        norm.group_sizes = tuple(sizes)
    try:
        yield
    finally:
        for norm in norms:
            norm.group_sizes = ()
