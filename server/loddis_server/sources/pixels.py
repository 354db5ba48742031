"""The infrared channel of a decoded frame, values as the camera sent them.

Legend: H W pixels of the frame.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from loddis_server.sources.media_error import MediaError
from loddis_server.sources.wire import GrayImage

__all__ = ["is_in_colour", "to_gray"]

SAMPLE_STEP = 2  # every second chroma sample each way says enough
NEUTRAL_TOLERANCE = 12 / 255  # of full scale: what a lossy codec does to grey
COLOURED_SHARE = 0.02  # of a frame: below it, the camera only draws its clock or logo in colour

# Packed 4:2:2: where in four bytes luma begins; the others are chroma.
PACKED_LUMA = {"yuyv422": 0, "yvyu422": 0, "uyvy422": 1}
PLANAR_LUMA = re.compile(r"yuv[aj]?(?:410|411|420|422|440|444)p(?:9|10|12|14|16)?(?:le|be)?|nv12|nv21|nv16|nv24|nv42")
GRAY = re.compile(r"gray(?:9|10|12|14|16)?(?:le|be)?|ya8|ya16(?:le|be)")


def to_gray(frame: VideoFrame, *, check_colour: bool, take_luma: bool) -> GrayImage:
    """Give the one channel that carries the picture.

    Grey comes with its values: `gray10le` to `gray16le` as uint16, neither stretched nor shifted. Of YUV the luma plane
    is taken as it is; of RGB that is grey in three channels, one of them.

    Args:
        frame: As decoded.
        check_colour: Whether to look for true colour; a look at every frame is not needed.
        take_luma: Whether true colour gives its luma instead of an error.

    Returns:
        ``(H, W)``, uint8 or uint16, a copy.

    Raises:
        MediaError: True colour, or a pixel format that is not taken.
    """
    if frame.format.is_rgb or frame.format.has_palette:
        return _gray_of_rgb(frame, take_luma=take_luma)
    luma, chroma, neutral = _split(frame)
    if check_colour and not take_luma and any(is_in_colour(plane, neutral=neutral) for plane in chroma):
        raise _true_colour()
    return np.array(luma, order="C")


def is_in_colour(chroma: NDArray[Any], *, neutral: int) -> bool:
    """Tell whether a chroma plane is that of a colour picture.

    Args:
        chroma: Plane, unsigned.
        neutral: Value that stands for grey; full scale is twice that.
    """
    sample = chroma[::SAMPLE_STEP, ::SAMPLE_STEP].astype(np.int32)
    if sample.size == 0:
        return False
    coloured = np.abs(sample - neutral) > NEUTRAL_TOLERANCE * 2 * neutral
    return bool(coloured.mean() > COLOURED_SHARE)


def _split(frame: VideoFrame) -> tuple[NDArray[Any], list[NDArray[Any]], int]:
    """Give luma, chroma and the value of neutral chroma; views of the frame."""
    name = frame.format.name
    if name in PACKED_LUMA:
        packed = _plane(frame, 0, np.dtype(np.uint8), width=2 * frame.width)
        offset = PACKED_LUMA[name]
        return packed[:, offset::2], [packed[:, 1 - offset :: 2]], 128
    bits = frame.format.components[0].bits
    dtype = np.dtype(np.uint8 if bits <= 8 else (">u2" if frame.format.is_big_endian else "<u2"))
    if GRAY.fullmatch(name):
        if name.startswith("ya"):  # grey and alpha side by side
            return _plane(frame, 0, dtype, width=2 * frame.width)[:, ::2], [], 0
        return _plane(frame, 0, dtype, width=frame.width), [], 0
    if not PLANAR_LUMA.fullmatch(name):
        raise MediaError("unsupported", f"the pixel format is {name}; expected grey, YUV or RGB of 8 bits")
    luma = _plane(frame, 0, dtype, width=frame.width)
    chroma = [_plane(frame, index, dtype) for index in range(1, min(3, len(frame.planes)))]
    return luma.astype(dtype.newbyteorder("="), copy=False), chroma, 1 << (bits - 1)


def _plane(frame: VideoFrame, index: int, dtype: np.dtype[Any], *, width: int | None = None) -> NDArray[Any]:
    """Give a plane without the padding of its lines; all samples of a line if no width is given."""
    plane = frame.planes[index]
    lines: NDArray[Any] = np.frombuffer(memoryview(plane), dtype).reshape(-1, plane.line_size // dtype.itemsize)[
        : plane.height
    ]
    native = lines[:, : plane.width if width is None else width]
    return native.astype(dtype.newbyteorder("="), copy=False)


def _gray_of_rgb(frame: VideoFrame, *, take_luma: bool) -> GrayImage:
    if any(component.bits > 8 for component in frame.format.components):
        raise MediaError("unsupported", f"the pixel format is {frame.format.name}; RGB is taken with 8 bits only")
    if take_luma:
        return np.asarray(frame.reformat(format="gray").to_ndarray(), np.uint8)
    image = frame.reformat(format="rgb24").to_ndarray()
    sample = image[::SAMPLE_STEP, ::SAMPLE_STEP]
    spread = sample.max(axis=2).astype(np.int32) - sample.min(axis=2)
    if (spread > NEUTRAL_TOLERANCE * 255).mean() > COLOURED_SHARE:
        raise _true_colour()
    return np.ascontiguousarray(image[..., 1], np.uint8)


def _true_colour() -> MediaError:
    return MediaError(
        "true_colour",
        "the picture is in colour; send the infrared channel itself, or set take_luma to use its brightness",
    )
