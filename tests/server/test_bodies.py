"""What headers say about a body, reading it within limits, forms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import Message

from loddis_server.bodies import plan_body, read_body
from loddis_server.forms import boundary_of, frame_part
from loddis_server.problems import ProblemError
from support.frame_files import npy_file, png_file, raw_headers, spot_frame

FRAME = spot_frame((40, 30), dtype=np.uint16)
MAX_PIXELS = 2**20


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def plan_refusal(headers: Mapping[str, str]) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        plan_body(lower(headers), max_pixels=MAX_PIXELS)
    return caught.value


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "image/png"},
        {"Content-Type": "IMAGE/PNG; charset=binary"},
        {"Content-Type": "application/octet-stream"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Encoding": "identity"},
        {},
    ],
)
def test_a_file_may_be_declared_or_not(headers: dict[str, str]) -> None:
    reader = plan_body(lower(headers), max_pixels=MAX_PIXELS)(png_file(FRAME))
    np.testing.assert_array_equal(reader.read(), FRAME)
    assert not reader.is_quick


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_raw_pixels_are_described_by_headers(dtype: type[Any]) -> None:
    frame = spot_frame((40, 30), dtype=dtype)
    reader = plan_body(lower(raw_headers(frame)), max_pixels=MAX_PIXELS)(frame.tobytes())
    np.testing.assert_array_equal(reader.read(), frame)
    assert reader.is_quick


def test_raw_pixels_that_look_like_a_file_are_raw_pixels() -> None:
    frame = np.frombuffer(b"\x89PNG\r\n\x1a\n" * 8, dtype=np.uint8).reshape(8, 8)
    reader = plan_body(lower(raw_headers(frame)), max_pixels=MAX_PIXELS)(frame.tobytes())
    np.testing.assert_array_equal(reader.read(), frame)


def test_large_bodies_are_not_read_on_the_event_loop() -> None:
    frame = np.zeros((1024, 1024), np.uint16)
    assert not plan_body(lower(raw_headers(frame)), max_pixels=MAX_PIXELS)(frame.tobytes()).is_quick
    assert not plan_body({}, max_pixels=MAX_PIXELS)(npy_file(frame)).is_quick
    assert plan_body({}, max_pixels=MAX_PIXELS)(npy_file(FRAME)).is_quick


@pytest.mark.parametrize("text", ["-1", "0", "", "640.0", "wide", "1e9", "+5", " 5", "٣", "5" * 40])
def test_a_width_that_is_no_number_of_pixels_is_named(text: str) -> None:
    error = plan_refusal(raw_headers(FRAME) | {"X-Frame-Width": text})
    assert error.kind.slug == "bad-parameter"
    assert error.errors == [{"parameter": "X-Frame-Width", "message": f"must be a number of pixels, got {text!r}"}]


def test_every_missing_header_is_named() -> None:
    error = plan_refusal({"X-Frame-Dtype": "int32"})
    assert error.errors is not None
    assert [fault["parameter"] for fault in error.errors] == ["X-Frame-Width", "X-Frame-Height", "X-Frame-Dtype"]
    assert "must be uint8, uint16, float32; got 'int32'" in error.detail


def test_too_many_raw_pixels_are_refused_by_their_headers() -> None:
    error = plan_refusal(raw_headers(FRAME) | {"X-Frame-Width": "999999999", "X-Frame-Height": "999999999"})
    assert error.kind.slug == "frame-too-large"


@pytest.mark.parametrize("change", [-1, 1, 2])
def test_raw_pixels_of_another_size_are_refused(change: int) -> None:
    body = (FRAME.tobytes() + bytes(8))[: FRAME.nbytes + change]
    reader = plan_body(lower(raw_headers(FRAME)), max_pixels=MAX_PIXELS)(body)
    with pytest.raises(ProblemError, match=f"96 x 64 uint16 takes 12288 bytes, got {len(body)}") as caught:
        reader.read()
    assert caught.value.kind.slug == "bad-frame"


@pytest.mark.parametrize(
    ("headers", "cause"),
    [
        ({"Content-Type": "application/json"}, "got Content-Type application/json"),
        ({"Content-Type": "image/webp"}, "expected image/png, image/jpeg, image/tiff, image/x-portable-graymap"),
        ({"Content-Type": "image/png", "Content-Encoding": "gzip"}, "Content-Encoding gzip is not supported"),
    ],
)
def test_other_types_are_refused_by_name(headers: dict[str, str], cause: str) -> None:
    error = plan_refusal(headers)
    assert error.kind.slug == "unsupported-media"
    assert cause in error.detail


class Body:
    """A body that arrives in pieces, and counts how many were taken."""

    def __init__(self, *chunks: bytes, leaves: bool = False) -> None:
        self.taken = 0
        self._messages = self._stream(chunks, leaves)

    async def _stream(self, chunks: tuple[bytes, ...], leaves: bool) -> AsyncIterator[Message]:
        for index, chunk in enumerate(chunks):
            self.taken += 1
            yield {"type": "http.request", "body": chunk, "more_body": leaves or index < len(chunks) - 1}
        yield {"type": "http.disconnect"}

    async def receive(self) -> Message:
        return await anext(self._messages)


def read(body: Body, *, length: str | None = None, max_bytes: int = 10) -> bytes:
    headers = {} if length is None else {"content-length": length}
    return asyncio.run(read_body(body.receive, headers, max_bytes=max_bytes))


def test_a_body_arrives_in_one_piece() -> None:
    assert read(Body(b"1234", b"", b"567890"), length="10") == b"1234567890"


@pytest.mark.parametrize("length", ["11", "9" * 5000])
def test_a_body_that_says_it_is_too_large_is_not_read(length: str) -> None:
    body = Body(b"12345678901")
    with pytest.raises(ProblemError, match="up to 10 bytes") as caught:
        read(body, length=length)
    assert caught.value.kind.slug == "body-too-large"
    assert body.taken == 0


@pytest.mark.parametrize("length", [None, "3"])
def test_a_body_that_turns_out_too_large_is_read_no_further(length: str | None) -> None:
    body = Body(b"123456", b"123456", b"123456", b"123456")
    with pytest.raises(ProblemError) as caught:
        read(body, length=length)
    assert caught.value.kind.slug == "body-too-large"
    assert body.taken == 2


@pytest.mark.parametrize("length", ["many", "-5", "٣"])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(ProblemError) as caught:
        read(Body(b"1"), length=length)
    assert caught.value.kind.slug == "malformed-request"


def test_an_empty_body_is_refused() -> None:
    with pytest.raises(ProblemError) as caught:
        read(Body(b"", b""))
    assert caught.value.kind.slug == "empty-body"


def test_whoever_leaves_during_the_upload_gets_no_answer() -> None:
    with pytest.raises(ClientDisconnect):
        read(Body(b"123", leaves=True))


def form(*parts: tuple[str, bytes], boundary: str = "limit", end: str = "--\r\n") -> bytes:
    body = b""
    for head, data in parts:
        body += f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n"
    return body + f"--{boundary}{end}".encode()


HEAD = 'Content-Disposition: form-data; name="frame"; filename="a.png"'


@given(st.binary(min_size=1, max_size=200))
def test_a_part_keeps_its_bytes(data: bytes) -> None:
    part = frame_part(form((HEAD, data), boundary="0f3c9a77b1"), b"0f3c9a77b1")
    assert part.data == data


@given(st.binary(max_size=300))
def test_a_form_of_noise_is_a_problem(noise: bytes) -> None:
    with pytest.raises(ProblemError):
        frame_part(noise, b"limit")


def read_form(body: bytes, headers: Mapping[str, str] | None = None) -> Any:
    content_type = {"content-type": "multipart/form-data; boundary=limit"}
    return plan_body({**content_type, **lower(headers or {})}, max_pixels=MAX_PIXELS)(body).read()


def test_a_part_is_a_body_of_its_own() -> None:
    described = "".join(f"\r\n{name}: {value}" for name, value in raw_headers(FRAME).items())
    raw = {name: value for name, value in raw_headers(FRAME).items() if name != "Content-Type"}
    np.testing.assert_array_equal(read_form(form((HEAD, png_file(FRAME)))), FRAME)
    np.testing.assert_array_equal(read_form(form((HEAD + described, FRAME.tobytes()))), FRAME)
    np.testing.assert_array_equal(read_form(form((HEAD, FRAME.tobytes())), raw), FRAME)


def test_a_large_form_is_taken_apart_later() -> None:
    frame = np.zeros((1024, 1024), np.uint16)
    headers = {"content-type": "multipart/form-data; boundary=limit"}
    reader = plan_body(headers, max_pixels=MAX_PIXELS)(form((HEAD, npy_file(frame))))
    assert not reader.is_quick
    np.testing.assert_array_equal(reader.read(), frame)


WRONG_FORMS: dict[str, tuple[bytes, str, str]] = {
    "no parts": (form(), "bad-parameter", "got none"),
    "another name": (form((HEAD.replace("frame", "file"), b"x")), "bad-parameter", "got 'file'"),
    "no name": (form(("Content-Type: image/png", b"x")), "bad-parameter", "got ''"),
    "two parts": (form((HEAD, b"x"), (HEAD, b"y")), "bad-parameter", "got several"),
    "cut off": (form((HEAD, png_file(FRAME)))[:-60], "malformed-request", "before its closing boundary"),
    "not closed": (form((HEAD, b"x"), end=""), "malformed-request", "before its closing boundary"),
    "no form": (b"hello", "malformed-request", "malformed"),
    "empty part": (form((HEAD, b"")), "empty-body", "got 0 bytes"),
    "mislabelled": (form((HEAD + "\r\nContent-Type: image/jpeg", png_file(FRAME))), "unsupported-media", "is PNG"),
    "form in a form": (
        form((HEAD + "\r\nContent-Type: multipart/form-data; boundary=x", b"x")),
        "unsupported-media",
        "cannot be a form itself",
    ),
    "huge header": (form((HEAD + "x" * 9000, b"x")), "malformed-request", "header"),
}


@pytest.mark.parametrize("name", WRONG_FORMS)
def test_a_wrong_form_is_refused(name: str) -> None:
    body, slug, cause = WRONG_FORMS[name]
    with pytest.raises(ProblemError) as caught:
        read_form(body)
    assert caught.value.kind.slug == slug
    assert cause in caught.value.detail


def test_a_form_without_a_boundary_is_refused() -> None:
    with pytest.raises(ProblemError, match="names no boundary"):
        boundary_of("multipart/form-data")
