"""A decoder with every fault that the fuzzer must find; in a module, so that another process can import it."""

from __future__ import annotations

import ctypes
from typing import Any

__all__ = ["decode_badly"]

TOO_MUCH_BYTES = 64 * 2**20


def decode_badly(body: Any) -> str:
    """Raise, take too much memory, or end the process, by the kind of the body."""
    if body.format == "png":
        raise ValueError("not meant")
    if body.format == "jpeg":
        held = bytearray(b"x") * TOO_MUCH_BYTES  # written, so that every page is really there
        return "frame" if held else "empty"
    if body.name == "tiff lzw":
        ctypes.string_at(0)
    return "frame"
