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
        width: Of the channels (64 after the stem, 256 · 2 · width in the head).
    """

    depth: float
    width: float

    @property
    def base_width(self) -> int:
        """Channels after the stem."""
        return int(64 * self.width)

    @property
    def base_depth(self) -> int:
        """Bottlenecks in a shallow stage."""
        return max(round(3 * self.depth), 1)

    @property
    def head_channels(self) -> int:
        """Channels of the head: 256 in `s`, and in proportion."""
        return int(512 * self.width)


VARIANTS: dict[VariantName, Variant] = {
    "nano": Variant(depth=0.33, width=0.25),
    "tiny": Variant(depth=0.33, width=0.375),
    "s": Variant(depth=0.33, width=0.50),
}
