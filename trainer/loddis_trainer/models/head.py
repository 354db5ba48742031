"""Decoupled anchor-free head, and the decoding of its output to boxes.

Legend: B batch, A grid points of the stride-8 map (row by row), C classes, K detections kept.

References:
    Ge et al. 2021, YOLOX, arXiv:2107.08430.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from loddis_trainer.models.blocks import ConvBnAct

__all__ = ["DecoupledHead", "RawPredictions", "decode_boxes", "grid_points", "keep_best"]

MAX_LOG_SIZE = 6.0  # exp(6) = 403 strides: beyond any frame, and still finite in half precision at stride 8
PRIOR_PROBABILITY = 0.01  # how rare targets are among grid points; starts the scores there


@dataclass(frozen=True, slots=True)
class RawPredictions:
    """What the head says at every grid point, before any activation.

    Attributes:
        offsets: ``(B, A, 4)``: centre x, y from the grid point, in strides; log of width, height in strides.
        objectness: ``(B, A)`` logits.
        classes: ``(B, A, C)`` logits.
        size_hw: Height and width of the grid.
    """

    offsets: Tensor
    objectness: Tensor
    classes: Tensor
    size_hw: tuple[int, int]


class DecoupledHead(nn.Module):
    """Separate branches for what a target is and where it is, over one map ``(B, in, H/8, W/8)``.

    Args:
        in_channels: Channels of the fused map.
        channels: Width of both branches.
        num_classes: C.
    """

    def __init__(self, in_channels: int, *, channels: int, num_classes: int) -> None:
        super().__init__()
        self.stem = ConvBnAct(in_channels, channels)
        self.class_branch = nn.Sequential(
            ConvBnAct(channels, channels, kernel=3), ConvBnAct(channels, channels, kernel=3)
        )
        self.box_branch = nn.Sequential(
            ConvBnAct(channels, channels, kernel=3), ConvBnAct(channels, channels, kernel=3)
        )
        self.class_logits = nn.Conv2d(channels, num_classes, 1)
        self.box_offsets = nn.Conv2d(channels, 4, 1)
        self.objectness_logit = nn.Conv2d(channels, 1, 1)
        prior_logit = -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY)
        for bias in (self.class_logits.bias, self.objectness_logit.bias):
            if bias is not None:
                nn.init.constant_(bias, prior_logit)

    def forward(self, fused: Tensor) -> RawPredictions:
        """Predict at every grid point of the fused map."""
        x = self.stem(fused)
        of_class, of_box = self.class_branch(x), self.box_branch(x)
        return RawPredictions(
            offsets=self.box_offsets(of_box).flatten(2).transpose(1, 2),  # (B, A, 4)
            objectness=self.objectness_logit(of_box).flatten(1),  # (B, A)
            classes=self.class_logits(of_class).flatten(2).transpose(1, 2),  # (B, A, C)
            size_hw=(fused.shape[2], fused.shape[3]),
        )


def grid_points(size_hw: tuple[int, int], *, device: torch.device | str = "cpu") -> Tensor:
    """Give the grid's cell corners as ``(A, 2)`` x, y in strides, row by row."""
    rows = torch.arange(size_hw[0], device=device, dtype=torch.float32)
    columns = torch.arange(size_hw[1], device=device, dtype=torch.float32)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), dim=-1).reshape(-1, 2)


def decode_boxes(raw: RawPredictions, *, stride: int) -> Tensor:
    """Turn offsets to boxes ``(B, A, 4)`` x1, y1, x2, y2 in network pixels."""
    grid = grid_points(raw.size_hw, device=raw.offsets.device)
    centres = (raw.offsets[..., :2].float() + grid) * stride
    halves = raw.offsets[..., 2:].float().clamp(max=MAX_LOG_SIZE).exp() * (stride / 2)
    return torch.cat((centres - halves, centres + halves), dim=-1)


def keep_best(raw: RawPredictions, *, stride: int, keep: int) -> Tensor:
    """Decode and keep the K best grid points of each frame, no suppression.

    Args:
        raw: The head's output.
        stride: Input pixels per grid point.
        keep: K; all A where the grid has fewer.

    Returns:
        ``(B, K, 6)`` float32: x1, y1, x2, y2 in network pixels, score, class; by falling score.
    """
    probability, label = raw.classes.float().sigmoid().max(dim=-1)  # (B, A)
    scores = raw.objectness.float().sigmoid() * probability
    best, index = torch.topk(scores, min(keep, scores.shape[1]), dim=1)  # (B, K)
    boxes = torch.gather(decode_boxes(raw, stride=stride), 1, index.unsqueeze(-1).expand(-1, -1, 4))
    labels = torch.gather(label, 1, index).to(boxes.dtype)
    return torch.cat((boxes, best.unsqueeze(-1), labels.unsqueeze(-1)), dim=-1)
