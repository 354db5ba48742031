"""The detection loss L_D: box, objectness and class over the assigned grid points.

Legend: B batch, A grid points, C classes.

How tightly targets are boxed is a convention, and domains differ in it: the same 3 px target has a box of 7 px in one
and of 20 px in another. `box_trust` says how far the boxes of a frame are to be learned from.

References:
    The paper, equation 1 (L_D); Ge et al. 2021, YOLOX, arXiv:2107.08430.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from loddis_trainer.assignment import PaddedTruth, assign
from loddis_trainer.choices import BoxLoss
from loddis_trainer.losses.boxes import BOX_LOSSES
from loddis_trainer.losses.numerics import full_precision
from loddis_trainer.models.head import RawPredictions, decode_boxes, grid_points

__all__ = ["DetectionLoss", "detection_loss"]

BOX_WEIGHT = 5.0


class DetectionLoss(NamedTuple):
    """The parts of L_D, scalars.

    Attributes:
        total: 5 · box + objectness + classes.
        box: Mean over assigned points of box loss times trust; in [0, 2] for `giou`, [0, 1] for `nwd`.
        objectness: Binary cross entropy over all points, per assigned point.
        classes: Binary cross entropy against the class, asked for by overlap, per assigned point.
        assigned: Number of assigned points.
    """

    total: Tensor
    box: Tensor
    objectness: Tensor
    classes: Tensor
    assigned: Tensor


def detection_loss(
    raw: RawPredictions,
    truth: PaddedTruth,
    *,
    stride: int,
    box_trust: Tensor | None = None,
    box_loss: BoxLoss = "giou",
    groups: Tensor | None = None,
    auxiliary: Tensor | None = None,
) -> DetectionLoss:
    """Assign grid points to targets (SimOTA) and measure how far the predictions are from them.

    Frames without targets count too: all their points should say "nothing here". Sums are divided by the number of
    assigned points in the batch, at least 1. Where `groups` tell frames apart, those of each group are divided by its
    own number, and groups weigh as they have frames: one of thirty targets a frame does not drown one of a single. But
    a target of an auxiliary group weighs no more than one of the others does on average: neither does a domain of
    single targets drown a crowded task.

    Args:
        raw: The head's output for B frames.
        truth: Their ground truth, network pixels.
        stride: Input pixels per grid point.
        box_trust: ``(B,)`` in [0, 1]: weight of a frame's boxes, here and in the assignment; at 0 it teaches where
            targets are and what, not how large. All are trusted if none.
        box_loss: How far a box is from its target, see `loddis_trainer.losses.boxes`.
        groups: ``(B,)`` int64 in [0, G); all frames are one group if none.
        auxiliary: ``(G,)`` bool, by group; given with `groups`.
    """
    with full_precision(raw.objectness):
        boxes = decode_boxes(raw, stride=stride)  # (B, A, 4)
        objectness, classes = raw.objectness.float(), raw.classes.float()
        grid = grid_points(raw.size_hw, device=boxes.device)
        found = assign(boxes, objectness, classes, grid, truth, stride=stride, box_trust=box_trust)
        weight = _frame_weights(found.foreground.sum(dim=1), groups, auxiliary)  # (B,)

        index = found.target_index
        target_boxes = torch.gather(truth.boxes_xyxy, 1, index[..., None].expand(-1, -1, 4))  # (B, A, 4)
        target_labels = torch.gather(truth.class_ids, 1, index)  # (B, A)
        trust = torch.ones(len(boxes), device=boxes.device) if box_trust is None else box_trust.to(boxes.dtype)
        trust = torch.where(found.foreground, trust[:, None], 0.0)  # (B, A)
        # The class is asked for as strongly as the box overlaps: the score then ranks boxes by how good they are.
        target_classes = F.one_hot(target_labels, classes.shape[-1]) * found.overlap[..., None]  # (B, A, C)

        box = (trust * BOX_LOSSES[box_loss](boxes, target_boxes)).sum(dim=1) @ weight
        per_point = F.binary_cross_entropy_with_logits(objectness, found.foreground.float(), reduction="none")
        seen = per_point.sum(dim=1) @ weight
        per_class = F.binary_cross_entropy_with_logits(classes, target_classes, reduction="none")
        named = torch.where(found.foreground[..., None], per_class, 0.0).sum(dim=(1, 2)) @ weight
        return DetectionLoss(BOX_WEIGHT * box + seen + named, box, seen, named, found.foreground.sum())


def _frame_weights(assigned: Tensor, groups: Tensor | None, auxiliary: Tensor | None) -> Tensor:
    """Give what the sum of a frame is multiplied by, ``(B,)`` float32, from its assigned points ``(B,)``.

    Weights of all assigned points sum to 1. A group counts at least one point a frame: one that happens to have no
    target would else be divided by nothing, and its background outweigh all the rest.
    """
    if groups is None or auxiliary is None:
        return (1 / assigned.sum().clamp(min=1)).expand(len(assigned))
    members = F.one_hot(groups, len(auxiliary)).float()  # (B, G)
    frames, points = members.sum(dim=0), assigned.float() @ members  # (G,)
    weights = frames / torch.maximum(points, frames).clamp(min=1)
    others = ~auxiliary
    most = frames[others].sum() / torch.maximum(points[others].sum(), frames[others].sum()).clamp(min=1)
    weights = torch.where(auxiliary & (most > 0), weights.clamp(max=most), weights)
    total = weights @ points
    return (weights / torch.where(total > 0, total, frames.sum()))[groups]
