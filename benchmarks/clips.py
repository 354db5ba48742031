"""Videos that benchmarks send, and that sources read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import av
from numpy.typing import NDArray

__all__ = ["write_clip"]


def write_clip(
    target: Path | BinaryIO,
    frames: Iterable[NDArray[Any]],
    *,
    size_hw: tuple[int, int],
    fps: int,
    container: str = "matroska",
    codec: str = "ffv1",
    pix_fmt: str = "gray16le",
) -> None:
    """Write frames ``(H, W)`` of 8 or 16 bits as a video."""
    with av.open(str(target) if isinstance(target, Path) else target, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=fps)
        stream.height, stream.width = size_hw
        stream.pix_fmt = pix_fmt
        for image in frames:
            frame = av.VideoFrame.from_ndarray(image, format={1: "gray8", 2: "gray16le"}[image.itemsize])
            file.mux(stream.encode(frame.reformat(format=pix_fmt)))
        file.mux(stream.encode())
