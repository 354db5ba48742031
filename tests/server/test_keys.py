"""Several keys: who holds them, what they open, and pages of other origins."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr, ValidationError
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from loddis_server.app import create_app
from loddis_server.keys import ApiKey, KeyRing
from loddis_server.problems import ProblemError
from loddis_server.security import authorise
from loddis_server.settings import ServerSettings
from support.frame_files import png_file, spot_frame
from support.live_server import LiveServer, settings_for, wait_until

PNG = png_file(spot_frame((40, 30)))
KEYS = ("camera:detect:eye", "ops:detect+manage:hand", "robot:manage:arm")
UNLOAD = "/v1/models/nothing/1/unload"  # which answers 404 to who may do it
PAGE = "https://console.example"


def api_keys() -> tuple[ApiKey, ...]:
    return tuple(ApiKey.model_validate(key) for key in KEYS)


@pytest.fixture(scope="module")
def guarded(repository: Path) -> Iterator[httpx.Client]:
    settings = settings_for(
        repository, api_key=SecretStr("master"), api_keys=api_keys(), cors_origins=(PAGE,), log_level="debug"
    )
    with LiveServer(settings) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    ("secret", "detects", "manages"),
    [("eye", 200, 403), ("hand", 200, 404), ("arm", 403, 404), ("master", 200, 404), ("nobody", 401, 401)],
)
def test_a_key_opens_what_its_scopes_say(guarded: httpx.Client, secret: str, detects: int, manages: int) -> None:
    headers = {"Authorization": f"Bearer {secret}"}
    assert guarded.post("/v1/detect", content=PNG, headers=headers).status_code == detects
    assert guarded.get("/v1/models", headers=headers).status_code == detects
    assert guarded.get("/metrics", headers=headers).status_code == detects
    assert guarded.post(UNLOAD, headers=headers).status_code == manages
    assert guarded.post(UNLOAD.replace("unload", "load"), headers=headers).status_code == manages


def test_no_route_is_open_by_oversight(guarded: httpx.Client) -> None:
    """Whatever is not a probe or a description asks for a key."""
    is_open = {"/", "/livez", "/readyz", "/problems", "/problems/{slug}", "/v2/health/live", "/v2/health/ready"}
    paths: dict[str, dict[str, object]] = guarded.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method in methods:
            answer = guarded.request(method, path)
            assert (answer.status_code == 401) == (path not in is_open), (method, path)


def test_what_a_key_lacks_is_named(guarded: httpx.Client) -> None:
    refused = guarded.post(UNLOAD, headers={"X-API-Key": "eye"})
    assert refused.json()["type"] == "/problems/forbidden"
    assert refused.json()["detail"] == "this takes a key with the scope manage, camera has detect"
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert "eye" not in refused.text


def test_the_holder_stands_in_the_log_and_the_key_does_not(
    guarded: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", logger="loddis_server.middleware"):
        guarded.get("/v1/models", headers={"X-API-Key": "hand"})
        wait_until(lambda: "request" in caplog.messages)  # which comes after the answer
    (record,) = [record for record in caplog.records if record.getMessage() == "request"]
    assert record.__dict__["key"] == "ops"
    assert "hand" not in str(record.__dict__)


def test_every_key_is_compared_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def counted(given: bytes, expected: bytes) -> bool:
        lengths.append((len(given), len(expected)))
        return compare(given, expected)

    ring = KeyRing(api_keys())
    monkeypatch.setattr(hmac, "compare_digest", counted)
    holder = ring.holder("eye")
    assert holder is not None
    assert holder.name == "camera"
    assert ring.holder("a much longer one") is None
    assert lengths == [(32, 32)] * 6


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("camera", "expected NAME:SCOPE"),
        ("camera:detect", "expected NAME:SCOPE"),
        ("camera:fly:eye", "detect"),
        ("camera:detect:two words", "visible ASCII"),
        ("camera:detect:", "visible ASCII"),
        ("a b:detect:eye", "name"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        ApiKey.model_validate(text)


def test_a_secret_may_have_colons() -> None:
    key = ApiKey.model_validate("camera:detect:a:b:c")
    assert key.secret.get_secret_value() == "a:b:c"
    assert "a:b:c" not in repr(key)


@pytest.mark.parametrize("twice", [("a:detect:one", "a:detect:two"), ("a:detect:one", "b:manage:one")])
def test_names_and_secrets_differ(twice: tuple[str, str]) -> None:
    with pytest.raises(ValidationError, match="must differ"):
        ServerSettings.model_validate({"api_keys": twice})


def test_any_key_allows_to_serve_others() -> None:
    assert ServerSettings(host="0.0.0.0", api_keys=api_keys()[:1]).host == "0.0.0.0"


def test_pages_of_listed_origins_may_call_and_no_others(guarded: httpx.Client) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = guarded.options("/v1/detect", headers={"Origin": PAGE, **asked})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in allowed.headers
    refused = guarded.options("/v1/detect", headers={"Origin": "https://evil.example", **asked})
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers
    answer = guarded.get("/readyz", headers={"Origin": PAGE})
    assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in guarded.get("/readyz", headers={"Origin": "null"}).headers


def test_without_a_list_no_page_may(http: httpx.Client) -> None:
    for answer in (
        http.get("/readyz", headers={"Origin": PAGE}),
        http.options("/v1/detect", headers={"Origin": PAGE, "Access-Control-Request-Method": "POST"}),
    ):
        assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize("origin", ["*", "https://console.example/", "console.example", "null", "https://*.example"])
def test_origins_are_written_out(origin: str) -> None:
    with pytest.raises(ValidationError, match="expected SCHEME://HOST"):
        ServerSettings(cors_origins=(origin,))


def test_without_keys_a_foreign_page_changes_nothing(http: httpx.Client) -> None:
    refused = http.post(UNLOAD, headers={"Origin": "https://evil.example"})
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden")
    assert http.post(UNLOAD).status_code == 404
    assert http.post(UNLOAD, headers={"Origin": str(http.base_url).rstrip("/")}).status_code == 404


def websocket(settings: ServerSettings, **headers: str) -> WebSocket:
    async def nothing(*_: object) -> None:
        raise AssertionError("a check of headers neither reads nor writes")

    scope = {
        "type": "websocket",
        "app": create_app(settings),
        "path": "/",
        "headers": [(name.encode(), value.encode()) for name, value in {"host": "loddis:8080", **headers}.items()],
    }
    return WebSocket(scope, nothing, nothing)  # type: ignore[arg-type]


def test_a_websocket_is_checked_the_same_way(repository: Path) -> None:
    settings = settings_for(repository, api_keys=api_keys())
    assert authorise(websocket(settings, authorization="Bearer eye"), "detect").name == "camera"
    with pytest.raises(ProblemError, match="scope manage"):
        authorise(websocket(settings, authorization="Bearer eye"), "manage")
    with pytest.raises(ProblemError, match="brings no API key"):
        authorise(websocket(settings), "detect")


def subprotocol_of(key: str) -> str:
    return "loddis.key." + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def test_a_page_brings_its_websocket_key_as_a_subprotocol(repository: Path) -> None:
    with LiveServer(settings_for(repository, api_keys=api_keys())) as server:
        address = f"{server.url.replace('http', 'ws')}/v1/streams/page/frames?width=96&height=64&dtype=uint8"
        protocols = [Subprotocol(name) for name in ("loddis.v1", subprotocol_of("eye"))]
        with connect(address, proxy=None, subprotocols=protocols) as socket:
            assert socket.subprotocol == "loddis.v1"  # the key is not sent back
            socket.send(bytes(96 * 64))
            assert json.loads(socket.recv(timeout=10))["type"] == "frame"
        wrong = ("eyes", "", "schlüssel")
        for key in [*(subprotocol_of(key) for key in wrong), "loddis.key.!", "loddis.key.a", "loddis.key._w"]:
            with pytest.raises(InvalidStatus) as refused:
                connect(address, proxy=None, subprotocols=[Subprotocol("loddis.v1"), Subprotocol(key)])
            assert refused.value.response.status_code == 401


def test_without_keys_a_websocket_of_a_foreign_page_is_refused(repository: Path) -> None:
    settings = settings_for(repository, cors_origins=(PAGE,))
    for origin in (PAGE, "http://loddis:8080"):
        assert authorise(websocket(settings, origin=origin), "detect").name is None
    with pytest.raises(ProblemError, match=r"pages of https://evil\.example may not"):
        authorise(websocket(settings, origin="https://evil.example"), "detect")


def test_a_foreign_page_whose_name_was_pointed_here_changes_nothing(http: httpx.Client) -> None:
    port = http.base_url.port
    for host, status in ((f"evil.example:{port}", 403), (f"localhost:{port}", 404), (f"127.0.0.1:{port}", 404)):
        answer = http.post(UNLOAD, headers={"Origin": f"http://{host}", "Host": host})
        assert answer.status_code == status, host
