"""Chance, by name: one seed gives each part of a scene a stream of its own.

A part that draws more or fewer numbers than before leaves the others as they were, and a frame's noise does not depend
on which frames were asked for earlier.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

__all__ = ["Chance"]


@dataclass(frozen=True, slots=True)
class Chance:
    """The streams of one seed."""

    seed: int

    def stream(self, name: str, index: int = 0) -> np.random.Generator:
        """Start the stream of a part, always from its beginning.

        Args:
            name: Of the part.
            index: Of a frame or a target, where each has a stream.
        """
        sequence = np.random.SeedSequence(self.seed, spawn_key=(zlib.crc32(name.encode()), index))
        return np.random.Generator(np.random.SFC64(sequence))
