"""What parent and child tell each other: messages with a JSON head, frames with their pixels behind it.

The child has read bytes of strangers, so what it says is checked here like anything else from outside: sizes against
the limit before memory is asked for, and every field by type.

Legend: H W pixels of a frame.
"""

from __future__ import annotations

import json
import math
import socket
import struct
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, TypeAlias, cast, get_args

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Ended",
    "Failed",
    "FailureReason",
    "FrameMessage",
    "GrayImage",
    "MediumKind",
    "Message",
    "Opened",
    "Request",
    "WireError",
    "receive_message",
    "receive_request",
    "send_message",
    "send_request",
]

GrayImage: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
MediumKind = Literal["rtsp", "multipart", "file", "folder", "device", "upload"]
FailureReason = Literal[
    "refused",  # not on the allow-list
    "unauthorised",  # wrong or missing user and password
    "not_found",  # no such file, device or path on the camera
    "unreachable",  # no connection
    "lost",  # the connection ended, or nothing came in time
    "damaged",  # bytes that are no video
    "unsupported",  # a container, codec or pixel format that is not taken
    "true_colour",  # no infrared channel
    "too_large",  # over a limit
    "no_space",  # an upload that must be whole before it can be decoded, and the disk is full
    "crashed",  # the child ended without a word, or out of memory
]

PREFIX = struct.Struct("!cI")  # kind, bytes of the JSON head
MAX_HEAD_BYTES = 64 * 2**10
MAX_TEXT = 1000


class WireError(Exception):
    """The other side said something that cannot be."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a child is to read.

    Attributes:
        medium: What kind of thing it is.
        media_fd: File or socket that is open already, in the child's numbering; -1 where there is none.
        url: RTSP and multipart: address, with the user and password that the server asks for.
        tls_host: Name that the server's certificate must be for; None: no TLS.
        verify_tls: Whether the certificate is checked.
        device: Path of a V4L2 device.
        spool_fd: Uploads: file for those that must be whole before they can be decoded.
        options: For FFmpeg's demuxer.
        realtime: Whether a file plays at its own pace instead of as fast as it is taken.
        frame_rate_hz: Where the medium tells none.
        skip_frames: Frames of a file that were passed on already.
        take_luma: Whether true colour is taken by its luma instead of refused.
        max_pixels: Largest frame.
        max_spool_bytes: Largest spool file.
        memory_bytes: Largest address space of the child.
    """

    medium: MediumKind
    media_fd: int = -1
    url: str = ""
    tls_host: str | None = None
    verify_tls: bool = True
    device: str = ""
    spool_fd: int = -1
    options: dict[str, str] | None = None
    realtime: bool = False
    frame_rate_hz: float = 30.0
    skip_frames: int = 0
    take_luma: bool = False
    max_pixels: int = 2**25
    max_spool_bytes: int = 0
    memory_bytes: int = 2**30


@dataclass(frozen=True, slots=True)
class Opened:
    """The medium is open; frames follow.

    Attributes:
        container: Name of the demuxer.
        codec: Name of the decoder.
        frame_rate_hz: As the medium tells; None if it does not.
    """

    kind: ClassVar[bytes] = b"O"
    container: str
    codec: str
    frame_rate_hz: float | None


