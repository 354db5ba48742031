"""What runs a bundle's graph on some device.

Legend: B batch, T frames of the window, h w network pixels, K candidates.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.bundle import GraphPrecision

__all__ = ["Engine"]


class Engine(Protocol):
    """A graph, ready to run. `infer` may be called from several threads at once."""

    @property
    def name(self) -> str:
        """What runs the graph, for people: `ONNX Runtime 1.23, CPU`."""
        ...

    @property
    def device(self) -> str:
        """Where it runs: `cpu`."""
        ...

    @property
    def precision(self) -> GraphPrecision:
        """Of the graph."""
        ...

    def infer(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the graph.

        Args:
            frames: ``(B, T, h, w)`` float32 in [0, 1], B at least 1.

        Returns:
            ``(B, K, 6)`` float32: x1, y1, x2, y2 network pixels, score, class; best first.

        Raises:
            EngineError: It failed, or is closed.
        """
        ...

    def close(self) -> None:
        """Give back what the engine holds; a second call does nothing."""
        ...
