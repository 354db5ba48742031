"""CSPDarknet, the feature pyramid's bottom-up half.

Legend: B batch, T frames, W base width (64 x the variant's width).

References:
    Ge et al. 2021, YOLOX, arXiv:2107.08430; the paper's *Feature Extractor* (figure 2).
"""

from __future__ import annotations

from torch import Tensor, nn

from loddis_trainer.models.blocks import ConvBnAct, CspStage, PoolingPyramid
from loddis_trainer.models.window import WindowConv

__all__ = ["CspDarknet"]


class CspDarknet(nn.Module):
    """Turn a window of frames into maps at strides 4, 8, 16 and 32.

    Args:
        window: Frames T in the input channels.
        base_width: Channels W after the stem.
        base_depth: Bottlenecks in the shallowest stage; the middle stages have three times as many.
    """

    def __init__(self, window: int, *, base_width: int, base_depth: int) -> None:
        super().__init__()
        w, d = base_width, base_depth
        # A 6 x 6 kernel at stride 2 sees what YOLOX's focus (space to depth, then 3 x 3) sees, without its slicing.
        first = WindowConv if window > 1 else nn.Conv2d
        self.stem = ConvBnAct(window, w, kernel=6, stride=2, padding=2, convolution=first)
        self.stage4 = nn.Sequential(
            ConvBnAct(w, 2 * w, kernel=3, stride=2), CspStage(2 * w, 2 * w, depth=d, shortcut=True)
        )
        self.stage8 = nn.Sequential(
            ConvBnAct(2 * w, 4 * w, kernel=3, stride=2), CspStage(4 * w, 4 * w, depth=3 * d, shortcut=True)
        )
        self.stage16 = nn.Sequential(
            ConvBnAct(4 * w, 8 * w, kernel=3, stride=2), CspStage(8 * w, 8 * w, depth=3 * d, shortcut=True)
        )
        self.stage32 = nn.Sequential(
            ConvBnAct(8 * w, 16 * w, kernel=3, stride=2),
            PoolingPyramid(16 * w),
            CspStage(16 * w, 16 * w, depth=d, shortcut=False),
        )

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Extract the pyramid.

        Args:
            frames: ``(B, T, H, W)`` in [0, 1], H and W multiples of 32.

        Returns:
            Maps at stride 4 ``(B, 2W, H/4, W/4)``, 8 ``(B, 4W, …)``, 16 ``(B, 8W, …)`` and 32 ``(B, 16W, …)``.
        """
        c4 = self.stage4(self.stem(frames))
        c8 = self.stage8(c4)
        c16 = self.stage16(c8)
        c32 = self.stage32(c16)
        return c4, c8, c16, c32