@dataclass(frozen=True, slots=True)
class FrameMessage:
    """A frame.

    Attributes:
        image: ``(H, W)``.
        captured_at: When its bytes arrived, or when it was due in a file that is played at its own pace, seconds since
            1970 (UTC).
        pts_s: Presentation time, seconds; None if the medium has none.
        damaged: Frames that this child has left out so far, because they did not arrive whole.
    """

    kind: ClassVar[bytes] = b"F"
    image: GrayImage
    captured_at: float
    pts_s: float | None
    damaged: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The medium is over."""

    kind: ClassVar[bytes] = b"E"


@dataclass(frozen=True, slots=True)
class Failed:
    """The medium cannot be read, or not any further.

    Attributes:
        reason: For programs.
        cause: For people, a clause: what was tried, and what came back.
    """

    kind: ClassVar[bytes] = b"X"
    reason: FailureReason
    cause: str


Message: TypeAlias = Opened | FrameMessage | Ended | Failed


def send_request(connection: socket.socket, request: Request) -> None:
    """Tell the child what to read."""
    _send(connection, b"R", asdict(request))


def receive_request(connection: socket.socket) -> Request:
    """Wait for what to read.

    Raises:
        EOFError: The parent is gone.
    """
    _, head = _receive_head(connection)
    return Request(**head)


def send_message(connection: socket.socket, message: Message) -> None:
    """Tell the parent.

    Raises:
        OSError: The parent does not listen any more.
    """
    if isinstance(message, FrameMessage):
        image = np.ascontiguousarray(message.image)
        head = {
            "height": image.shape[0],
            "width": image.shape[1],
            "dtype": image.dtype.name,
            "captured_at": message.captured_at,
            "pts_s": message.pts_s,
            "damaged": message.damaged,
        }
        _send(connection, message.kind, head)
        connection.sendall(image.data.cast("B"))
    elif isinstance(message, Failed):
        _send(connection, message.kind, {"reason": message.reason, "cause": message.cause[:MAX_TEXT]})
    elif isinstance(message, Opened):
        _send(connection, message.kind, asdict(message))
    else:
        _send(connection, message.kind, {})


def receive_message(connection: socket.socket, *, max_pixels: int) -> Message | None:
    """Wait for what the child says next.

    Args:
        connection: To the child; its timeout holds for every piece that arrives.
        max_pixels: Largest frame.

    Returns:
        None if the child has ended without a word, or in the middle of one.

    Raises:
        TimeoutError: Nothing came in time.
        WireError: What came is no message.
    """
    try:
        kind, head = _receive_head(connection)
        if kind == FrameMessage.kind:
            return _receive_frame(connection, head, max_pixels=max_pixels)
    except EOFError:
        return None
    if kind == Opened.kind:
        rate = head.get("frame_rate_hz")
        return Opened(_text(head, "container"), _text(head, "codec"), None if rate is None else _rate(rate))
    if kind == Failed.kind:
        return Failed(_reason(head.get("reason")), _text(head, "cause"))
    if kind == Ended.kind:
        return Ended()
    raise WireError(f"expected a message, got one of kind {kind!r}")


def _receive_frame(connection: socket.socket, head: dict[str, Any], *, max_pixels: int) -> FrameMessage:
    height, width, damaged = (_count(head.get(name)) for name in ("height", "width", "damaged"))
    if not 0 < height * width <= max_pixels:
        raise WireError(f"expected a frame of 1 to {max_pixels} pixels, got {width} x {height}")
    if head.get("dtype") not in ("uint8", "uint16"):
        raise WireError(f"expected a frame of uint8 or uint16, got {str(head.get('dtype'))[:40]!r}")
    pts_s = head.get("pts_s")
    shape = (height, width)
    image: GrayImage = np.empty(shape, np.uint8) if head["dtype"] == "uint8" else np.empty(shape, np.uint16)
    _receive_into(connection, image.data.cast("B"))
    return FrameMessage(
        image=image,
        captured_at=_number(head.get("captured_at")),
        pts_s=None if pts_s is None else _number(pts_s),
        damaged=damaged,
    )


def _send(connection: socket.socket, kind: bytes, head: dict[str, Any]) -> None:
    data = json.dumps(head).encode()
    connection.sendall(PREFIX.pack(kind, len(data)) + data)


def _receive_head(connection: socket.socket) -> tuple[bytes, dict[str, Any]]:
    kind, length = PREFIX.unpack(_receive(connection, PREFIX.size))
    if length > MAX_HEAD_BYTES:
        raise WireError(f"expected a head of up to {MAX_HEAD_BYTES} bytes, got {length}")
    try:
        head = json.loads(_receive(connection, length))
    except ValueError:
        raise WireError("expected a head in JSON") from None
    if not isinstance(head, dict):
        raise WireError(f"expected a head that is a JSON object, got {type(head).__name__}")
    return kind, head


def _receive(connection: socket.socket, length: int) -> bytes:
    data = bytearray(length)
    _receive_into(connection, memoryview(data))
    return bytes(data)


def _receive_into(connection: socket.socket, view: memoryview) -> None:
    """Fill a buffer.

    Raises:
        EOFError: The other side has ended.
    """
    while view:
        try:
            count = connection.recv_into(view)
        except ConnectionResetError:
            count = 0
        if count == 0:
            raise EOFError
        view = view[count:]


def _reason(value: object) -> FailureReason:
    if value in get_args(FailureReason):
        return cast(FailureReason, value)
    raise WireError(f"expected a reason, got {str(value)[:40]!r}")


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
        return value
    raise WireError(f"expected a count, got {str(value)[:40]!r}")


def _number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise WireError(f"expected a finite number, got {str(value)[:40]!r}")


def _rate(value: object) -> float:
    rate_hz = _number(value)
    if rate_hz > 0:
        return rate_hz
    raise WireError(f"expected a rate above 0, got {rate_hz}")


def _text(head: dict[str, Any], name: str) -> str:
    """Give a text on one line, as logs and status want it."""
    value = head.get(name)
    if not isinstance(value, str):
        raise WireError(f"expected {name} as text, got {str(value)[:40]!r}")
    return "".join(character if character.isprintable() else " " for character in value[:MAX_TEXT])
