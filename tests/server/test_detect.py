"""`POST /v1/detect` over real HTTP: every kind of body, every parameter, the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

import loddis_runtime
from loddis_server.schemas import DetectResponse
from support.frame_files import jpeg_file, npy_file, pgm_file, png_file, raw_headers, spot_frame, tiff_file
from support.live_server import LiveServer, settings_for

SPOT_XY = (40.3, 30.6)
FRAME8 = spot_frame(SPOT_XY)
FRAME16 = spot_frame(SPOT_XY, dtype=np.uint16)
FRAME32 = spot_frame(SPOT_XY, dtype=np.float32)

BODIES: dict[str, tuple[bytes, dict[str, str], str]] = {
    "png": (png_file(FRAME16), {"Content-Type": "image/png"}, "uint16"),
    "jpeg": (jpeg_file(FRAME8), {"Content-Type": "image/jpeg"}, "uint8"),
    "tiff": (tiff_file(FRAME32), {"Content-Type": "image/tiff"}, "float32"),
    "pgm": (pgm_file(FRAME16), {"Content-Type": "image/x-portable-graymap"}, "uint16"),
    "npy": (npy_file(FRAME32), {"Content-Type": "application/x-npy"}, "float32"),
    "undeclared": (png_file(FRAME8), {}, "uint8"),
    "octets": (tiff_file(FRAME16), {"Content-Type": "application/octet-stream"}, "uint16"),
    "curl's own type": (png_file(FRAME8), {"Content-Type": "application/x-www-form-urlencoded"}, "uint8"),
    "raw 8": (FRAME8.tobytes(), raw_headers(FRAME8), "uint8"),
    "raw 16": (FRAME16.tobytes(), raw_headers(FRAME16), "uint16"),
    "raw 32": (FRAME32.tobytes(), raw_headers(FRAME32), "float32"),
}


@pytest.mark.parametrize("name", BODIES)
def test_every_kind_of_body_is_detected_on(http: httpx.Client, name: str) -> None:
    body, headers, dtype = BODIES[name]
    response = http.post("/v1/detect", content=body, headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    answer = DetectResponse.model_validate_json(response.content)
    assert answer.model.model_dump() == {"name": "spot", "version": "1"}
    assert answer.frame.model_dump() == {"width": 96, "height": 64, "dtype": dtype}
    (detection,) = answer.detections
    assert detection.centroid_xy == pytest.approx(SPOT_XY, abs=0.1)
    assert detection.class_name == "target"
    assert detection.score > 0.5
    x1, y1, x2, y2 = detection.box_xyxy
    assert x1 < SPOT_XY[0] < x2
    assert y1 < SPOT_XY[1] < y2


def test_a_form_is_detected_on(http: httpx.Client) -> None:
    response = http.post("/v1/detect", files={"frame": ("frame.tiff", tiff_file(FRAME16), "image/tiff")})
    assert response.status_code == 200, response.text
    assert len(response.json()["detections"]) == 1


def test_the_answer_is_that_of_the_runtime(http: httpx.Client, spot_bundle: Path) -> None:
    frame = spot_frame((20.2, 15.1), (70.8, 40.4), size_hw=(128, 192), dtype=np.uint16, sigma_px=2.0)
    with loddis_runtime.load(spot_bundle, threads=1) as detector:
        expected = detector.detect(frame)
    answer = http.post("/v1/detect", content=frame.tobytes(), headers=raw_headers(frame)).json()
    assert answer["detections"] == expected.to_records()
    assert len(expected) == 2


def test_a_frame_without_targets_has_no_detections(http: httpx.Client) -> None:
    answer = http.post("/v1/detect", content=png_file(spot_frame())).json()
    assert answer["detections"] == []


def test_the_threshold_and_the_limit_are_those_of_the_request(http: httpx.Client) -> None:
    frame = spot_frame((20, 15), (70, 40), (50, 50))
    body = png_file(np.where(frame > 100, frame // 2 + 40, frame).astype(np.uint8))

    def scores(**parameters: Any) -> list[float]:
        answer = http.post("/v1/detect", content=body, params=parameters).json()
        return [detection["score"] for detection in answer["detections"]]

    everything = scores(score_threshold=0)
    assert len(everything) >= 3
    assert everything == sorted(everything, reverse=True)
    assert scores(score_threshold=0, max_detections=2) == everything[:2]
    assert scores(score_threshold=1.0) == []


@pytest.mark.parametrize("reference", ["spot", "spot:1", "spot/1"])
def test_a_model_is_named_with_or_without_version(http: httpx.Client, reference: str) -> None:
    response = http.post("/v1/detect", content=png_file(FRAME8), params={"model": reference})
    assert response.json()["model"] == {"name": "spot", "version": "1"}


def test_a_picture_shows_the_detections(http: httpx.Client) -> None:
    response = http.post("/v1/detect", content=png_file(FRAME16), params={"return": "image"})
    assert response.headers["content-type"] == "image/png"
    assert "render;dur=" in response.headers["server-timing"]
    picture = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    assert picture.shape == (128, 192, 3)
    assert np.ptp(picture.astype(int), axis=2).max() > 50  # marks in colour


def test_a_picture_too_long_to_be_drawn_is_refused_and_detected_on(
    repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    frame = np.zeros((8, 1_000_001), np.uint8)
    limits = {"max_frame_pixels": frame.size, "max_body_bytes": frame.size}
    with (
        LiveServer(settings_for(repository, **limits)) as server,
        httpx.Client(base_url=server.url, timeout=30, trust_env=False) as http,
    ):
        request: dict[str, Any] = {"content": frame.tobytes(), "headers": raw_headers(frame)}
        problem = http.post("/v1/detect", params={"return": "image"}, **request)
        assert http.post("/v1/detect", **request).status_code == 200
    assert problem.status_code == 422
    assert problem.json()["type"] == "/problems/bad-parameter"
    assert "1000001 x 8 pixels cannot be drawn; ask for JSON" in problem.json()["detail"]
    assert "libpng" not in capfd.readouterr().err


def test_time_is_accounted_for(http: httpx.Client) -> None:
    response = http.post("/v1/detect", content=png_file(FRAME8))
    timing = response.json()["timing_ms"]
    stages = {"decode", "queue", "prepare", "infer", "finish"}
    assert set(timing) == {*stages, "total"}
    assert all(value >= 0 for value in timing.values())
    assert sum(timing[stage] for stage in stages) <= timing["total"] + 0.01
    shown = dict(entry.split(";dur=") for entry in response.headers["server-timing"].split(", "))
    assert set(shown) == {*stages, "receive", "total"}
    assert float(shown["infer"]) == pytest.approx(timing["infer"], abs=0.001)


@pytest.mark.parametrize("request_id", ["abc-123", "00-4bf92f3577b34da6a3ce929d0e0e4736-00", "a" * 128])
def test_a_request_id_comes_back(http: httpx.Client, request_id: str) -> None:
    response = http.post("/v1/detect", content=png_file(FRAME8), headers={"X-Request-Id": request_id})
    assert response.headers["x-request-id"] == response.json()["request_id"] == request_id


@pytest.mark.parametrize("request_id", ["", "a b", "<script>", "a" * 129, "é"])
def test_an_odd_request_id_is_replaced(http: httpx.Client, request_id: str) -> None:
    headers = [(b"X-Request-Id", request_id.encode("latin-1"))]
    response = http.post("/v1/detect", content=png_file(FRAME8), headers=headers)
    assert response.status_code == 200
    assert len(response.headers["x-request-id"]) == 32
    assert response.headers["x-request-id"] == response.json()["request_id"]


def test_a_body_in_chunks_needs_no_length(http: httpx.Client) -> None:
    body = png_file(FRAME16)
    response = http.post("/v1/detect", content=(body[start : start + 100] for start in range(0, len(body), 100)))
    assert response.status_code == 200
    assert len(response.json()["detections"]) == 1


def test_cross_origin_scripts_get_no_permission(http: httpx.Client) -> None:
    response = http.post("/v1/detect", content=png_file(FRAME8), headers={"Origin": "https://example.org"})
    assert not [name for name in response.headers if name.startswith("access-control-")]


def test_frames_of_the_largest_size_are_taken(http: httpx.Client, live: LiveServer) -> None:
    frame = np.zeros((1024, 1024), np.uint8)
    assert frame.size == live.service.settings.max_frame_pixels
    assert http.post("/v1/detect", content=frame.tobytes(), headers=raw_headers(frame)).status_code == 200
