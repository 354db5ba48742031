"""Videos as frames of one channel: 8 bits as ever, deeper ones with the levels that the stream holds.

What is grey in three channels is collapsed, true colour refused, by the same measure as a server's sources take.

Legend: H W pixels of the frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from loddis_trainer.data.errors import DataError

__all__ = ["decode_frames", "size_and_count"]

STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}  # of FFmpeg: fail on damage, do not paint over it
SAMPLE_STEP = 2  # every second sample each way says enough of colour
NEUTRAL_TOLERANCE = 12 / 255  # of full scale: what a lossy codec does to grey
COLOURED_SHARE = 0.02  # of a frame: below it, the camera only draws its clock or logo in colour

PLANAR_YUV = re.compile(r"yuv[aj]?4\d\dp(?:(?:9|10|12|14|16)(?:le|be))?")
DEEP = re.compile(r"(?:gray|yuva?4\d\dp)(?:9|10|12|14|16)(?:le|be)")  # levels count from 0, the first plane is luma


def size_and_count(path: Path) -> tuple[tuple[int, int], int]:
    """Read height and width from a video's header, and how many frames it promises, 0 where it does not.

    Raises:
        DataError: It is no video.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return (int(stream.height), int(stream.width)), int(stream.frames)
    except (av.FFmpegError, IndexError, OSError) as error:
        raise DataError(f"{path} is no video that can be read: {error}") from error


def decode_frames(path: Path, wanted: tuple[int, ...]) -> Iterator[NDArray[np.generic]]:
    """Decode the wanted frames; what comes behind the last of them is not looked at.

    Args:
        path: Of the video.
        wanted: Places in it from 0, rising.

    Returns:
        ``(H, W)`` each: uint8 of pixel formats of up to 8 bits, brought to full range as FFmpeg does; uint16 of deeper
        ones, neither stretched nor shifted: level 400 of a 10-bit stream is 400.

    Raises:
        DataError: The video is damaged or too short, or a wanted frame is in true colour or of a pixel format that is
            not taken; names file and frame.
    """
    left = iter(wanted)
    target = next(left, None)
    index = -1
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"  # one video a thread is faster than threads in a video
            stream.codec_context.options = STRICT
            for index, frame in enumerate(container.decode(video=0)):
                if frame.is_corrupt:
                    raise DataError(f"{path} is corrupt: its frame {index} does not decode as a whole")
                if index == target:
                    yield _one_channel(frame, where=f"{path}, frame {index}")
                    target = next(left, None)
                    if target is None:
                        return
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path} is corrupt near frame {index + 1}: {error}") from error
    if target is not None:
        raise DataError(f"{path} ends before frame {target}, which its labels name")


def _one_channel(frame: VideoFrame, *, where: str) -> NDArray[np.generic]:
    """Give the channel that carries the picture, ``(H, W)`` uint8 or uint16."""
    name = frame.format.name
    deep = max(component.bits for component in frame.format.components) > 8
    if deep and not DEEP.fullmatch(name):
        raise DataError(
            f"{where}: the pixel format is {name}; of more than 8 bits, grey or planar YUV of up to 16 is taken"
        )
    if _is_in_colour(frame):
        raise DataError(
            f"{where}: true colour is refused, a domain holds one infrared channel; if the video's brightness is that,"
            " convert it to grey first"
        )
    return _plane(frame, 0).copy() if deep else frame.to_ndarray(format="gray")


def _is_in_colour(frame: VideoFrame) -> bool:
    """Tell whether more of a frame is coloured than a codec's noise and a camera's clock are."""
    if frame.format.is_rgb or frame.format.has_palette:
        image = frame.to_ndarray(format="rgb24")[::SAMPLE_STEP, ::SAMPLE_STEP].astype(np.int32)  # (H/2, W/2, 3)
        return _is_common(image.max(axis=2) - image.min(axis=2), full_scale=255)
    if len(frame.format.components) < 3:  # grey, and perhaps opacity
        return False
    planar = frame if PLANAR_YUV.fullmatch(frame.format.name) else frame.reformat(format="yuv444p")
    neutral = 1 << (planar.format.components[0].bits - 1)
    chroma = (_plane(planar, index)[::SAMPLE_STEP, ::SAMPLE_STEP].astype(np.int32) for index in (1, 2))
    return any(_is_common(np.abs(samples - neutral), full_scale=2 * neutral - 1) for samples in chroma)


def _is_common(deviation: NDArray[np.int32], *, full_scale: int) -> bool:
    return float((deviation > NEUTRAL_TOLERANCE * full_scale).mean()) > COLOURED_SHARE


def _plane(frame: VideoFrame, index: int) -> NDArray[Any]:
    """Give a plane of a planar format without the padding of its lines, as a view; in this machine's byte order."""
    plane = frame.planes[index]
    wide = frame.format.components[index].bits > 8
    dtype = np.dtype((">u2" if frame.format.is_big_endian else "<u2") if wide else np.uint8)
    lines = np.frombuffer(memoryview(plane), dtype).reshape(-1, plane.line_size // dtype.itemsize)  # (≥ H, ≥ W)
    return lines[: plane.height, : plane.width].astype(dtype.newbyteorder("="), copy=False)
