"""Building blocks of CSPDarknet: convolution with normalisation and activation, bottleneck, CSP stage, pooling pyramid.

Legend: B batch, C channels, H W pixels of the map at hand.

References:
    Ge et al. 2021, YOLOX: Exceeding YOLO Series in 2021, arXiv:2107.08430.
    Wang et al. 2020, CSPNet, arXiv:1911.11929.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from loddis_trainer.models.norms import GroupedBatchNorm

__all__ = ["NORM_EPS", "Bottleneck", "ConvBnAct", "CspStage", "PoolingPyramid"]

# YOLOX's constants: an eps that survives half precision, a slow running mean for small batches.
NORM_EPS, NORM_MOMENTUM = 1e-3, 0.03


class ConvBnAct(nn.Module):
    """Convolution, batch normalisation, SiLU: ``(B, in, H, W) -> (B, out, H / stride, W / stride)``.

    Args:
        in_channels: Channels of the input map.
        out_channels: Channels of the output map.
        kernel: Side of the square kernel, in pixels.
        stride: Step of the kernel, in pixels.
        padding: Border on each side, in pixels; ``None`` keeps the size of odd kernels at stride 1.
        convolution: Kind of the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        padding: int | None = None,
        convolution: type[nn.Conv2d] = nn.Conv2d,
    ) -> None:
        super().__init__()
        self.conv = convolution(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=(kernel - 1) // 2 if padding is None else padding,
            bias=False,
        )
        self.norm = GroupedBatchNorm(out_channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to ``x``."""
        out: Tensor = self.act(self.norm(self.conv(x)))
        return out


class Bottleneck(nn.Module):
    """A 1 × 1 and a 3 × 3 convolution, added to the input where ``shortcut`` is set: ``(B, C, H, W)`` both ways."""

    def __init__(self, channels: int, *, shortcut: bool) -> None:
        super().__init__()
        self.reduce = ConvBnAct(channels, channels)
        self.spatial = ConvBnAct(channels, channels, kernel=3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to ``x``."""
        out: Tensor = self.spatial(self.reduce(x))
        return x + out if self.shortcut else out


class CspStage(nn.Module):
    """Cross-stage partial block: half of the channels pass ``depth`` bottlenecks, the other half goes round them.

    ``(B, in, H, W) -> (B, out, H, W)``.
    """

    def __init__(self, in_channels: int, out_channels: int, *, depth: int, shortcut: bool) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.main = ConvBnAct(in_channels, hidden)
        self.bypass = ConvBnAct(in_channels, hidden)
        self.blocks = nn.Sequential(*(Bottleneck(hidden, shortcut=shortcut) for _ in range(depth)))
        self.merge = ConvBnAct(2 * hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to ``x``."""
        out: Tensor = self.merge(torch.cat((self.blocks(self.main(x)), self.bypass(x)), dim=1))
        return out


class PoolingPyramid(nn.Module):
    """Spatial pyramid pooling with windows of 5, 9 and 13 pixels: ``(B, C, H, W)`` both ways.

    Three 5 × 5 maxima in a row give exactly the windows 5, 9 and 13, for less work than three separate ones.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.reduce = ConvBnAct(channels, hidden)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.merge = ConvBnAct(4 * hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to ``x``."""
        levels = [self.reduce(x)]
        for _ in range(3):
            levels.append(self.pool(levels[-1]))
        out: Tensor = self.merge(torch.cat(levels, dim=1))
        return out
