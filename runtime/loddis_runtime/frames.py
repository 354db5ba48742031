"""What a frame is, and the one gate through which arrays become frames.

Legend: H W pixels of the frame.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loddis_runtime.errors import FrameError

__all__ = ["Frame", "as_frame", "own_frame"]

Frame: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

GREY_TOLERANCE = 2 / 255  # of full scale: what JPEG's colour rounding does to a grey picture


def as_frame(array: ArrayLike) -> Frame:
    """Check an array and give it as a frame ``(H, W)``: uint8, uint16 or float32, C-contiguous.

    A trailing axis of one channel goes; three or four channels that say the same grey are collapsed to it (a fourth is
    alpha and is not looked at). Values are never rescaled: 16 bits stay 16 bits. What is a frame already is not copied.

    Args:
        array: ``(H, W)``, ``(H, W, 1)``, or grey in ``(H, W, 3 | 4)``; uint8, uint16, float32 or float64, in any byte
            order.

    Raises:
        FrameError: Another shape or dtype, no pixels, true colour, or values that are not finite in float32.
    """
    try:
        frame = np.asarray(array)
    except ValueError as error:  # rows of different lengths
        raise FrameError(f"a frame must be an array: {error}") from None
    if not (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] in (1, 3, 4))):
        raise FrameError(f"a frame must be (H, W), or grey in (H, W, 1 | 3 | 4), got shape {frame.shape}")
    if frame.size == 0:
        raise FrameError(f"a frame must have pixels, got shape {frame.shape}")
    if frame.dtype.kind == "f" and frame.dtype.itemsize in (4, 8):
        return _collapse(_finite(frame[..., :3] if frame.ndim == 3 else frame), full_scale=1.0)
    if frame.dtype.kind == "u" and frame.dtype.itemsize in (1, 2):
        native = frame.astype(frame.dtype.newbyteorder("="), copy=False)
        return _collapse(native, full_scale=float(np.iinfo(native.dtype).max))
    raise FrameError(f"a frame must be uint8, uint16, float32 or float64, got {frame.dtype}")


def own_frame(array: ArrayLike) -> Frame:
    """Give what `as_frame` gives in memory of its own: a camera may write its next frame where this one was.

    Raises:
        FrameError: As `as_frame`.
    """
    frame = as_frame(array)
    return frame.copy() if np.may_share_memory(frame, np.asarray(array)) else frame


def _finite(frame: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Give float32 without NaN and infinities; float64 that float32 cannot hold counts as infinite."""
    with np.errstate(over="ignore"):
        single = frame.astype(np.float32, copy=False)
    finite = np.isfinite(single)
    if not finite.all():
        raise FrameError(f"a frame must be finite, got {int((~finite).sum())} values that are NaN or infinite")
    return single


def _collapse(frame: NDArray[Any], *, full_scale: float) -> Frame:
    """Give the middle of three channels if all agree, the one of one, ``(H, W)`` as it is."""
    if frame.ndim == 2:
        return np.ascontiguousarray(frame)
    if frame.shape[2] == 1:
        return np.ascontiguousarray(frame[..., 0])
    red, green, blue = (frame[..., channel].astype(np.float32) for channel in range(3))
    with np.errstate(over="ignore"):
        spread = float(np.max(np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)))
    if spread > GREY_TOLERANCE * full_scale:
        raise FrameError(
            f"true colour is refused: channels differ by up to {spread:g} of {full_scale:g}; send one infrared channel"
        )
    return np.ascontiguousarray(frame[..., 1])
