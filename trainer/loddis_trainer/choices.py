"""The closed sets that a training chooses from: told here, so that commands know them without importing torch."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["BoxLoss", "Contrast", "Stride", "VariantName"]

VariantName: TypeAlias = Literal["nano", "tiny", "s"]
Stride: TypeAlias = Literal[4, 8]
BoxLoss: TypeAlias = Literal["giou", "nwd"]
Contrast: TypeAlias = Literal["all", "swapped"]
