"""`/docs`: every route, to read and to try. All of it comes from this server: a camera's network may have no other."""

from __future__ import annotations

import base64
import hashlib
import re

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

__all__ = ["add_documentation"]

PAGE = "/docs"
ASSETS = "/docs/assets"
INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def add_documentation(app: FastAPI) -> None:
    """Add the page and what it loads: Swagger UI, as the package `fastapi_offline` holds it.

    Addresses are relative to the page's, for a proxy may put the server under a path that it does not know.

    Args:
        app: That is described.
    """
    page = bytes(
        get_swagger_ui_html(
            openapi_url=_relative(app.openapi_url or "/openapi.json"),
            title=f"{app.title} {app.version}",
            swagger_js_url=_relative(f"{ASSETS}/swagger-ui-bundle.js"),
            swagger_css_url=_relative(f"{ASSETS}/swagger-ui.css"),
            swagger_favicon_url=_relative(f"{ASSETS}/favicon.png"),
            swagger_ui_parameters={"validatorUrl": None},  # else it sends the description to a host of its makers
        ).body
    )
    headers = {"Content-Security-Policy": _policy(page)}

    async def documentation(_: Request) -> HTMLResponse:
        return HTMLResponse(page, headers=headers)

    app.add_route(PAGE, documentation, include_in_schema=False)
    app.mount(ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]), name="assets")


def _relative(path: str) -> str:
    """Give a path of this server as the page, one step below the root, has to write it."""
    return path.removeprefix("/")


def _policy(page: bytes) -> str:
    """Let the page run its own scripts and talk to this server, and nothing else."""
    digests = (base64.b64encode(hashlib.sha256(script).digest()).decode() for script in INLINE_SCRIPT.findall(page))
    scripts = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
