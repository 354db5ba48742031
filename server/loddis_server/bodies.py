"""What a request's headers say about its body, reading it within limits, and the frame in it.

First the headers (`plan_body`), so that what can be refused is refused before the body comes; then the bytes
(`read_body`); then a reader of the frame, which runs where there is time for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import NamedTuple, TypeAlias

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from loddis_runtime.frames import Frame
from loddis_server.decoding import FORMATS, check_size, count_values, decode_file, decode_raw, format_of
from loddis_server.forms import Part, boundary_of, frame_part
from loddis_server.images.raw import RAW_HEADERS
from loddis_server.images.raw import read_header as read_raw_header
from loddis_server.problems import BODY_TOO_LARGE, EMPTY_BODY, MALFORMED_REQUEST, UNSUPPORTED_MEDIA, ProblemError

__all__ = [
    "MULTIPART",
    "QUICK_BYTES",
    "BodyPlan",
    "FrameReader",
    "plan_body",
    "read_body",
    "read_part",
    "reader_of_pixels",
]

QUICK_BYTES = 2**20  # bodies that are looked at on the event loop: well under a millisecond

OCTETS = "application/octet-stream"
MULTIPART = "multipart/form-data"
# Declares nothing: absent, or what tools send unasked (`curl --data-binary`).
UNDECLARED = frozenset({"", OCTETS, "binary/octet-stream", "application/x-www-form-urlencoded"})
IMAGE_TYPES = frozenset(media_type for known in FORMATS for media_type in known.media_types)


class FrameReader(NamedTuple):
    """A way to the frame in a body.

    Attributes:
        read: Gives the frame, or raises `ProblemError`.
        is_quick: Whether that takes well under a millisecond.
        count_values: Gives how many values have to be decoded for it, as the header says, or raises `ProblemError`; 0
            where the body is no more than the pixels.
    """

    read: Callable[[], Frame]
    is_quick: bool
    count_values: Callable[[], int] = int


BodyPlan: TypeAlias = Callable[[bytes], FrameReader]


def reader_of_pixels(frame: Frame) -> FrameReader:
    """Give the reader of a frame ``(H, W)`` that is decoded already; a large one still takes its time to prepare."""
    return FrameReader(lambda: frame, is_quick=frame.nbytes <= QUICK_BYTES)


def plan_body(headers: Mapping[str, str], *, max_pixels: int) -> BodyPlan:
    """Decide by its headers what to make of a body.

    Args:
        headers: Of the request, by names in lower case.
        max_pixels: Largest frame.

    Returns:
        What makes a reader of the body.

    Raises:
        ProblemError: A type that is not supported, raw pixels that are not described or too many.
    """
    content_type = headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise ProblemError(
            UNSUPPORTED_MEDIA, f"the Content-Encoding {encoding[:40]} is not supported; send it as it is"
        )
    if media_type == MULTIPART:
        return partial(_read_form, headers=headers, boundary=boundary_of(content_type), max_pixels=max_pixels)
    if media_type in UNDECLARED:
        if any(name in headers for name in RAW_HEADERS):
            header = read_raw_header(headers)
            check_size(header, max_pixels=max_pixels)
            return lambda body: FrameReader(partial(decode_raw, body, header), is_quick=len(body) <= QUICK_BYTES)
        return partial(_read_file, declared=None, max_pixels=max_pixels)
    if media_type in IMAGE_TYPES:
        return partial(_read_file, declared=media_type, max_pixels=max_pixels)
    expected = ", ".join(known.media_types[0] for known in FORMATS)
    raise ProblemError(
        UNSUPPORTED_MEDIA, f"expected {expected}, {OCTETS} or {MULTIPART}, got Content-Type {media_type[:80]}"
    )


async def read_body(receive: Receive, headers: Mapping[str, str], *, max_bytes: int) -> bytes:
    """Read a body, no more of it than the limit.

    Args:
        receive: Of the request.
        headers: Of the request, by names in lower case.
        max_bytes: Largest body.

    Raises:
        ProblemError: It is empty, or larger; if a header says so, nothing is read.
        ClientDisconnect: The other side left.
    """
    declared = headers.get("content-length")
    if declared is not None:
        if not declared.isascii() or not declared.isdigit():
            raise ProblemError(MALFORMED_REQUEST, f"the Content-Length must be a number, got {declared[:40]!r}")
        if len(declared) > 15 or int(declared) > max_bytes:
            raise _too_large(f"{declared[:40]} bytes", max_bytes)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise _too_large("more", max_bytes)
        chunks.append(chunk)
        more = message.get("more_body", False)
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if not body:
        raise ProblemError(EMPTY_BODY, "expected a body, got 0 bytes")
    return body


def _too_large(came: str, max_bytes: int) -> ProblemError:
    return ProblemError(BODY_TOO_LARGE, f"this server takes bodies of up to {max_bytes} bytes, got {came}")


def _read_file(body: bytes, *, declared: str | None, max_pixels: int) -> FrameReader:
    """Give the reader of a body that is a file."""
    kind = format_of(body, declared)
    if kind.quick and len(body) <= QUICK_BYTES:
        return FrameReader(partial(decode_file, body, kind, max_pixels=max_pixels), is_quick=True)
    return FrameReader(
        partial(decode_file, body, kind, max_pixels=max_pixels),
        is_quick=False,
        count_values=partial(count_values, body, kind, max_pixels=max_pixels),
    )


def _read_form(body: bytes, *, headers: Mapping[str, str], boundary: bytes, max_pixels: int) -> FrameReader:
    """Give the reader of a form's part, which is taken as a body of its own; large forms are taken apart later."""

    @cache
    def reader() -> FrameReader:
        return read_part(frame_part(body, boundary), headers=headers, max_pixels=max_pixels)

    if len(body) <= QUICK_BYTES:
        return reader()
    return FrameReader(lambda: reader().read(), is_quick=False, count_values=lambda: reader().count_values())


def read_part(part: Part, *, headers: Mapping[str, str], max_pixels: int) -> FrameReader:
    """Give the reader of a part of a form, as if it were a body of its own.

    Args:
        part: Of the form.
        headers: Of the request; they may describe raw pixels, unless those of the part do.
        max_pixels: Largest frame.

    Raises:
        ProblemError: As `plan_body` and its plans; or the part is empty, or a form itself.
    """
    if not part.data:
        raise ProblemError(EMPTY_BODY, "expected a frame in the form, got 0 bytes")
    described = {name: headers[name] for name in RAW_HEADERS if name in headers}
    own = {name: part.headers[name] for name in (*RAW_HEADERS, "content-type") if name in part.headers}
    if own.get("content-type", "").partition(";")[0].strip().lower() == MULTIPART:
        raise ProblemError(UNSUPPORTED_MEDIA, "a part of a form cannot be a form itself")
    return plan_body(described | own, max_pixels=max_pixels)(part.data)
