"""Without keys: whose page, and under which name, may call the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from loddis_server.foreign_pages import refuse_foreign_pages
from loddis_server.problems import ProblemError
from support.frame_files import png_file, spot_frame
from support.live_server import LiveServer, settings_for

PNG = png_file(spot_frame((40, 30)))
PAGE = "https://wall.example"
HERE = "127.0.0.1:8080"


def is_refused(*, allowed: tuple[str, ...] = (), **headers: str) -> bool:
    given = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    try:
        refuse_foreign_pages(given, allowed)
    except ProblemError:
        return True
    return False


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", HERE, "10.0.5.2:80", "[::1]:8080", "[::ffff:10.0.5.2]"),
        *("localhost", "LOCALHOST:1", "a.localhost:8080", "mast:8080", ""),
    ],
)
def test_names_that_nobody_can_point_elsewhere_are_answered(host: str) -> None:
    assert not is_refused(host=host)
    assert not is_refused(host=host, allowed=(PAGE,))


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8080", "evil.example.", "[evil.example]", "wall.example.evil", "a.b", ":8080"),
        *("127.0.0.1.evil.example", "127.0.0.1:80@evil.example", "localhost.evil.example", "notlocalhost.x"),
    ],
)
def test_names_that_others_own_are_not(host: str) -> None:
    assert is_refused(host=host)
    assert is_refused(host=host, allowed=(PAGE,))
    assert is_refused(host=host, origin=f"http://{host}")


def test_the_host_of_an_allowed_origin_is_answered() -> None:
    assert not is_refused(host="wall.example", allowed=(PAGE,))
    assert not is_refused(host="wall.example:8443", origin=PAGE, allowed=(PAGE,))
    assert is_refused(host="wall.example", origin="http://wall.example", allowed=(PAGE,))


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://127.0.0.1:9000", "http://localhost:8080"]
)
def test_pages_of_others_are_refused(origin: str) -> None:
    assert is_refused(host=HERE, origin=origin)
    assert is_refused(host=HERE, origin=origin, allowed=(PAGE,))
    assert is_refused(host=HERE, origin=origin, sec_fetch_site="same-origin")


def test_own_and_allowed_pages_are_not() -> None:
    assert not is_refused(host=HERE, origin=f"http://{HERE}", sec_fetch_site="same-origin")
    assert not is_refused(host="a.localhost", origin="https://a.localhost")
    assert not is_refused(host=HERE, origin=PAGE, sec_fetch_site="cross-site", allowed=(PAGE,))
    assert not is_refused(host=HERE, sec_fetch_site="same-origin", sec_fetch_mode="no-cors", sec_fetch_dest="image")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_foreign_page_embeds_is_refused_and_what_somebody_opens_is_not(site: str) -> None:
    assert is_refused(host=HERE, sec_fetch_site=site, sec_fetch_mode="no-cors", sec_fetch_dest="image")
    assert is_refused(host=HERE, sec_fetch_site=site, sec_fetch_mode="navigate", sec_fetch_dest="iframe")
    assert not is_refused(host=HERE, sec_fetch_site=site, sec_fetch_mode="navigate", sec_fetch_dest="document")
    assert not is_refused(host=HERE, sec_fetch_site="none", sec_fetch_mode="navigate", sec_fetch_dest="document")


def test_pictures_in_an_allowed_page_are_known_by_its_address() -> None:
    def is_refused_to(referer: str, *allowed: str) -> bool:
        return is_refused(
            host=HERE,
            sec_fetch_site="cross-site",
            sec_fetch_mode="no-cors",
            sec_fetch_dest="image",
            referer=referer,
            allowed=allowed,
        )

    assert not is_refused_to(f"{PAGE}/", PAGE)
    assert is_refused_to(f"{PAGE}.evil.example/", PAGE)
    assert is_refused_to(f"{PAGE}/")
    assert is_refused_to("", PAGE)
    assert is_refused_to("http://[", PAGE)


@pytest.fixture(scope="module")
def shown(http: httpx.Client) -> httpx.Client:
    """Give the server, with a stream to look at."""
    assert http.post("/v1/detect", content=PNG, headers={"X-Stream-Id": "seen"}).status_code == 200
    return http


READS = ("/v1/streams", "/v1/streams/seen", "/v1/streams/seen/picture", "/v1/models", "/v1/events", "/metrics", "/v2")


def test_a_name_pointed_here_sees_nothing(shown: httpx.Client) -> None:
    evil = {"Host": f"evil.example:{shown.base_url.port}"}
    for path in READS:
        assert shown.get(path).status_code == 200, path
        assert shown.get(path, headers=evil).status_code == 403, path
    refused = shown.get("/v1/streams", headers=evil).json()
    assert refused["type"] == "/problems/forbidden"
    assert "cors_origins" in refused["detail"]
    assert "LODDIS_API_KEY" in refused["detail"]
    for path in ("/livez", "/readyz", "/", "/docs", "/console/main.js", "/openapi.json", "/problems"):
        assert shown.get(path, headers=evil).status_code == 200, path


def test_a_foreign_page_makes_the_server_do_nothing(shown: httpx.Client) -> None:
    posted = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    for path in ("/v1/videos", "/v1/detect", "/v1/detect/batch", "/v2/models/spot/infer"):
        assert shown.post(path, content=b"x", headers=posted).status_code == 403, path
        assert shown.post(path, content=b"x", headers={"Content-Type": "text/plain"}).status_code != 403, path
    image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    for path in ("/v1/streams/seen/preview", "/v1/streams/seen/picture"):
        with shown.stream("GET", path, headers=image) as answer:
            assert answer.status_code == 403


@pytest.fixture(scope="module")
def guarded(repository: Path) -> Iterator[httpx.Client]:
    with (
        LiveServer(settings_for(repository, api_key=SecretStr("secret"))) as server,
        httpx.Client(base_url=server.url, trust_env=False, headers={"X-API-Key": "secret"}) as client,
    ):
        yield client


def test_where_there_are_keys_they_decide(guarded: httpx.Client) -> None:
    assert guarded.get("/v1/streams", headers={"Host": "mast.example"}).status_code == 200
    assert guarded.get("/v1/streams", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
