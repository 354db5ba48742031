"""Models, metrics, OpenAPI, probes."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from loddis_runtime.manifest import Manifest
from loddis_server import service as service_module
from loddis_server.problems import CATALOGUE, ProblemError, ProblemType, problem_response
from support.frame_files import png_file, spot_frame
from support.live_server import LiveServer, settings_for

PNG = png_file(spot_frame((40, 30)))


def test_the_models_are_listed(http: httpx.Client) -> None:
    (model,) = http.get("/v1/models").json()["models"]
    assert model == {
        "name": "spot",
        "version": "1",
        "state": "ready",
        "default": True,
        "classes": ["target"],
        "window": 1,
        "size_hw": [64, 96],
        "variant": "nano",
        "precision": "fp32",
        "device": "cpu",
        "metrics": {"synthetic/test": {"map50": 1.0}},
    }


@pytest.mark.parametrize("path", ["spot", "spot:1", "spot/1"])
def test_a_model_is_described_as_its_manifest_does(http: httpx.Client, spot_bundle: Path, path: str) -> None:
    detail = http.get(f"/v1/models/{path}").json()
    manifest = Manifest.load(spot_bundle / "manifest.json").model_dump(mode="json")
    for field in ("intensity", "score_threshold", "max_detections", "training_domains", "software", "created"):
        assert detail[field] == manifest[field]
    assert detail["threads"] == 1
    assert "files" not in detail


def samples(http: httpx.Client) -> dict[str, float]:
    response = http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    lines = [line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_metrics_count_what_happens(repository: Path) -> None:
    with LiveServer(settings_for(repository)) as server, httpx.Client(base_url=server.url, trust_env=False) as http:
        for _ in range(3):
            assert http.post("/v1/detect", content=PNG).status_code == 200
        assert http.post("/v1/detect", content=PNG[:100]).status_code == 422
        assert http.post("/v1/detect", content=PNG, params={"return": "image"}).status_code == 200
        assert http.get("/wp-admin/1234").status_code == 404
        assert http.request("BREW", "/").status_code == 400
        counted = samples(http)
    expected = {
        'loddis_requests_total{method="POST",route="/v1/detect",status="200"}': 4,
        'loddis_requests_total{method="POST",route="/v1/detect",status="422"}': 1,
        'loddis_requests_total{method="GET",route="unmatched",status="404"}': 1,
        'loddis_rejected_total{reason="truncated-image"}': 1,
        'loddis_rejected_total{reason="not-found"}': 1,
        'loddis_frames_total{model="spot"}': 4,
        'loddis_detections_total{model="spot"}': 4,
        'loddis_batch_size_count{model="spot"}': 4,
        'loddis_batch_size_sum{model="spot"}': 4,
        'loddis_stage_seconds_count{stage="render"}': 1,
        "loddis_requests_in_flight": 0,
        "loddis_queue_depth": 0,
        "loddis_ready": 1,
        'loddis_model_info{device="cpu",is_default="true",model="spot",precision="fp32",variant="nano",version="1"}': 1,
    }
    assert {name: counted.get(name) for name in expected} == expected
    for stage in ("decode", "prepare", "queue", "infer", "finish", "total"):
        assert counted[f'loddis_stage_seconds_count{{stage="{stage}"}}'] == 4
    assert counted["process_resident_memory_bytes"] > 0
    assert not [name for name in counted if "wp-admin" in name]


def openapi(http: httpx.Client) -> dict[str, Any]:
    document: dict[str, Any] = http.get("/openapi.json").json()
    return document


def test_openapi_tells_how_to_send_a_frame(http: httpx.Client) -> None:
    operation = openapi(http)["paths"]["/v1/detect"]["post"]
    assert set(operation["requestBody"]["content"]) == {
        "image/png",
        "image/jpeg",
        "image/tiff",
        "image/x-portable-graymap",
        "application/x-npy",
        "application/octet-stream",
        "multipart/form-data",
    }
    parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert set(parameters) == {
        "score_threshold", "max_detections", "model", "return",
        "X-Frame-Width", "X-Frame-Height", "X-Frame-Dtype", "X-Request-Id",
        "X-Stream-Id", "X-Frame-Index", "X-Frame-Timestamp", "X-Stream-Reset",
    }  # fmt: skip
    assert all(parameter["description"] for parameter in parameters.values())
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "image/png"}
    assert operation["security"] == [{"bearer": []}, {"header": []}]


def test_openapi_names_every_problem_of_detection(http: httpx.Client) -> None:
    document = openapi(http)
    responses = document["paths"]["/v1/detect"]["post"]["responses"]
    named = set()
    for status, response in responses.items():
        if status != "200":
            content = response["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/ProblemDocument"}
            assert all(example["value"]["status"] == int(status) for example in content["examples"].values())
            named |= set(content["examples"])
    of_all_routes = {"not-found", "method-not-allowed", "head-timeout", "head-too-large"}
    assert {"truncated-image", "true-colour", "late-frame", "overloaded", "unauthorised"} <= named
    assert not named & of_all_routes
    assert "Retry-After" in responses["503"]["headers"]
    assert document["components"]["schemas"]["ProblemDocument"]["required"]


def test_openapi_refers_to_nothing_that_is_missing(http: httpx.Client) -> None:
    document = openapi(http)
    references = set(re.findall(r'"#/components/schemas/(\w+)"', http.get("/openapi.json").text))
    assert {"ProblemDocument", "InferRequest", "InputTensor", "ProtocolError"} <= references
    assert references <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in references


def test_the_way_on_is_shown(http: httpx.Client) -> None:
    info = http.get("/").json()
    assert info["status"] == "ready"
    for path in info["links"].values():
        assert http.get(path).status_code in (200, 405), path


def test_the_documentation_is_all_from_this_server(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "://" not in page.text
    assets = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert {Path(asset).suffix for asset in assets} == {".js", ".css", ".png"}
    (described,) = re.findall(r"url: '([^']*)'", page.text)
    for asset in [*assets, described]:
        assert len(http.get(page.url.join(asset)).raise_for_status().content) > 1000
        # A proxy may put the server under a path: all that the page loads is there, too.
        assert httpx.URL("https://proxy/infrared/docs").join(asset).path.startswith("/infrared/")
    assert '"validatorUrl": null' in page.text
    assert http.get("/redoc").status_code == 404


def test_the_documentation_may_run_its_own_scripts_only(http: httpx.Client) -> None:
    page = http.get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    (inline,) = re.findall(r"<script>(.*?)</script>", page.text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert policy["connect-src"] == "'self'"


def test_pictures_are_not_for_pages_of_other_origins(http: httpx.Client, repository: Path) -> None:
    picture = http.post("/v1/detect", content=PNG, params={"return": "image"})
    assert picture.headers["cross-origin-resource-policy"] == "same-origin"
    assert picture.headers["x-content-type-options"] == "nosniff"
    assert "cross-origin-resource-policy" not in http.post("/v1/detect", content=PNG).headers
    assert http.post("/v1/detect", content=PNG, headers={"X-Stream-Id": "shown"}).status_code == 200
    paths = [f"/v1/streams/shown/{name}" for name in ("picture", "preview")]
    for path in paths:
        with http.stream("GET", path) as answer:
            assert answer.headers["cross-origin-resource-policy"] == "same-origin", path
    with LiveServer(settings_for(repository, cors_origins=("https://wall.example",))) as server:
        allowed = httpx.post(f"{server.url}/v1/detect?return=image", content=PNG, trust_env=False)
    assert allowed.headers["x-content-type-options"] == "nosniff"
    assert "cross-origin-resource-policy" not in allowed.headers


@pytest.mark.parametrize(
    "kind", [kind for kind in CATALOGUE.values() if kind.status == 503], ids=lambda kind: kind.slug
)
def test_every_503_says_when_to_come_back(kind: ProblemType) -> None:
    def advice(**headers: str) -> str:
        error = ProblemError(kind, "not now", headers=headers)
        return problem_response(error, instance="/", request_id="1").headers["retry-after"]

    assert int(advice()) > 0
    assert advice(**{"Retry-After": "7"}) == "7"


def test_problems_are_described(http: httpx.Client) -> None:
    kinds = http.get("/problems").json()
    assert {kind["slug"] for kind in kinds} == set(CATALOGUE)
    assert all(kind["remedy"] and kind["title"] for kind in kinds)


def test_a_network_that_hangs_is_no_life(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LiveServer(settings_for(repository)) as server:
        assert httpx.get(f"{server.url}/livez", trust_env=False).status_code == 200
        monkeypatch.setattr(server.service.pipeline.batcher, "_busy_since", {0: -1e9})
        response = httpx.get(f"{server.url}/livez", trust_env=False)
        assert response.status_code == 503
        assert response.json() == {"status": "stalled"}
        assert service_module.STALL_LIMIT_S > 10
