"""From the fused map to target and background features, and to targets before swapped backgrounds.

Legend: n samples, t channels of the fused map, u v its height and width, c channels of features, M boxes of a sample.

The paper projects Z to z and b "into a semantic subspace", pools them, and swaps b between samples; how a target and a
swapped background become ẑ it does not say. Figure 8 shows ẑ as a map, so here the swap happens on maps:

    target map T = P_t(Z)      background map B = P_b(Z)      both (n, t, u, v)
    z = E_t(pool T)            b = E_b(pool B)                both (n, c)
    ẑ = E_t(pool P_t(T + B̂)),  B̂ the background maps in swapped order

- P_t and P_b keep the t channels, so that T + B̂ is a map like Z and P_t can be applied to it again. They are a 1 × 1
  convolution and SiLU; were they linear, pooling over the whole map would undo all that happens on maps.
- E_t and E_b are linear. They come after pooling, which costs next to nothing and is the same as a 1 × 1 convolution
  before it. They let c be chosen freely, and give z both signs, which cosines need.
- No normalisation. Z leaves one already; statistics over a batch of 4 from two domains would let samples look at each
  other; statistics per sample would hide from the domain classifier just what tells domains apart, and Z would keep it.

References:
    The paper, "Overall Loddis Pipeline" and figures 2 and 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from loddis_trainer.losses.numerics import at_least_float32, full_precision
from loddis_trainer.losses.regions import Regions, pool, split_by_boxes

__all__ = ["Pooling", "ProjectedFeatures", "TargetBackgroundProjections"]

Pooling = Literal["gap", "boxes"]


@dataclass(frozen=True, slots=True)
class ProjectedFeatures:
    """Target and background features of a batch, with the maps they were pooled from.

    Attributes:
        z: Target features ``(n, c)``, float32.
        b: Background features ``(n, c)``, float32; ``None`` without a background projection.
        target_map: T ``(n, t, u, v)``.
        background_map: B ``(n, t, u, v)``; ``None`` without a background projection.
        regions: What was pooled; ``None``: the whole map.
        has_target: ``(n,)`` bool on the host: the row of z is about a target. Where it is not, leave the row out.
        has_background: ``(n,)`` bool on the host, likewise for b.
    """

    z: Tensor
    b: Tensor | None
    target_map: Tensor
    background_map: Tensor | None
    regions: Regions | None
    has_target: Tensor
    has_background: Tensor


class TargetBackgroundProjections(nn.Module):
    """Project a fused map to target and background features.

    Args:
        in_channels: Channels t of the fused map.
        embed_channels: Channels c of z and b.
        pooling: ``gap``: z and b are means over the whole map (the paper), with or without a target in it.
            ``boxes``: z is the mean over the ground truth boxes, b over the grid cells that no box touches; a sample
            without boxes has no z worth the name, and `ProjectedFeatures.has_target` says so.
        with_background: Whether to build P_b and E_b, which domain confusing alone does not need.

    Raises:
        ValueError: A number below 1, or an unknown pooling.
    """

    def __init__(
        self, in_channels: int, embed_channels: int, *, pooling: Pooling = "gap", with_background: bool = True
    ) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("embed_channels", embed_channels)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling must be one of {', '.join(get_args(Pooling))}, got {pooling!r}")
        self.in_channels = in_channels
        self.pooling = pooling
        self.target = _Projection(in_channels)
        self.target_embedding = nn.Linear(in_channels, embed_channels)
        self.background = _Projection(in_channels) if with_background else None
        self.background_embedding = nn.Linear(in_channels, embed_channels) if with_background else None

    def forward(self, fused_map: Tensor, boxes_xyxy: list[Tensor], *, stride: int) -> ProjectedFeatures:
        """Project and pool.

        Args:
            fused_map: Z ``(n, t, u, v)``.
            boxes_xyxy: Ground truth of each sample, ``(M, 4)`` network pixels; only looked at with ``boxes`` pooling.
            stride: Network pixels per cell of the map.

        Raises:
            ValueError: The shapes do not fit.
        """
        if fused_map.ndim != 4 or fused_map.shape[1] != self.in_channels:
            raise ValueError(f"fused_map must be (n, {self.in_channels}, u, v), got {tuple(fused_map.shape)}")
        n, _, u, v = fused_map.shape
        if len(boxes_xyxy) != n:
            raise ValueError(f"boxes_xyxy must hold one tensor for each of {n} samples, got {len(boxes_xyxy)}")
        regions = None
        has_target = has_background = torch.ones(n, dtype=torch.bool)
        if self.pooling == "boxes":
            regions = split_by_boxes(boxes_xyxy, size_uv=(u, v), stride=stride, device=fused_map.device)
            has_target, has_background = regions.has_target, regions.has_background

        target_map: Tensor = self.target(fused_map)
        z = _embed(self.target_embedding, target_map, None if regions is None else regions.target)
        background_map = b = None
        if self.background is not None and self.background_embedding is not None:
            background_map = self.background(fused_map)
            b = _embed(self.background_embedding, background_map, None if regions is None else regions.background)
        return ProjectedFeatures(z, b, target_map, background_map, regions, has_target, has_background)

    def recombine(self, features: ProjectedFeatures, partner: Tensor) -> Tensor:
        """Give ẑ ``(n, c)``: the targets before the backgrounds of their partners.

        Args:
            features: What `forward` gave.
            partner: ``(n,)`` int64: whose background each sample gets (`swap_indices`).

        Raises:
            ValueError: There is no background projection.
        """
        if features.background_map is None:
            raise ValueError("recombination needs background maps, but the background projection is off")
        mixed = features.target_map + features.background_map[partner.to(features.background_map.device)]
        regions = features.regions
        return _embed(self.target_embedding, self.target(mixed), None if regions is None else regions.target)


class _Projection(nn.Module):
    """A 1 × 1 convolution and SiLU, ``(n, t, u, v)`` both ways."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        nn.init.kaiming_normal_(
            self.conv.weight, nonlinearity="relu"
        )  # keeps the scale of Z, where torch's own shrinks it
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.conv(x))
        return out


def _embed(embedding: nn.Module, feature_map: Tensor, weights: Tensor | None) -> Tensor:
    with full_precision(feature_map):
        out: Tensor = embedding(at_least_float32(pool(feature_map, weights)))
    return out
