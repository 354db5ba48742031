"""Videos as a camera's recorder would write them: to a file, or as bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import av
from numpy.typing import NDArray

__all__ = ["video", "write_video"]

TargetT = TypeVar("TargetT", Path, BinaryIO)


def write_video(
    target: TargetT,
    frames: Sequence[NDArray[Any]],
    *,
    container: str | None = None,
    codec: str = "ffv1",
    array_format: str = "gray16le",
    pix_fmt: str | None = None,
    fps: int | Fraction = 30,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
) -> TargetT:
    """Write a video at a constant rate; gives where it is.

    Args:
        target: A path whose ending says the container, or a file of any.
        frames: As `array_format` has them.
        container: FFmpeg's name; what the path says if none.
        codec: FFmpeg's name.
        array_format: Pixel format of the arrays.
        pix_fmt: Pixel format in the file; the same if none.
        fps: Frames per second.
        options: For the encoder.
        container_options: For the container.
    """
    opened = str(target) if isinstance(target, Path) else target
    with av.open(opened, "w", format=container, container_options=dict(container_options or {})) as file:
        stream: Any = file.add_stream(codec, rate=fps, options=dict(options or {}))
        stream.height, stream.width = frames[0].shape[:2]
        if array_format.startswith("yuv420p"):
            stream.height = frames[0].shape[0] * 2 // 3
        stream.pix_fmt = pix_fmt or array_format
        for number, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format=array_format)
            frame.pts, frame.time_base = number, 1 / Fraction(fps)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return target


def video(
    frames: Sequence[NDArray[Any]], *, container: str = "matroska", codec: str = "ffv1", pix_fmt: str = "gray"
) -> bytes:
    """Encode frames, ``(H, W)`` of 8 or 16 bits or ``(H, W, 3)``, at 25 frames a second."""
    out: BinaryIO = io.BytesIO()
    array_format = {"uint8": "gray8", "uint16": "gray16le"}[frames[0].dtype.name] if frames[0].ndim == 2 else "rgb24"
    write_video(out, frames, container=container, codec=codec, array_format=array_format, pix_fmt=pix_fmt, fps=25)
    out.seek(0)
    return out.read()
