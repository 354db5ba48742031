"""Multipart bodies: the one part that is a frame. They are in memory already, within the limit of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from loddis_server.problems import BAD_PARAMETER, MALFORMED_REQUEST, ProblemError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["PART_NAME", "Part", "boundary_of", "frame_part"]

PART_NAME = "frame"
MAX_PART_HEADER_BYTES = 8192


class Part(NamedTuple):
    """A part of a form.

    Attributes:
        headers: In lower case.
        data: Its content.
    """

    headers: Mapping[str, str]
    data: bytes


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
    collector = _Collector()
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise ProblemError(MALFORMED_REQUEST, f"the multipart body is malformed: {error}") from None
    if not collector.is_complete:
        raise ProblemError(MALFORMED_REQUEST, "the multipart body ends before its closing boundary")
    names = [name for name, _ in collector.parts]
    if names != [PART_NAME]:
        came = ", ".join(repr(name[:40]) for name in names) or "none"
        raise ProblemError(
            BAD_PARAMETER,
            f"expected one part named {PART_NAME!r}, got {came}",
            errors=[{"parameter": PART_NAME, "message": f"expected one part of this name, got {came}"}],
        )
    return collector.parts[0][1]


class _Collector:
    """Gathers the parts that the parser reports."""

    def __init__(self) -> None:
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
        if self.parts:
            raise ProblemError(BAD_PARAMETER, f"expected one part named {PART_NAME!r}, got several")
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
        self.parts.append((name, Part(self._headers, b"".join(self._data))))

    def _end(self) -> None:
        self.is_complete = True
