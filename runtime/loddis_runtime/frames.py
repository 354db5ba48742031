"""What a frame is, and the one gate through which arrays become frames.

Legend: H W pixels of the frame.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loddis_runtime.errors import FrameError

__all__ = ["Frame", "as_frame"]

Frame: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

GREY_TOLERANCE = 2 / 255  # of full scale: what JPEG's colour rounding does to a grey picture


def as_frame(array: ArrayLike) -> Frame:
    """Check an array and give it as a frame ``(H, W)``: uint8, uint16 or float32, C-contiguous.

    A trailing axis of one channel goes; three or four channels that say the same grey are collapsed to it (a fourth is
    alpha and is not looked at). Values are never rescaled: 16 bits stay 16 bits.

    Args:
        array: ``(H, W)``, ``(H, W, 1)``, or grey in ``(H, W, 3 or 4)``; uint8, uint16, float32 or float64, in any byte order.

    Raises:
        FrameError: Another shape or dtype, no pixels, true colour, or values that are not finite.
    """
    frame = np.asarray(array)
    if frame.ndim == 3 and frame.shape[2] in (1, 3, 4):
        frame = frame[..., 0] if frame.shape[2] == 1 else _collapse_grey(frame[..., :3])
    if frame.ndim != 2:
        raise FrameError(f"a frame must be (H, W), or grey in (H, W, 1 | 3 | 4), got shape {frame.shape}")
    if frame.size == 0:
        raise FrameError(f"a frame must have pixels, got shape {frame.shape}")
    if frame.dtype.kind == "f" and frame.dtype.itemsize in (4, 8):
        if not np.isfinite(frame).all():
            bad = int(frame.size - np.isfinite(frame).sum())
            raise FrameError(f"a frame must be finite, got {bad} values that are NaN or infinite")
        return np.ascontiguousarray(frame, dtype=np.float32)
    if frame.dtype.kind == "u" and frame.dtype.itemsize in (1, 2):
        return np.ascontiguousarray(frame, dtype=frame.dtype.newbyteorder("="))
    raise FrameError(f"a frame must be uint8, uint16, float32 or float64, got {frame.dtype}")


def _collapse_grey(colour: NDArray[np.generic]) -> NDArray[np.generic]:
    """Give the middle channel of ``(H, W, 3)`` if all three agree."""
    if colour.dtype.kind not in "uf" or colour.size == 0:
        return colour[..., 1]
    full_scale = float(np.iinfo(colour.dtype).max) if colour.dtype.kind == "u" else 1.0
    wide = colour.astype(np.float32)
    spread = float(np.nan_to_num(wide.max(axis=2) - wide.min(axis=2)).max())
    if spread > GREY_TOLERANCE * full_scale:
        raise FrameError(
            f"true colour is refused: channels differ by up to {spread:g} of {full_scale:g}; send one infrared channel"
        )
    return colour[..., 1]
