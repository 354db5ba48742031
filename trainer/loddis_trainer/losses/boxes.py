"""How far a predicted box is from its target.

GIoU (`giou`) is the loss of YOLOX's family. Where targets are 1-5 px, a shift by one pixel takes an overlap from 1 to
0.2 or to nothing; the normalised Wasserstein distance (`nwd`) of the Gaussians that fit into both boxes falls smoothly
with the shift, whatever the size.

References:
    Rezatofighi et al. 2019, Generalized Intersection over Union, arXiv:1902.09630.
    Wang et al. 2021, A Normalized Gaussian Wasserstein Distance for Tiny Object Detection, arXiv:2110.13389.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from loddis_trainer.choices import BoxLoss

__all__ = ["BOX_LOSSES", "generalised_iou_loss", "wasserstein_loss"]

WASSERSTEIN_SCALE_PX = 12.8  # the reference's constant C: mean side of tiny targets, network pixels


def generalised_iou_loss(boxes_xyxy: Tensor, targets_xyxy: Tensor) -> Tensor:
    """Give 1 − GIoU of boxes that correspond, ``(…, 4)`` twice to ``(…)`` in [0, 2].

    Unlike 1 − IoU it still has a gradient where a box misses its target altogether, common with 1–20 px targets.
    """
    size = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clamp(min=0)
    target_size = (targets_xyxy[..., 2:] - targets_xyxy[..., :2]).clamp(min=0)
    overlap = (
        (
            torch.minimum(boxes_xyxy[..., 2:], targets_xyxy[..., 2:])
            - torch.maximum(boxes_xyxy[..., :2], targets_xyxy[..., :2])
        )
        .clamp(min=0)
        .prod(-1)
    )
    hull = (
        (
            torch.maximum(boxes_xyxy[..., 2:], targets_xyxy[..., 2:])
            - torch.minimum(boxes_xyxy[..., :2], targets_xyxy[..., :2])
        )
        .prod(-1)
        .clamp(min=1e-9)
    )
    union = (size.prod(-1) + target_size.prod(-1) - overlap).clamp(min=1e-9)
    return 1 - overlap / union + (hull - union) / hull


def wasserstein_loss(boxes_xyxy: Tensor, targets_xyxy: Tensor, *, scale_px: float = WASSERSTEIN_SCALE_PX) -> Tensor:
    """Give 1 − exp(−W / C) of boxes that correspond, ``(…, 4)`` twice to ``(…)`` in [0, 1).

    W is the 2-Wasserstein distance of Gaussians with a box's centre as mean and half its sides as deviations: the
    Euclidean distance of (x, y, w / 2, h / 2).

    Args:
        boxes_xyxy: Predicted, network pixels.
        targets_xyxy: Ground truth, network pixels.
        scale_px: C, the distance at which the loss is 1 − 1/e.
    """
    centres = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:] - targets_xyxy[..., :2] - targets_xyxy[..., 2:]) / 2
    sides = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2] - targets_xyxy[..., 2:] + targets_xyxy[..., :2]) / 2
    # The root's gradient is endless at 0: a perfect box would end the training.
    distance = (centres.square().sum(-1) + sides.square().sum(-1) + 1e-6).sqrt()
    return 1 - torch.exp(-distance / scale_px)


BOX_LOSSES: dict[BoxLoss, Callable[[Tensor, Tensor], Tensor]] = {
    "giou": generalised_iou_loss,
    "nwd": wasserstein_loss,
}
