"""From the fused map to target and background features, and to targets before swapped backgrounds.

Legend: n samples, t channels of the fused map, u v its height and width, c channels of features, M boxes of a sample,
k cells of the map that are pooled.

The paper projects Z to z and b "into a semantic subspace", pools them, and swaps b between samples; how a target and a
swapped background become ẑ it does not say. Figure 8 shows ẑ as a map, so here the swap happens on maps:

    target map T = P_t(Z)      background map B = P_b(Z)      both (n, t, u, v)
    z = E_t(pool T)            b = E_b(pool B)                both (n, c)
    ẑ = E_t(pool P_t(T + B̂)),  B̂ the background maps in swapped order

- P_t and P_b keep the t channels, so that T + B̂ is a map like Z and P_t can be applied to it again. They are a 1 × 1
  convolution and SiLU; were they linear, pooling over the whole map would undo all that happens on maps.
- E_t and E_b are linear. They come after pooling, which costs next to nothing and is the same as a 1 × 1 convolution
  before it. They let c be chosen freely, and give z both signs, which cosines need.
- All of this works cell by cell, so target features pooled over boxes are only computed at the cells that boxes touch.
- No normalisation. Z leaves one already; statistics over a batch of 4 from two domains would let samples look at each
  other; statistics per sample would hide from the domain classifier just what tells domains apart, and Z would keep it.

References:
    The paper, "Overall Loddis Pipeline" and figures 2 and 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from loddis_trainer.losses.numerics import at_least_float32, full_precision
from loddis_trainer.losses.regions import Regions, as_rows, pool, split_by_boxes

__all__ = ["Pooling", "ProjectedFeatures", "ProjectedMaps", "TargetBackgroundProjections"]

Pooling = Literal["gap", "boxes"]


@dataclass(frozen=True, slots=True)
class ProjectedFeatures:
    """Target and background features of a batch, with what they were pooled from.

    Attributes:
        z: Target features ``(n, c)``, float32.
        b: Background features ``(n, c)``, float32; ``None`` without a background projection.
        target_rows: T at the cells that were pooled, ``(k, t)``: those that boxes touch, or all n·u·v.
        background_map: B ``(n, t, u, v)``; ``None`` without a background projection.
        regions: What was pooled; ``None``: the whole map.
        has_target: ``(n,)`` bool on the host: the row of z is about a target. Where it is not, leave the row out.
        has_background: ``(n,)`` bool on the host, likewise for b.
    """

    z: Tensor
    b: Tensor | None
    target_rows: Tensor
    background_map: Tensor | None
    regions: Regions | None
    has_target: Tensor
    has_background: Tensor


class ProjectedMaps(NamedTuple):
    """Whole maps, for those who want to look at them.

    Attributes:
        target: T ``(n, t, u, v)``.
        background: B, likewise; ``None`` without a background projection.
    """

    target: Tensor
    background: Tensor | None


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

        rows = as_rows(fused_map).flatten(0, 1)  # (n·u·v, t)
        if regions is not None:
            rows = rows.index_select(0, regions.target_cells.to(rows.device, non_blocking=True))
        target_rows = self.target.of_rows(rows)
        z = _embed(self.target_embedding, _pool_rows(target_rows, regions, samples=n))
        background_map = b = None
        if self.background is not None and self.background_embedding is not None:
            background_map = self.background(fused_map)
            pooled = pool(background_map, None if regions is None else regions.background)
            b = _embed(self.background_embedding, pooled)
        return ProjectedFeatures(z, b, target_rows, background_map, regions, has_target, has_background)

    def recombine(self, features: ProjectedFeatures, partner: Tensor) -> Tensor:
        """Give ẑ ``(n, c)``: the targets before the backgrounds of their partners.

        Args:
            features: What `forward` gave.
            partner: ``(n,)`` int64, a permutation: whose background each sample gets (`swap_indices`).

        Raises:
            ValueError: There is no background projection.
        """
        if features.background_map is None:
            raise ValueError("recombination needs background maps, but the background projection is off")
        background, regions = as_rows(features.background_map), features.regions
        if regions is None:
            swapped = background[partner.to(background.device)].flatten(0, 1)
        else:
            cells = regions.target_cells_in(partner).to(background.device, non_blocking=True)
            swapped = background.flatten(0, 1).index_select(0, cells)
        recombined = self.target.of_rows(features.target_rows + swapped)
        return _embed(self.target_embedding, _pool_rows(recombined, regions, samples=len(partner)))

    def maps(self, fused_map: Tensor) -> ProjectedMaps:
        """Project ``(n, t, u, v)`` whole, whatever is pooled."""
        return ProjectedMaps(self.target(fused_map), None if self.background is None else self.background(fused_map))


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

    def of_rows(self, rows: Tensor) -> Tensor:
        """Do the same to cells ``(k, t)``."""
        out: Tensor = self.act(linear(rows, self.conv.weight.flatten(1), self.conv.bias))
        return out


def _pool_rows(rows: Tensor, regions: Regions | None, *, samples: int) -> Tensor:
    """Average cells ``(k, t)`` to ``(n, t)``, at least float32: the target cells of ``regions``, or all of each map."""
    with full_precision(rows):
        if regions is None:
            maps = rows.reshape(samples, len(rows) // max(samples, 1), rows.shape[1])
            return maps.mean(dim=1, dtype=at_least_float32(rows[:0]).dtype)
        values = at_least_float32(rows)
        return regions.target_shares.to(values.dtype) @ values


def _embed(embedding: nn.Module, pooled: Tensor) -> Tensor:
    with full_precision(pooled):
        out: Tensor = embedding(pooled)
    return out
