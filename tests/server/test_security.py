"""The API key: what it guards, and what stays open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from support.frame_files import png_file, spot_frame
from support.live_server import LiveServer, settings_for

KEY = "correct-horse-battery-staple"
PNG = png_file(spot_frame((40, 30)))


@pytest.fixture(scope="module")
def guarded(repository: Path) -> Iterator[httpx.Client]:
    with (
        LiveServer(settings_for(repository, api_key=SecretStr(KEY))) as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        yield client


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}])
def test_the_key_opens(guarded: httpx.Client, headers: dict[str, str]) -> None:
    assert guarded.post("/v1/detect", content=PNG, headers=headers).status_code == 200
    assert guarded.get("/v1/models", headers=headers).status_code == 200
    assert guarded.get("/metrics", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "cause"),
    [
        ({}, "brings no API key"),
        ({"Authorization": "Basic Zm9v"}, "brings no API key"),
        ({"Authorization": f"Bearer {KEY}x"}, "is not one of"),
        ({"Authorization": "Bearer"}, "API key"),
        ({"X-API-Key": KEY[:-1]}, "is not one of"),
        ({"X-API-Key": ""}, "API key"),
        ({"Authorization": "Bearer wrong", "X-API-Key": KEY}, "is not one of"),
    ],
)
def test_nothing_else_does(guarded: httpx.Client, headers: dict[str, str], cause: str) -> None:
    for response in (
        guarded.post("/v1/detect", content=PNG, headers=headers),
        guarded.get("/v1/models", headers=headers),
        guarded.get("/v1/models/spot/1", headers=headers),
        guarded.get("/metrics", headers=headers),
    ):
        assert response.status_code == 401
        assert response.json()["type"] == "/problems/unauthorised"
        assert cause in response.json()["detail"]
        assert response.headers["www-authenticate"] == 'Bearer realm="loddis"'
        assert KEY not in response.text


def test_a_key_beyond_ascii_is_wrong_and_no_error(guarded: httpx.Client) -> None:
    response = guarded.get("/v1/models", headers=[(b"X-API-Key", "schlüssel".encode("latin-1"))])
    assert response.status_code == 401


@pytest.mark.parametrize(
    "path", ["/", "/livez", "/readyz", "/docs", "/docs/assets/swagger-ui.css", "/openapi.json", "/problems"]
)
def test_probes_and_descriptions_are_open(guarded: httpx.Client, path: str) -> None:
    assert guarded.get(path).status_code == 200


def test_a_key_that_nobody_asked_for_does_no_harm(http: httpx.Client) -> None:
    assert http.get("/v1/models", headers={"Authorization": "Bearer whatever"}).status_code == 200
