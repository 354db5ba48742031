"""`/`: the web console for browsers, and for programs where to go from here. All of it comes from this server.

The page is plain files, in the folder `console` of this package: no build step makes them. What it may do is what its
policy says: run its own modules and talk to this server.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import os
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from loddis_server.routes.context import service_of
from loddis_server.schemas import ServerInfo

__all__ = ["add_console", "router"]

router = APIRouter(tags=["operation"])

ASSETS = "/console"
PAGE = "index.html"
FILES = Path(str(importlib.resources.files("loddis_server"))) / "console"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # asked for anew after each release, and answered 304 where nothing has changed
}


class _Files(StaticFiles):
    """The files of the page; the JavaScript client among them is a link in a checkout, and files in an installation."""

    def __init__(self) -> None:
        super().__init__(directory=FILES, follow_symlink=True)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Give a file, with the headers of the page."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        return response


class _Assets(_Files):
    """All but the page itself, which is at `/`: its addresses are relative to that."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Find a file."""
        return ("", None) if path == PAGE else super().lookup_path(path)


page_files = _Files()


@router.get(
    "/",
    summary="Show the console, or say what this is",
    responses={
        200: {
            "description": "The web console where `Accept` prefers `text/html`, as browsers do; else this document.",
            "content": {"text/html": {"schema": {"type": "string"}}},
        }
    },
    response_model=ServerInfo,
)
@router.head("/", include_in_schema=False, response_model=ServerInfo)
async def root(request: Request, response: Response) -> ServerInfo | Response:
    """Show the web console to browsers. To programs, name the server and its release, and say where to go from here."""
    if _prefers_html(request.headers.getlist("accept")):
        page = await page_files.get_response(PAGE, request.scope)
        page.headers["Vary"] = "Accept"
        return page
    response.headers["Vary"] = "Accept"
    return ServerInfo(
        name="loddis-server",
        version=importlib.metadata.version("loddis"),
        status=service_of(request).state,
        links={
            "console": "/",
            "detect": "/v1/detect",
            "models": "/v1/models",
            "streams": "/v1/streams",
            "events": "/v1/events",
            "documentation": "/docs",
            "openapi": "/openapi.json",
            "problems": "/problems",
            "ready": "/readyz",
            "metrics": "/metrics",
        },
    )


def add_console(app: FastAPI) -> None:
    """Add what the page loads.

    Args:
        app: Whose page it is.
    """
    app.mount(ASSETS, _Assets(), name="console")


def _prefers_html(accept: list[str]) -> bool:
    """Tell whether HTML is named, and wanted more than JSON; who takes anything is a program."""
    qualities: dict[str, float] = {}
    for item in ",".join(accept).lower().split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        quality = next((value for name, _, value in (part.partition("=") for part in parameters) if name == "q"), "1")
        try:
            qualities[media_type] = float(quality)
        except ValueError:
            qualities[media_type] = 0.0
    return qualities.get("text/html", 0.0) > qualities.get("application/json", 0.0)
