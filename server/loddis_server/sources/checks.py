"""Checks that hold for whatever is decoded."""

from __future__ import annotations

from typing import Any

from loddis_server.sources.media_error import MediaError

__all__ = ["NO_PROTOCOL", "check_size", "is_checked_for_colour", "refuse_other_files"]

NO_PROTOCOL = "none"  # as FFmpeg's whitelist: it opens nothing by itself
COLOUR_CHECKS = 5  # frames looked at in the beginning
COLOUR_CHECK_EVERY = 50  # frames after that


def refuse_other_files(url: str, flags: int, options: dict[str, Any]) -> Any:
    """Answer a container that refers to something outside itself."""
    del url, flags, options
    raise MediaError("refused", "the video refers to another file or address, which is not read")


def check_size(width: int, height: int, *, max_pixels: int) -> None:
    """Hold a frame against the limit.

    Raises:
        MediaError: It is larger.
    """
    if width * height > max_pixels:
        raise MediaError(
            "too_large", f"frames of {width} x {height} are {width * height} pixels, the limit is {max_pixels}"
        )


def is_checked_for_colour(count: int) -> bool:
    """Tell whether the frame with this number, from 1, is looked at for true colour."""
    return count <= COLOUR_CHECKS or count % COLOUR_CHECK_EVERY == 0
