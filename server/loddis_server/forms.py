"""Multipart bodies: the parts that are frames. They are in memory already, within the limit of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from loddis_server.problems import BAD_PARAMETER, MALFORMED_REQUEST, ProblemError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["PART_NAME", "Part", "boundary_of", "frame_part", "frame_parts"]

PART_NAME = "frame"
MAX_PART_HEADER_BYTES = 8192


class Part(NamedTuple):
    """A part of a form.

    Attributes:
        headers: In lower case.
        data: Its content.
        file_name: As its header says, if it does.
    """

    headers: Mapping[str, str]
    data: bytes
    file_name: str | None = None


def boundary_of(content_type: str) -> bytes:
    """Give the boundary that a header `Content-Type: multipart/form-data` names.

    Raises:
        ProblemError: It names none.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise ProblemError(MALFORMED_REQUEST, "the Content-Type multipart/form-data names no boundary")
    return boundary


def frame_part(body: bytes, boundary: bytes) -> Part:
    """Give the part `frame` of a form, which must be its only one.

    Raises:
        ProblemError: The form is malformed, has no such part, or others beside it.
    """
    return frame_parts(body, boundary, limit=1)[0]


def frame_parts(body: bytes, boundary: bytes, *, limit: int) -> list[Part]:
    """Give the parts of a form, each of them called `frame`.

    Args:
        body: The form.
        boundary: Between its parts.
        limit: Most parts.

    Raises:
        ProblemError: The form is malformed, has no such part, more of them than the limit, or others beside them.
    """
    collector = _Collector(limit)
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise ProblemError(MALFORMED_REQUEST, f"the multipart body is malformed: {error}") from None
    if not collector.is_complete:
        raise ProblemError(MALFORMED_REQUEST, "the multipart body ends before its closing boundary")
    names = [name for name, _ in collector.parts]
    if not names or set(names) != {PART_NAME}:
        came = ", ".join(repr(name[:40]) for name in names) or "none"
        raise _other_parts(_wanted(limit), came)
    return [part for _, part in collector.parts]


def _wanted(limit: int) -> str:
    return f"one part named {PART_NAME!r}" if limit == 1 else f"1 to {limit} parts named {PART_NAME!r}"


def _other_parts(wanted: str, came: str) -> ProblemError:
    errors = [{"parameter": PART_NAME, "message": f"expected {wanted}, got {came}"}]
    return ProblemError(BAD_PARAMETER, f"expected {wanted}, got {came}", errors=errors)


class _Collector:
    """Gathers the parts that the parser reports."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.parts: list[tuple[str, Part]] = []
        self.is_complete = False
        self._headers: dict[str, str] = {}
        self._field = b""
        self._value = b""
        self._data: list[bytes] = []

    def callbacks(self) -> MultipartCallbacks:
        """Give what the parser is to call."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_to_field,
            "on_header_value": self._add_to_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        if len(self.parts) >= self._limit:
            raise _other_parts(_wanted(self._limit), "several" if self._limit == 1 else "more")
        self._headers, self._data = {}, []

    def _add_to_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        if len(self._value) > MAX_PART_HEADER_BYTES:
            raise ProblemError(MALFORMED_REQUEST, f"a header of a part has more than {MAX_PART_HEADER_BYTES} bytes")

    def _end_header(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._field = self._value = b""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def _end_part(self) -> None:
        options = parse_options_header(self._headers.get("content-disposition", ""))[1]
        name = options.get(b"name", b"").decode("utf-8", errors="replace")
        file_name = options.get(b"filename")
        shown = None if file_name is None else file_name.decode("utf-8", errors="replace")
        self.parts.append((name, Part(self._headers, b"".join(self._data), shown)))

    def _end(self) -> None:
        self.is_complete = True
