"""Detector and training-only branches as one module, so that one forward pass gives every loss.

Legend: B batch, T frames, H W network pixels, M ground truths of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from loddis_trainer.assignment import pad_truth
from loddis_trainer.choices import BoxLoss
from loddis_trainer.losses.branches import LoddisBranches
from loddis_trainer.losses.detection import DetectionLoss, detection_loss
from loddis_trainer.models import LoddisDetector
from loddis_trainer.models.norms import statistics_apart

__all__ = ["LossWeights", "TrainingLosses", "TrainingModel"]


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of equation 1.

    Attributes:
        alpha: Of correlation weakening, L_CW.
        beta: Of domain confusing, L_MI.
        eta: Of target consistency, L_CL.
    """

    alpha: float = 1.0
    beta: float = 1.0
    eta: float = 1.0


class TrainingLosses(NamedTuple):
    """All losses of a step, scalars.

    Attributes:
        total: Equation 1.
        detection: The parts of L_D.
        correlation: L_CW, unweighted; ``None`` where the batch could not give it or it is off.
        confusion: L_MI, likewise.
        consistency: L_CL, likewise.
        domain_accuracy: Share of samples whose domain the classifier named, in [0, 1]; chance is what one hopes for.
    """

    total: Tensor
    detection: DetectionLoss
    correlation: Tensor | None
    confusion: Tensor | None
    consistency: Tensor | None
    domain_accuracy: Tensor | None

    def scalars(self) -> dict[str, float]:
        """Give every loss as a number, for logs."""
        return {name: float(value) for name, value in self.detached().items()}

    def detached(self) -> dict[str, Tensor]:
        """Give every loss that the batch gave, without gradient, still on its device."""
        parts = {
            "total": self.total,
            "box": self.detection.box,
            "objectness": self.detection.objectness,
            "classes": self.detection.classes,
            "correlation": self.correlation,
            "confusion": self.confusion,
            "consistency": self.consistency,
            "domain_accuracy": self.domain_accuracy,
        }
        return {name: value.detach() for name, value in parts.items() if value is not None}


class TrainingModel(nn.Module):
    """A detector with its training-only branches; called with frames alone it is the detector.

    Args:
        detector: What will be exported.
        branches: What only training sees; ``None`` trains plainly.
        weights: Of equation 1.
        box_loss: Of the detection loss.
        box_trust: By domain id, in [0, 1]: how far the detection loss learns from its boxes; all are trusted if none.
        norm_groups: By domain id, from 0: which domains share the statistics of normalisation; the detector is left
            with those of group 0. All domains share them if none.
        is_auxiliary: By domain id. Where it is given, the detection loss is per target of each domain, see
            `detection_loss`; per target of the batch if none.
    """

    box_trust: Tensor | None
    is_auxiliary: Tensor | None

    def __init__(
        self,
        detector: LoddisDetector,
        branches: LoddisBranches | None,
        *,
        weights: LossWeights,
        box_loss: BoxLoss = "giou",
        box_trust: Sequence[float] | None = None,
        norm_groups: Sequence[int] | None = None,
        is_auxiliary: Sequence[bool] | None = None,
    ) -> None:
        super().__init__()
        self.detector = detector
        self.branches = branches
        self.weights = weights
        self.box_loss: BoxLoss = box_loss
        self.norm_groups = None if norm_groups is None else torch.tensor(norm_groups)  # on the host, as sizes are
        marks = None if is_auxiliary is None else torch.tensor(is_auxiliary)
        self.register_buffer("is_auxiliary", marks, persistent=False)
        self.register_buffer("box_trust", None if box_trust is None else torch.tensor(box_trust), persistent=False)

    def group_sizes(self, domain_ids: Tensor) -> list[int]:
        """Count the frames of each group of statistics, for `statistics_apart`; none where all domains share them.

        Args:
            domain_ids: ``(B,)`` int64, domain by domain: task domains are the first.
        """
        return [] if self.norm_groups is None else self.norm_groups[domain_ids.cpu()].bincount().tolist()

    def remembered(self, frames: Tensor, domain_ids: Tensor) -> Tensor:
        """Give those frames of a batch that the running statistics follow, perhaps none.

        Args:
            frames: ``(B, T, H, W)``.
            domain_ids: ``(B,)`` int64.
        """
        return frames if self.norm_groups is None else frames[self.norm_groups[domain_ids.cpu()] == 0]

    def forward(
        self,
        frames: Tensor,
        boxes_xyxy: list[Tensor],
        class_ids: list[Tensor],
        domain_ids: Tensor,
    ) -> TrainingLosses:
        """Compute the losses of a batch.

        Args:
            frames: ``(B, T, H, W)`` in [0, 1].
            boxes_xyxy: Ground truth of each frame, ``(M, 4)`` network pixels.
            class_ids: Ground truth of each frame, ``(M,)`` int64.
            domain_ids: ``(B,)`` int64, best on the host: from elsewhere they are fetched, for which the device is
                waited for.
        """
        domain_ids = domain_ids.cpu()
        if self.norm_groups is not None:
            order = self.norm_groups[domain_ids].argsort(stable=True)
            frames, domain_ids = frames[order.to(frames.device, non_blocking=True)], domain_ids[order]
            boxes_xyxy, class_ids = [boxes_xyxy[i] for i in order], [class_ids[i] for i in order]
        with statistics_apart(self.detector, self.group_sizes(domain_ids)):
            fused = self.detector.fuse(frames)
            predictions = self.detector.predict(fused)
        truth = pad_truth(boxes_xyxy, class_ids, device=frames.device)
        domains_there = domain_ids.to(frames.device, non_blocking=True)
        trust = None if self.box_trust is None else self.box_trust[domains_there]
        detection = detection_loss(
            predictions,
            truth,
            stride=self.detector.stride,
            box_trust=trust,
            box_loss=self.box_loss,
            groups=None if self.is_auxiliary is None else domains_there,
            auxiliary=self.is_auxiliary,
        )
        total = detection.total
        if self.branches is None:
            return TrainingLosses(total, detection, None, None, None, None)
        extra = self.branches(fused, domain_ids, boxes_xyxy, stride=self.detector.stride)
        for weight, value in (
            (self.weights.alpha, extra.correlation),
            (self.weights.beta, extra.confusion),
            (self.weights.eta, extra.consistency),
        ):
            if value is not None:
                total = total + weight * value
        return TrainingLosses(
            total, detection, extra.correlation, extra.confusion, extra.consistency, extra.domain_accuracy
        )
