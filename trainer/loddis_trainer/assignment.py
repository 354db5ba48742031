"""SimOTA: which grid points answer for which target.

Legend: B batch, M most ground truths of a frame in the batch (padded), A grid points, C classes.

The whole batch is assigned in one pass over padded tensors, with no loop over frames and no read-back from the device.

References:
    Ge et al. 2021, OTA: Optimal Transport Assignment, arXiv:2103.14259.
    Ge et al. 2021, YOLOX, arXiv:2107.08430, section 2 (SimOTA).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Assignment", "PaddedTruth", "assign", "elementwise_iou", "pad_truth"]

CENTRE_RADIUS = 1.5  # in grid cells: how far from a target's centre a grid point may stand
OVERLAP_COST_WEIGHT = 3.0
MOST_POINTS_PER_TARGET = 10
OUT_OF_REACH = 1e8


@dataclass(frozen=True, slots=True)
class PaddedTruth:
    """Ground truth of a batch, padded to the frame that has most.

    Attributes:
        boxes_xyxy: ``(B, M, 4)`` network pixels; unit boxes where padded.
        class_ids: ``(B, M)`` int64.
        valid: ``(B, M)`` bool, false where padded.
    """

    boxes_xyxy: Tensor
    class_ids: Tensor
    valid: Tensor


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which target each grid point answers for.

    Attributes:
        foreground: ``(B, A)`` bool.
        target_index: ``(B, A)`` int64 into M; 0 where not foreground.
        overlap: ``(B, A)`` of the predicted box with its target, in [0, 1]; 0 where not foreground.
    """

    foreground: Tensor
    target_index: Tensor
    overlap: Tensor


def pad_truth(boxes_xyxy: list[Tensor], class_ids: list[Tensor], *, device: torch.device | str) -> PaddedTruth:
    """Stack the ground truth of B frames, ``(M_i, 4)`` and ``(M_i,)`` each; M is at least 1."""
    most = max(1, *(len(boxes) for boxes in boxes_xyxy))
    padded = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(len(boxes_xyxy), most, 1)
    classes = torch.zeros(len(boxes_xyxy), most, dtype=torch.int64)
    valid = torch.zeros(len(boxes_xyxy), most, dtype=torch.bool)
    for i, (boxes, labels) in enumerate(zip(boxes_xyxy, class_ids, strict=True)):
        padded[i, : len(boxes)] = boxes
        classes[i, : len(boxes)] = labels
        valid[i, : len(boxes)] = True
    return PaddedTruth(
        padded.to(device, non_blocking=True),
        classes.to(device, non_blocking=True),
        valid.to(device, non_blocking=True),
    )


def elementwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes that correspond (shapes broadcast): ``(…, 4)`` twice to ``(…)``, in [0, 1]."""
    overlap = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    area_a = (a[..., 2:] - a[..., :2]).clamp(min=0).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1)
    return overlap / (area_a + area_b - overlap).clamp(min=1e-9)


@torch.no_grad()
def assign(
    boxes_xyxy: Tensor,
    objectness: Tensor,
    classes: Tensor,
    grid: Tensor,
    truth: PaddedTruth,
    *,
    stride: int,
    box_trust: Tensor | None = None,
) -> Assignment:
    """Assign grid points to targets by least cost.

    A target takes the points near its centre whose predictions cost least (classification plus 3 × −log overlap); how
    many is the sum of its ten best overlaps, at least one. A point that two targets want goes to the cheaper one.

    Overlap is the IoU. Where the size of a box is not to be trusted, it is that of a prediction of the target's size:
    a target whose box is of another convention would else find no prediction good enough but one, and all other points
    beside it be taught that there is nothing.

    Args:
        boxes_xyxy: ``(B, A, 4)`` predicted boxes, network pixels.
        objectness: ``(B, A)`` logits.
        classes: ``(B, A, C)`` logits.
        grid: ``(A, 2)`` cell corners x, y, in strides.
        truth: Ground truth, padded.
        stride: Input pixels per cell.
        box_trust: ``(B,)`` in [0, 1]: how far sizes count in the overlaps of a frame; fully if none.
    """
    targets = truth.boxes_xyxy
    overlap = elementwise_iou(targets[:, :, None], boxes_xyxy[:, None])  # (B, M, A)
    if box_trust is not None:
        trust = box_trust.to(overlap)[:, None, None]
        overlap = trust * overlap + (1 - trust) * _overlap_of_places(targets[:, :, None], boxes_xyxy[:, None])

    # Only points near a target's centre may answer for it: the box of a 3 px target holds no grid point to speak of.
    target_centres = (targets[..., :2] + targets[..., 2:]) / 2  # (B, M, 2)
    away = (((grid + 0.5) * stride)[None, None] - target_centres[:, :, None]).abs().amax(-1)  # (B, M, A)
    reachable = (away < CENTRE_RADIUS * stride) & truth.valid[:, :, None]

    joint = (classes.float().sigmoid() * objectness.float().sigmoid()[..., None]).sqrt()  # (B, A, C)
    log_no = torch.log1p(-joint.clamp(max=1 - 1e-6))
    log_yes = torch.log(joint.clamp(min=1e-9))
    # Binary cross entropy against the one-hot class of target m, without spelling out (B, M, A, C).
    wanted = truth.class_ids[:, :, None].expand(-1, -1, joint.shape[1])  # (B, M, A)
    class_cost = -(log_no.sum(-1)[:, None] + torch.gather((log_yes - log_no).transpose(1, 2), 1, wanted))  # (B, M, A)
    cost = class_cost - OVERLAP_COST_WEIGHT * torch.log(overlap + 1e-8)
    cost = torch.where(reachable, cost, cost + OUT_OF_REACH)

    most = min(MOST_POINTS_PER_TARGET, cost.shape[-1])
    overlap_sum = torch.topk(torch.where(reachable, overlap, 0.0), most, dim=-1).values.sum(-1)  # (B, M)
    wanted_points = overlap_sum.int().clamp(min=1)
    cheapest = torch.topk(cost, most, dim=-1, largest=False).indices  # (B, M, most)
    taken = torch.arange(most, device=cost.device) < wanted_points[..., None]
    matched = torch.zeros_like(reachable).scatter_(-1, cheapest, taken) & reachable

    # Where several targets hold a point, the cheapest keeps it.
    best_target = torch.where(matched, cost, torch.inf).argmin(dim=1)  # (B, A)
    foreground = matched.any(dim=1)
    target_index = torch.where(foreground, best_target, 0)
    of_target = torch.gather(overlap, 1, target_index[:, None]).squeeze(1)
    return Assignment(foreground, target_index, torch.where(foreground, of_target, 0.0))


def _overlap_of_places(targets_xyxy: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """Give the IoU that boxes would have with their targets, had they the targets' size; shapes broadcast."""
    halves = (targets_xyxy[..., 2:] - targets_xyxy[..., :2]) / 2
    centres = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2
    return elementwise_iou(targets_xyxy, torch.cat((centres - halves, centres + halves), dim=-1))
