"""Top-down fusion of the pyramid to one map, at stride 8 or, for targets under 4 px, at stride 4.

Legend: B batch, W base width (64 x the variant's width); maps are named after their stride.

The paper calls it "an improved feature fusion layer" and gives no drawing. Its totals (7.75 M parameters, 32.65 GFLOPs)
leave about 0.52 M parameters at stride 8 beyond a plain top-down pyramid; this block spends them on letting the
target's own fine detail meet all coarser context at once, where a 3 px target still has a cell of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from loddis_trainer.choices import Stride
from loddis_trainer.models.blocks import ConvBnAct, CspStage

__all__ = ["StrideFusion", "TopDownFusion"]


class StrideFusion(nn.Module):
    """Concatenate same-size maps, mix their channels, refine by 3 × 3 convolutions with a shortcut.

    ``(B, in, H, W) -> (B, out, H, W)``.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.mix = ConvBnAct(in_channels, out_channels)
        self.refine = nn.Sequential(
            ConvBnAct(out_channels, out_channels, kernel=3), ConvBnAct(out_channels, out_channels, kernel=3)
        )
        self.smooth = ConvBnAct(out_channels, out_channels, kernel=3)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Fuse ``maps``, all ``(B, ·, H, W)``."""
        mixed = self.mix(torch.cat(maps, dim=1))
        out: Tensor = self.smooth(mixed + self.refine(mixed))
        return out


class TopDownFusion(nn.Module):
    """Bring the coarser maps down to the finest and fuse all of them there.

    At stride 4 there are four times as many cells, each with half of the channels.

    Args:
        base_width: Channels W after the backbone's stem.
        base_depth: Bottlenecks of each CSP stage.
        stride: Of the fused map, 8 or 4.
    """

    def __init__(self, *, base_width: int, base_depth: int, stride: Stride = 8) -> None:
        super().__init__()
        w = base_width
        self.stride = stride
        self.out_channels = 4 * w if stride == 8 else 2 * w
        self.upsample = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.lateral32 = ConvBnAct(16 * w, 8 * w)
        self.merge16 = CspStage(16 * w, 8 * w, depth=base_depth, shortcut=False)
        self.lateral16 = ConvBnAct(8 * w, 4 * w)
        self.merge8 = CspStage(8 * w, 4 * w, depth=base_depth, shortcut=False)
        if stride == 4:
            self.lateral8 = ConvBnAct(4 * w, 2 * w)
            self.merge4 = CspStage(4 * w, 2 * w, depth=base_depth, shortcut=False)
        self.fuse = StrideFusion(4 * self.out_channels if stride == 8 else 8 * w, self.out_channels)

    def forward(self, pyramid: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Fuse the pyramid of `CspDarknet` to the map Z ``(B, out, H / stride, W / stride)`` (paper, figure 2)."""
        c4, c8, c16, c32 = pyramid
        p32 = self.lateral32(c32)  # (B, 8W, H/32, W/32)
        p32_at16 = self.upsample(p32)
        p16 = self.lateral16(self.merge16(torch.cat((p32_at16, c16), dim=1)))  # (B, 4W, H/16, W/16)
        p16_at8 = self.upsample(p16)
        p8 = self.merge8(torch.cat((p16_at8, c8), dim=1))  # (B, 4W, H/8, W/8)
        maps = [p8, p16_at8, self.upsample(p32_at16)]
        if self.stride == 4:
            p8_at4 = self.upsample(self.lateral8(p8))  # (B, 2W, H/4, W/4)
            p4 = self.merge4(torch.cat((p8_at4, c4), dim=1))
            maps = [p4, p8_at4, self.upsample(p16_at8)]
        out: Tensor = self.fuse(maps)
        return out
