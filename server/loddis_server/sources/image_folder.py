"""A folder of images as a video."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import PurePath

import av
import av.error

from loddis_server.sources.checks import NO_PROTOCOL, check_size, is_checked_for_colour, refuse_other_files
from loddis_server.sources.media_error import MediaError, media_error_of
from loddis_server.sources.pixels import to_gray
from loddis_server.sources.wire import FrameMessage, Message, Opened, Request

__all__ = ["read_images"]

# Their values come as they are; PGM does not belong here, FFmpeg stretches its 12 bits to 16.
IMAGES = {".png": "png_pipe", ".tif": "tiff_pipe", ".tiff": "tiff_pipe", ".jpg": "jpeg_pipe", ".jpeg": "jpeg_pipe"}


def read_images(request: Request) -> Iterator[Message]:
    """Give the images of a folder in the order of their names, numbers in them by value."""
    names = sorted(os.listdir(request.media_fd), key=_natural)  # noqa: PTH208  # the folder is open, and has no path here
    images = [name for name in names if _suffix(name) in IMAGES]
    if not images:
        raise MediaError("not_found", f"there are no images in the folder ({', '.join(sorted(IMAGES))})")
    yield Opened("images", IMAGES[_suffix(images[0])], request.frame_rate_hz)
    for number, name in enumerate(images):
        if number < request.skip_frames:
            continue
        try:
            yield _image(request, name, number)
        except (OSError, ValueError, MemoryError, av.error.FFmpegError) as error:
            raise media_error_of(error, doing=f"reading {name}") from None


def _image(request: Request, name: str, number: int) -> FrameMessage:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=request.media_fd)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise MediaError("refused", f"{name} is no regular file")
        with av.open(
            file,
            "r",
            format=IMAGES[_suffix(name)],
            options={"protocol_whitelist": NO_PROTOCOL},
            io_open=refuse_other_files,
        ) as container:
            picture = next(container.decode(video=0), None)
            if picture is None:
                raise MediaError("damaged", f"{name} holds no picture")
            check_size(picture.width, picture.height, max_pixels=request.max_pixels)
            return FrameMessage(
                image=to_gray(picture, check_colour=is_checked_for_colour(number + 1), take_luma=request.take_luma),
                captured_at=time.time(),
                pts_s=number / request.frame_rate_hz,
                damaged=0,
            )


def _suffix(name: str) -> str:
    return PurePath(name).suffix.lower()


def _natural(name: str) -> list[tuple[int, str]]:
    """Give a key that sorts numbers by their value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"[0-9]+|[^0-9]+", name)]
