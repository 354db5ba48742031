"""The files of the web console: who gets them, what they may do, and that all are there."""

from __future__ import annotations

import re

import httpx
import pytest

from support.live_server import LiveServer

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/json",
        "",
        "text/html;q=0, application/json",
        "application/json, text/html; q=0.1",
        "text/html;q=x",
        "application/xhtml+xml",
    ],
)
def test_programs_get_a_document(http: httpx.Client, accept: str) -> None:
    answer = http.get("/", headers={"Accept": accept})
    assert answer.json()["name"] == "loddis-server"
    assert "accept" in answer.headers["vary"].lower()


@pytest.mark.parametrize("accept", [BROWSER, "TEXT/HTML", "text/html;q=0.9, application/json;q=0.8"])
def test_browsers_get_a_page(http: httpx.Client, accept: str) -> None:
    for method in ("GET", "HEAD"):
        page = http.request(method, "/", headers={"Accept": accept})
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "accept" in page.headers["vary"].lower()


def test_the_page_may_talk_to_this_server_alone(http: httpx.Client) -> None:
    page = http.get("/", headers={"Accept": BROWSER})
    assert "://" not in page.text
    assert "<script>" not in page.text
    assert "style=" not in page.text
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"  # nobody lures a click on `End the stream`


def test_every_module_that_the_page_loads_is_there(http: httpx.Client) -> None:
    page = http.get("/", headers={"Accept": BROWSER}).text
    waiting = {httpx.URL(f"http://server/{path}") for path in re.findall(r'(?:src|href)="(console/[^"]+)"', page)}
    loaded: set[httpx.URL] = set()
    while waiting - loaded:
        address = (waiting - loaded).pop()
        answer = http.get(address.path)
        assert answer.status_code == 200, address
        assert answer.headers["x-content-type-options"] == "nosniff"
        loaded.add(address)
        if address.path.endswith(".js"):
            assert "javascript" in answer.headers["content-type"]
            code = re.sub(r"/\*.*?\*/", "", answer.text, flags=re.DOTALL)
            waiting |= {address.join(place) for place in re.findall(r'from "(\.[^"]+)"', code)}
    assert any(address.path == "/console/client/client.js" for address in loaded)


@pytest.mark.parametrize("path", ["/", "/console/main.js"])
def test_a_new_release_is_not_hidden_by_what_a_browser_kept(http: httpx.Client, path: str) -> None:
    first = http.get(path, headers={"Accept": BROWSER})
    assert first.headers["cache-control"] == "no-cache"
    again = http.get(path, headers={"Accept": BROWSER, "If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_files_of_the_page_are_counted_apart_from_what_nobody_serves(http: httpx.Client) -> None:
    http.get("/console/main.js")
    http.get("/nothing")
    counted = [line for line in http.get("/metrics").text.splitlines() if line.startswith("loddis_requests_total")]
    assert any('route="/console"' in line and 'status="200"' in line for line in counted)
    assert not any('route="unmatched"' in line and 'status="200"' in line for line in counted)


@pytest.mark.parametrize(
    "path", ["/console/", "/console/index.html", "/console/nothing.js", "/console/../app.py", "/console/%2e%2e/app.py"]
)
def test_nothing_else_is_served(live: LiveServer, path: str) -> None:
    answer = httpx.get(httpx.URL(live.url).copy_with(raw_path=path.encode()), trust_env=False)
    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/not-found"
