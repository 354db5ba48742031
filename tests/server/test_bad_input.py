"""Everything a client can get wrong, over real HTTP: the cause is named, and the server goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from loddis_server.schemas import ProblemDocument
from support.frame_files import (
    jpeg_file,
    npy_file,
    pgm_file,
    png_file,
    png_from_rows,
    raw_headers,
    spot_frame,
    tiff_file,
)

FRAME = spot_frame((40, 30))
PNG = png_file(FRAME)
COLOUR = np.dstack([FRAME, spot_frame((70, 20)), FRAME])
NAN = np.where(spot_frame((40, 30), dtype=np.float32) > 0.5, np.nan, 0.5).astype(np.float32)
RAW = raw_headers(FRAME)


@pytest.fixture(autouse=True)
def _still_detects(http: httpx.Client) -> Iterator[None]:
    yield
    response = http.post("/v1/detect", content=PNG)
    assert response.status_code == 200, response.text
    assert len(response.json()["detections"]) == 1


def declared(media_type: str) -> dict[str, str]:
    return {"Content-Type": media_type}


REFUSED: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "no body": ({"content": b""}, 400, "empty-body", "got 0 bytes"),
    "no body, declared": ({"content": b"", "headers": declared("image/png")}, 400, "empty-body", "got 0 bytes"),
    "half a PNG": ({"content": PNG[: len(PNG) // 2]}, 422, "truncated-image", "the PNG ends too early"),
    "half a JPEG": ({"content": jpeg_file(FRAME)[:-200]}, 422, "truncated-image", "the JPEG ends too early"),
    "half a TIFF": ({"content": tiff_file(FRAME)[:-200]}, 422, "truncated-image", "the TIFF ends too early"),
    "half a PGM": ({"content": pgm_file(FRAME)[:-200]}, 422, "truncated-image", "the PGM ends too early"),
    "half a .npy": ({"content": npy_file(FRAME)[:-200]}, 422, "truncated-image", "the .npy file ends too early"),
    "JPEG as PNG": (
        {"content": jpeg_file(FRAME), "headers": declared("image/png")},
        415,
        "unsupported-media",
        "the Content-Type says image/png, the body is JPEG",
    ),
    "text as PNG": ({"content": b"hello", "headers": declared("image/png")}, 415, "unsupported-media", "no format"),
    "JSON": ({"json": {"frame": [1, 2]}}, 415, "unsupported-media", "got Content-Type application/json"),
    "compressed": (
        {"content": PNG, "headers": {"Content-Encoding": "gzip"}},
        415,
        "unsupported-media",
        "Content-Encoding gzip",
    ),
    "one pixel": ({"content": png_file(np.zeros((1, 1), np.uint8))}, 422, "bad-frame", "got 1 x 1"),
    "400 million pixels": (
        {"content": png_from_rows(20_000, 20_000, b"\0" * 1000)},
        413,
        "frame-too-large",
        "20000 x 20000 are 400000000 pixels",
    ),
    "true colour": ({"content": png_file(COLOUR)}, 422, "true-colour", "send one infrared channel"),
    "true colour JPEG": ({"content": jpeg_file(COLOUR)}, 422, "true-colour", "channels differ"),
    "NaN": ({"content": npy_file(NAN)}, 422, "bad-frame", "NaN"),
    "raw NaN": ({"content": NAN.tobytes(), "headers": raw_headers(NAN)}, 422, "bad-frame", "NaN"),
    "float levels of a 16-bit camera": (
        {"content": npy_file(FRAME.astype(np.float32))},
        422,
        "bad-frame",
        "float frames must be in [0, 1] unless the bundle sets limits, got 64 to 203",
    ),
    "raw, too short": (
        {"content": FRAME.tobytes()[:-1], "headers": RAW},
        422,
        "bad-frame",
        "takes 6144 bytes, got 6143",
    ),
    "raw, too long": ({"content": FRAME.tobytes() + b"x", "headers": RAW}, 422, "bad-frame", "got 6145"),
    "raw, negative": (
        {"content": b"x", "headers": {**RAW, "X-Frame-Width": "-1"}},
        422,
        "bad-parameter",
        "X-Frame-Width",
    ),
    "raw, huge": (
        {"content": b"x", "headers": {**RAW, "X-Frame-Width": "999999999", "X-Frame-Height": "999999999"}},
        413,
        "frame-too-large",
        "999999999 x 999999999",
    ),
    "raw, exponent": ({"content": b"x", "headers": {**RAW, "X-Frame-Width": "1e9"}}, 422, "bad-parameter", "got '1e9'"),
    "raw, in words": ({"content": b"x", "headers": {**RAW, "X-Frame-Width": "wide"}}, 422, "bad-parameter", "'wide'"),
    "raw, other dtype": (
        {"content": b"x", "headers": {**RAW, "X-Frame-Dtype": "int64"}},
        422,
        "bad-parameter",
        "int64",
    ),
    "raw, half described": (
        {"content": b"x", "headers": {"X-Frame-Width": "96"}},
        422,
        "bad-parameter",
        "X-Frame-Height is required",
    ),
    "raw, undescribed": (
        {"content": FRAME.tobytes(), "headers": declared("application/octet-stream")},
        415,
        "unsupported-media",
        "raw pixels with X-Frame-Width",
    ),
    "unknown model": ({"content": PNG, "params": {"model": "nope"}}, 404, "unknown-model", "there is: spot:1"),
    "unknown version": ({"content": PNG, "params": {"model": "spot:7"}}, 404, "unknown-model", "'spot:7'"),
    "half a reference": ({"content": PNG, "params": {"model": "spot:"}}, 404, "unknown-model", "'spot:'"),
    "model as a path": ({"content": PNG, "params": {"model": "../../etc"}}, 404, "unknown-model", "'../../etc'"),
    "threshold above 1": ({"content": PNG, "params": {"score_threshold": 1.5}}, 422, "bad-parameter", "got '1.5'"),
    "threshold in words": ({"content": PNG, "params": {"score_threshold": "high"}}, 422, "bad-parameter", "got 'high'"),
    "threshold NaN": ({"content": PNG, "params": {"score_threshold": "nan"}}, 422, "bad-parameter", "score_threshold"),
    "no detections": ({"content": PNG, "params": {"max_detections": 0}}, 422, "bad-parameter", "max_detections"),
    "return as words": ({"content": PNG, "params": {"return": "xml"}}, 422, "bad-parameter", "'json' or 'image'"),
    "misspelt": ({"content": PNG, "params": {"score_treshold": 0.5}}, 422, "bad-parameter", "no such parameter"),
    "repeated": (
        {"content": PNG, "params": [("score_threshold", "0.1"), ("score_threshold", "0.9")]},
        422,
        "bad-parameter",
        "score_threshold: it is there 2 times, expected once",
    ),
    "index of no stream": ({"content": PNG, "headers": {"X-Frame-Index": "3"}}, 422, "bad-parameter", "is required"),
    "form with another name": ({"files": {"file": PNG}}, 422, "bad-parameter", "expected one part named 'frame'"),
    "form without a file": ({"files": {"frame": b""}}, 400, "empty-body", "got 0 bytes"),
    "form that is none": (
        {"content": b"x", "headers": declared("multipart/form-data; boundary=b")},
        400,
        "malformed-request",
        "malformed",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_answer_names_the_cause(http: httpx.Client, name: str) -> None:
    request, status, slug, cause = REFUSED[name]
    response = http.post("/v1/detect", **request)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = ProblemDocument.model_validate_json(response.content)
    assert problem.type == f"/problems/{slug}"
    assert problem.status == status
    assert problem.instance == "/v1/detect"
    assert problem.request_id == response.headers["x-request-id"]
    assert cause in problem.detail
    assert (problem.errors is not None) == (slug == "bad-parameter")
    described = http.get(problem.type).json()
    assert described["slug"] == slug
    assert described["title"] == problem.title
    assert described["remedy"]


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nope", 404, "not-found"),
        ("POST", "/v1/detect/", 404, "not-found"),
        ("GET", "/problems/nope", 404, "not-found"),
        ("GET", "/v1/models/nope", 404, "unknown-model"),
        ("GET", "/v1/models/spot/2", 404, "unknown-model"),
        ("GET", "/v1/detect", 405, "method-not-allowed"),
        ("DELETE", "/v1/models", 405, "method-not-allowed"),
        ("BREW", "/v1/detect", 400, "malformed-request"),
    ],
)
def test_the_frameworks_errors_are_problems_too(
    http: httpx.Client, method: str, path: str, status: int, slug: str
) -> None:
    response = http.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = ProblemDocument.model_validate_json(response.content)
    assert problem.type == f"/problems/{slug}"
    if status == 405:
        assert response.headers["allow"]


def test_a_wrong_method_is_told_all_that_the_path_takes(http: httpx.Client) -> None:
    assert http.put("/v1/streams").headers["allow"] == "GET, POST"
    assert http.put("/v1/streams/mast-3").headers["allow"] == "DELETE, GET"


def test_every_fault_of_a_request_is_listed(http: httpx.Client) -> None:
    response = http.post("/v1/detect", content=PNG, params={"score_threshold": 2, "max_detections": "x", "what": 1})
    assert {fault["parameter"] for fault in response.json()["errors"]} == {"score_threshold", "max_detections", "what"}
