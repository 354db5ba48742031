"""The named sizes of the detector."""

from __future__ import annotations

from dataclasses import dataclass

from loddis_trainer.choices import VariantName

__all__ = ["VARIANTS", "Variant"]


@dataclass(frozen=True, slots=True)
class Variant:
    """Multipliers of YOLOX's depth and width; `s` is the paper's.

    Attributes:
        depth: Of the number of bottlenecks (3 and 9 in the large model).
        width: Of the channels (64 after the stem).
        head_channels: Of both branches of the head. In proportion to the width they would be 128 in `nano`, and the
            head more than half of its work.
    """

    depth: float
    width: float
    head_channels: int

    @property
    def base_width(self) -> int:
        """Channels after the stem."""
        return int(64 * self.width)

    @property
    def base_depth(self) -> int:
        """Bottlenecks in a shallow stage."""
        return max(round(3 * self.depth), 1)


VARIANTS: dict[VariantName, Variant] = {
    "nano": Variant(depth=0.33, width=0.25, head_channels=64),
    "tiny": Variant(depth=0.33, width=0.375, head_channels=192),
    "s": Variant(depth=0.33, width=0.50, head_channels=256),
}
