"""The network that is trained, exported and served.

Legend: B batch, T frames of the window, H W network pixels, K detections kept.
"""

from __future__ import annotations

from typing import get_args

from torch import Tensor, nn

from loddis_trainer.choices import CANDIDATES, Stride, VariantName
from loddis_trainer.models.darknet import CspDarknet
from loddis_trainer.models.fusion import TopDownFusion
from loddis_trainer.models.head import DecoupledHead, RawPredictions, keep_best
from loddis_trainer.models.variants import VARIANTS

__all__ = ["LoddisDetector", "build_detector"]


class LoddisDetector(nn.Module):
    """Detect small targets in a window of infrared frames.

    The training-only branches of the method are no part of this module: they look at the map that `fuse` gives, and
    live in `loddis_trainer.losses.branches`.

    Args:
        backbone: Frames to pyramid.
        fusion: Pyramid to the fused map Z.
        head: Fused map to raw predictions.
        keep: Detections K given per frame.
    """

    def __init__(
        self, backbone: CspDarknet, fusion: TopDownFusion, head: DecoupledHead, *, keep: int = CANDIDATES
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.fusion = fusion
        self.head = head
        self.keep = keep

    @property
    def stride(self) -> Stride:
        """Input pixels per grid point of the fused map."""
        return self.fusion.stride

    @property
    def fused_channels(self) -> int:
        """Channels t of the fused map Z."""
        return self.fusion.out_channels

    def fuse(self, frames: Tensor) -> Tensor:
        """Give the fused map Z ``(B, t, H / stride, W / stride)`` of frames ``(B, T, H, W)`` in [0, 1]."""
        out: Tensor = self.fusion(self.backbone(frames))
        return out

    def predict(self, fused: Tensor) -> RawPredictions:
        """Give the raw predictions of a fused map."""
        out: RawPredictions = self.head(fused)
        return out

    def forward(self, frames: Tensor) -> Tensor:
        """Detect.

        Args:
            frames: ``(B, T, H, W)`` float in [0, 1], oldest frame first; H and W multiples of 32.

        Returns:
            ``(B, K, 6)`` float32: x1, y1, x2, y2 in network pixels, score, class; by falling score, not suppressed.
        """
        return keep_best(self.predict(self.fuse(frames)), stride=self.stride, keep=self.keep)


def build_detector(
    variant: VariantName, *, num_classes: int = 1, window: int = 1, stride: Stride = 8, keep: int = CANDIDATES
) -> LoddisDetector:
    """Build an untrained detector of a named size.

    Args:
        variant: ``nano``, ``tiny`` or ``s``.
        num_classes: Target classes, at least 1.
        window: Frames T that the network sees; past frames are input channels.
        stride: Input pixels per grid point, 8 or 4; at 4 the head has half of the channels.
        keep: Detections K given per frame.

    Raises:
        ValueError: An unknown variant or stride, or a number below 1.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    if stride not in get_args(Stride):
        raise ValueError(f"stride must be 4 or 8, got {stride}")
    for name, value in (("num_classes", num_classes), ("window", window), ("keep", keep)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    size = VARIANTS[variant]
    backbone = CspDarknet(window, base_width=size.base_width, base_depth=size.base_depth)
    fusion = TopDownFusion(base_width=size.base_width, base_depth=size.base_depth, stride=stride)
    channels = size.head_channels if stride == 8 else size.head_channels // 2
    head = DecoupledHead(fusion.out_channels, channels=channels, num_classes=num_classes)
    return LoddisDetector(backbone, fusion, head, keep=keep)
