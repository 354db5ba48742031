"""Frames to request bodies: arrays as raw pixels, files as they are. No numpy needed.

The fastest way to send an array is its bytes with width, height and type in headers; a file that is encoded already is
never decoded here.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from loddis_client._errors import FrameError

__all__ = ["EncodedFrame", "encode_frame", "video_chunks"]

PIECE = 2**16  # bytes of a video that are sent at once
LARGEST_FILE = 2**28  # bytes; no server takes a larger body
MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),  # BigTIFF
    (b"MM\x00+", "image/tiff"),
    (b"P5", "image/x-portable-graymap"),
    (b"\x93NUMPY", "application/x-npy"),
)
# Kind of number and bytes of each, to the name that the server takes and the code that `array` knows it by.
DTYPES = {("u", 1): ("uint8", "B"), ("u", 2): ("uint16", "H"), ("f", 4): ("float32", "f"), ("f", 8): ("float32", "d")}
FORMATS = {"B": ("u", 1), "H": ("u", 2), "f": ("f", 4), "d": ("f", 8)}


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """The body of a request.

    Attributes:
        body: Its bytes.
        headers: What they are.
    """

    body: bytes = field(repr=False)
    headers: dict[str, str]


class _Numbers(NamedTuple):
    """Numbers of a buffer: kind (u, f), bytes of each, and whether they lie the other way round than here."""

    kind: str
    size: int
    swapped: bool


def encode_frame(frame: Any) -> EncodedFrame:
    """Make a request body of a frame.

    Args:
        frame: An array ``(H, W)``, ``(H, W, 1)`` or grey in ``(H, W, 3 | 4)`` of uint8, uint16, float32 or float64
            (anything with the buffer protocol, ``__array__`` or ``__array_interface__``); the bytes of an image file;
            or the path of one.

    Raises:
        FrameError: It is none of these, or the file cannot be read.
    """
    if isinstance(frame, str | Path):
        return _from_bytes(_read(Path(frame)), name=str(frame))
    if isinstance(frame, bytes | bytearray):
        return _from_bytes(bytes(frame), name="the bytes given")
    pixels = _view(frame)
    if pixels.ndim == 1 and pixels.itemsize == 1:
        return _from_bytes(pixels.tobytes(), name="the bytes given")
    return _from_pixels(pixels.tobytes(), pixels.shape or (), _numbers(pixels.format))


def video_chunks(video: Any) -> Iterable[bytes]:
    """Give a video piece by piece.

    Args:
        video: The path of a file, its bytes, or an iterable of pieces, which is given as it is.

    Raises:
        FrameError: It is none of these, or the file cannot be read.
    """
    if isinstance(video, str | Path):
        path = Path(video)
        try:
            path.open("rb").close()  # what cannot be read is said before anything is sent
        except (OSError, ValueError) as error:
            raise FrameError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        return _pieces(path)
    if isinstance(video, bytes | bytearray):
        return (bytes(video[start : start + PIECE]) for start in range(0, len(video), PIECE))
    if isinstance(video, Iterable):
        return video
    raise FrameError(f"a video must be a path, bytes, or an iterable of bytes, got {type(video).__name__}")


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # a device or a pipe may never end
            raise FrameError(f"{path} cannot be read: it is no file")
        if path.stat().st_size > LARGEST_FILE:
            raise FrameError(f"{path} has {path.stat().st_size} bytes, more than the {LARGEST_FILE} of any frame")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        cause = getattr(error, "strerror", None) or error
        raise FrameError(f"{path} cannot be read: {cause}") from error


def _from_bytes(body: bytes, *, name: str) -> EncodedFrame:
    if not body:
        raise FrameError(f"{name}: there is nothing in it")
    for magic, content_type in MAGIC:
        if body.startswith(magic):
            return EncodedFrame(body, {"Content-Type": content_type})
    known = "PNG, JPEG, TIFF, PGM or .npy"
    raise FrameError(f"{name}: neither {known}; send raw pixels as an array")


def _view(frame: Any) -> memoryview:
    """Give the pixels as a view that knows shape and format."""
    try:
        return memoryview(frame)
    except (TypeError, ValueError, BufferError):
        pass
    interface = getattr(frame, "__array_interface__", None)
    if isinstance(interface, dict) and isinstance(interface.get("data"), bytes):
        return _view_of_interface(interface)
    as_array = getattr(frame, "__array__", None)
    if callable(as_array):
        try:
            return memoryview(as_array())
        except Exception as error:  # whatever a foreign array may raise
            kind = type(frame).__name__
            raise FrameError(f"the pixels of a {kind} cannot be read: {type(error).__name__} {error}") from error
    raise FrameError(f"a frame must be an array, the bytes of an image file, or its path, got {type(frame).__name__}")


def _view_of_interface(interface: dict[str, Any]) -> memoryview:
    order, kind, size = interface["typestr"][0], interface["typestr"][1], int(interface["typestr"][2:])
    if (kind, size) not in DTYPES or (size > 1 and order == ">"):
        raise FrameError(f"a frame must be uint8, uint16, float32 or float64, got {interface['typestr']}")
    flat: Any = memoryview(interface["data"]).cast("B")  # a format that is no literal is beyond the type stubs
    pixels: memoryview = flat.cast(DTYPES[kind, size][1], interface["shape"])
    return pixels


def _numbers(text: str) -> _Numbers:
    """Read a format of the buffer protocol."""
    order, code = (text[0], text[1:]) if text[:1] in "<>=@!" else ("@", text)
    if code not in FORMATS:
        raise FrameError(f"a frame must be uint8, uint16, float32 or float64, got a buffer of format '{text}'")
    big = order in ">!" or (order in "@=" and sys.byteorder == "big")
    kind, size = FORMATS[code]
    return _Numbers(kind, size, swapped=big and size > 1)


def _from_pixels(body: bytes, shape: tuple[int, ...], numbers: _Numbers) -> EncodedFrame:
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise FrameError(f"a frame must be (H, W), (H, W, 1) or grey in (H, W, 3 | 4), got shape {shape}")
    height, width = shape[:2]
    if height < 1 or width < 1:
        raise FrameError(f"a frame must have pixels, got shape {shape}")
    dtype, code = DTYPES[numbers.kind, numbers.size]
    if len(shape) == 3 and shape[2] > 1:
        body = _one_channel(body, shape[2], numbers.size)
    if numbers.swapped or code == "d":
        values = array.array(code, body)
        if numbers.swapped:
            values.byteswap()
        body = (array.array("f", values) if code == "d" else values).tobytes()
    headers = {
        "Content-Type": "application/octet-stream",
        "X-Frame-Width": str(width),
        "X-Frame-Height": str(height),
        "X-Frame-Dtype": dtype,
    }
    return EncodedFrame(body, headers)


def _one_channel(body: bytes, channels: int, size: int) -> bytes:
    """Give one of the channels if the first three are the same; alpha, the fourth, does not count."""
    flat: Any = memoryview(body)
    values: memoryview = flat.cast({1: "B", 2: "H", 4: "I", 8: "Q"}[size])
    first, second, third = (bytes(values[channel::channels].tobytes()) for channel in range(3))
    if not first == second == third:
        raise FrameError("true colour is refused: the channels of the frame differ; send one infrared channel")
    return first
