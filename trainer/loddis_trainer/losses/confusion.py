"""Domain confusing: a classifier that tells domains apart, and features that learn to give it nothing.

Legend: n samples, c channels, m domains.

Equation 11 bounds the mutual information of z and d by the classifier's cross entropy plus log m. The bound is true
but loose (mutual information never exceeds log m); what trains is equation 12, L_MI = E[−log q_φ(d|z)], through the
reversal of its gradient: q_φ minimises it, the features maximise it, until domains look alike.

The classifier sees z standardised over the batch, as L_CW does. Cross entropy has no upper bound: of raw features the
extractor can raise it without end by making them larger where the classifier errs, until it drowns the other losses.
Of standardised features size is no way out, and the extractor has to give up what tells domains apart.

References:
    The paper, equations 6–12.
    Ganin et al. 2016, Domain-Adversarial Training of Neural Networks, JMLR 17(59):1–35.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from loddis_trainer.losses.numerics import at_least_float32, full_precision, standardise
from loddis_trainer.losses.reversal import reverse_gradient

__all__ = ["ConfusionLoss", "DomainConfusion", "mutual_information_loss"]


class ConfusionLoss(NamedTuple):
    """What the domain classifier made of a batch.

    Attributes:
        loss: L_MI, a scalar.
        accuracy: Share of samples whose domain it named, in [0, 1], no gradient; confused features leave it at the
            share of the largest domain.
    """

    loss: Tensor
    accuracy: Tensor


def mutual_information_loss(logits: Tensor, domain_ids: Tensor) -> Tensor:
    """Measure L_MI, the mean of −log q_φ(d|z) (equation 12).

    Args:
        logits: Of q_φ, ``(n, m)`` with m at least 2, n at least 1.
        domain_ids: Of the samples, ``(n,)`` int64 in [0, m).

    Returns:
        Scalar in nats; log m where the classifier knows nothing.

    Raises:
        ValueError: The shapes do not fit, or a single domain.
    """
    if logits.ndim != 2 or domain_ids.shape != logits.shape[:1] or len(logits) == 0:
        raise ValueError(
            f"logits must be (n, m) and domain_ids (n,), got {tuple(logits.shape)} and {tuple(domain_ids.shape)}"
        )
    if logits.shape[1] < 2:
        raise ValueError(f"domains can only be confused where there are at least 2, got {logits.shape[1]}")
    with full_precision(logits):
        return cross_entropy(at_least_float32(logits), domain_ids)


class DomainConfusion(nn.Module):
    """The domain classifier q_φ(d|z) behind a gradient reversal.

    Args:
        channels: Channels c of z.
        num_domains: Domains m, at least 2.
        hidden_channels: Of the one hidden layer; ``None``: as many as z has.

    Raises:
        ValueError: Fewer than two domains.
    """

    def __init__(self, channels: int, *, num_domains: int, hidden_channels: int | None = None) -> None:
        super().__init__()
        if num_domains < 2:
            raise ValueError(f"num_domains must be at least 2, got {num_domains}")
        hidden = channels if hidden_channels is None else hidden_channels
        self.channels = channels
        self.classifier = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, num_domains))

    def forward(self, z: Tensor, domain_ids: Tensor, *, strength: float) -> ConfusionLoss:
        """Classify ``z`` ``(n, c)`` against ``domain_ids`` ``(n,)``, n at least 2; ``strength`` is λ of the reversal.

        Raises:
            ValueError: The shapes do not fit, or a single sample, of which standardising leaves nothing.
        """
        if z.ndim != 2 or z.shape[1] != self.channels or len(z) < 2:
            raise ValueError(f"z must be (n, {self.channels}) with n at least 2, got {tuple(z.shape)}")
        with full_precision(z):
            logits: Tensor = self.classifier(reverse_gradient(standardise(z), strength=strength))
            loss = mutual_information_loss(logits, domain_ids)
            accuracy = (logits.detach().argmax(dim=1) == domain_ids).to(loss.dtype).mean()
        return ConfusionLoss(loss, accuracy)
