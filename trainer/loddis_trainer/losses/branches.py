"""The training-only branches of the method on the fused map: projections and the three losses.

Legend: n samples, t channels of the fused map, u v its height and width, c channels of features, M boxes of a sample.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from loddis_trainer.choices import Contrast
from loddis_trainer.losses.confusion import DomainConfusion
from loddis_trainer.losses.consistency import info_nce, swap_indices
from loddis_trainer.losses.correlation import MIN_SAMPLES, Kernel, correlation_weakening_loss
from loddis_trainer.losses.projections import Pooling, ProjectedFeatures, TargetBackgroundProjections

__all__ = ["ALL_LOSSES", "BranchLoss", "BranchLosses", "LoddisBranches"]

BranchLoss = Literal["correlation", "confusion", "consistency"]
ALL_LOSSES: frozenset[BranchLoss] = frozenset(get_args(BranchLoss))

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BranchLosses:
    """The three losses of a batch, unweighted scalars; ``None`` where a loss is off or the batch could not give it.

    Attributes:
        correlation: L_CW.
        confusion: L_MI.
        consistency: L_CL.
        domain_accuracy: Share of samples whose domain the classifier named, in [0, 1].
        skipped: Why losses that are on are missing, one sentence each.
    """

    correlation: Tensor | None
    confusion: Tensor | None
    consistency: Tensor | None
    domain_accuracy: Tensor | None
    skipped: tuple[str, ...] = ()


class LoddisBranches(nn.Module):
    """Look at the fused map during training, so that its target features learn to overlook their domain.

    Only what the enabled losses need is built and computed. A batch that cannot give a loss (one domain, too few
    samples, no targets) leaves it out, says why in `BranchLosses.skipped`, and logs each reason once.

    Args:
        in_channels: Channels t of the fused map.
        num_domains: Domains m of the mixture, at least 2.
        embed_channels: Channels c of z and b.
        pooling: What z and b are pooled over, see `TargetBackgroundProjections`.
        kernel: Of the dependence measure, see `hsic`.
        temperature: τ of the contrastive loss, above 0.
        contrast: Whose loss counts in target consistency: that of ``all`` samples (equation 14), or of those whose
            background was ``swapped``: one that keeps its own has nothing to be consistent with, and is only asked to
            be told from other targets. See `info_nce` for what the loss is divided by. With ``swapped``, a batch of one
            domain, which has nothing to overlook, gives no loss at all, and nothing is said of it.
        reversal_strength: λ of the gradient reversal, at least 0; may be set anew before every step.
        enabled: The losses to compute, at least one.

    Raises:
        ValueError: An option outside its range.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        num_domains: int,
        embed_channels: int = 64,
        pooling: Pooling = "gap",
        kernel: Kernel = "linear",
        temperature: float = 0.2,
        contrast: Contrast = "all",
        reversal_strength: float = 1.0,
        enabled: frozenset[BranchLoss] = ALL_LOSSES,
    ) -> None:
        super().__init__()
        if not enabled or not enabled <= ALL_LOSSES:
            raise ValueError(f"enabled must be some of {sorted(ALL_LOSSES)}, got {sorted(enabled)}")
        if num_domains < 2:
            raise ValueError(f"num_domains must be at least 2, got {num_domains}")
        if kernel not in get_args(Kernel):
            raise ValueError(f"kernel must be one of {', '.join(get_args(Kernel))}, got {kernel!r}")
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        if contrast not in get_args(Contrast):
            raise ValueError(f"contrast must be one of {', '.join(get_args(Contrast))}, got {contrast!r}")
        self.num_domains = num_domains
        self.kernel: Kernel = kernel
        self.temperature = temperature
        self.contrast: Contrast = contrast
        self.reversal_strength = reversal_strength
        self.enabled = enabled
        self.projections = TargetBackgroundProjections(
            in_channels, embed_channels, pooling=pooling, with_background=bool(enabled - {"confusion"})
        )
        self.domain_confusion = (
            DomainConfusion(embed_channels, num_domains=num_domains) if "confusion" in enabled else None
        )
        self._logged: set[str] = set()

    @property
    def reversal_strength(self) -> float:
        """λ of the gradient reversal."""
        return self._reversal_strength

    @reversal_strength.setter
    def reversal_strength(self, value: float) -> None:
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"reversal_strength must be finite and at least 0, got {value}")
        self._reversal_strength = float(value)

    def forward(self, fused_map: Tensor, domain_ids: Tensor, boxes_xyxy: list[Tensor], *, stride: int) -> BranchLosses:
        """Compute the enabled losses of a batch.

        Args:
            fused_map: Z ``(n, t, u, v)``.
            domain_ids: ``(n,)`` integers in [0, m).
            boxes_xyxy: Ground truth of each sample, ``(M, 4)`` network pixels; M may be 0.
            stride: Network pixels per cell of the fused map.

        Raises:
            ValueError: The shapes do not fit, or a domain that does not exist.
        """
        domains = self._check_domains(domain_ids, len(fused_map))
        if self.contrast == "swapped" and len(set(domains.tolist())) < 2:
            return BranchLosses(None, None, None, None)
        features = self.projections(fused_map, boxes_xyxy, stride=stride)
        skipped: list[str] = []
        correlation = None
        if "correlation" in self.enabled and features.b is not None:
            correlation = self._correlation(features, features.b, skipped)
        confusion = accuracy = None
        if self.domain_confusion is not None:
            confusion, accuracy = self._confusion(self.domain_confusion, features, domains, skipped)
        consistency = self._consistency(features, domains, skipped) if "consistency" in self.enabled else None
        for reason in skipped:
            if reason not in self._logged:
                self._logged.add(reason)
                log.warning("%s; the batch goes on without it (said once)", reason)
        return BranchLosses(correlation, confusion, consistency, accuracy, tuple(skipped))

    def _correlation(self, features: ProjectedFeatures, b: Tensor, skipped: list[str]) -> Tensor | None:
        usable = features.has_target & features.has_background
        if int(usable.sum()) < MIN_SAMPLES:
            skipped.append(f"correlation weakening needs {MIN_SAMPLES} samples with a target feature")
            return None
        return correlation_weakening_loss(_rows(features.z, usable), _rows(b, usable), kernel=self.kernel)

    def _confusion(
        self, classify: DomainConfusion, features: ProjectedFeatures, domains: Tensor, skipped: list[str]
    ) -> tuple[Tensor | None, Tensor | None]:
        present = domains[features.has_target]
        if len(set(present.tolist())) < 2:
            skipped.append("domain confusing needs target features of two domains")
            return None, None
        z = _rows(features.z, features.has_target)
        loss, accuracy = classify(z, present.to(z.device, non_blocking=True), strength=self.reversal_strength)
        return loss, accuracy

    def _consistency(self, features: ProjectedFeatures, domains: Tensor, skipped: list[str]) -> Tensor | None:
        partner = swap_indices(domains)
        usable = features.has_target
        swapped = partner != torch.arange(len(partner))
        if int(usable.sum()) < 2 or not bool((usable & swapped).any()):
            skipped.append("target consistency needs two target features and a background of another domain")
            return None
        z_hat = self.projections.recombine(features, partner)
        counted = swapped[usable].to(z_hat.device, non_blocking=True) if self.contrast == "swapped" else None
        return info_nce(_rows(features.z, usable), _rows(z_hat, usable), temperature=self.temperature, counted=counted)

    def _check_domains(self, domain_ids: Tensor, n: int) -> Tensor:
        """Give the domains on the host: what is skipped and who swaps with whom is decided there, in one transfer."""
        if domain_ids.shape != (n,) or domain_ids.is_floating_point():
            raise ValueError(f"domain_ids must be ({n},) integers, got {tuple(domain_ids.shape)} {domain_ids.dtype}")
        domains = domain_ids.detach().cpu().long()
        if n and (int(domains.min()) < 0 or int(domains.max()) >= self.num_domains):
            raise ValueError(f"domain_ids must lie in [0, {self.num_domains}), got {sorted(set(domains.tolist()))}")
        return domains


def _rows(x: Tensor, keep: Tensor) -> Tensor:
    """Give the rows of ``x`` that the host's mask ``keep`` names, without waiting for the device."""
    return x if bool(keep.all()) else x[keep.nonzero()[:, 0].to(x.device, non_blocking=True)]
