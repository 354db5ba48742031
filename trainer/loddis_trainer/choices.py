"""What a training chooses from, and how many candidates a detector gives: told here, so that commands know it without
importing torch.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

__all__ = ["CANDIDATES", "BoxLoss", "Contrast", "Stride", "VariantName"]

VariantName: TypeAlias = Literal["nano", "tiny", "s"]
Stride: TypeAlias = Literal[4, 8]
BoxLoss: TypeAlias = Literal["giou", "nwd"]
Contrast: TypeAlias = Literal["all", "swapped"]

CANDIDATES: Final = 300  # K, a frame; a bright target holds about six, and with 100 crowds lost what is dim
