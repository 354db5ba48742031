"""Videos as the bytes that a camera's recorder would write."""

from __future__ import annotations

import io
from typing import Any

import av
from numpy.typing import NDArray

__all__ = ["video"]


def video(
    frames: list[NDArray[Any]],
    *,
    container: str = "matroska",
    codec: str = "ffv1",
    pix_fmt: str = "gray",
    fps: int = 25,
) -> bytes:
    """Encode frames, ``(H, W)`` of 8 or 16 bits or ``(H, W, 3)``, at a constant rate."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        layout = {"uint8": "gray8", "uint16": "gray16le"}[frames[0].dtype.name] if frames[0].ndim == 2 else "rgb24"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format=layout).reformat(format=pix_fmt)))
        file.mux(stream.encode())
    return out.getvalue()
