"""The application: settings in, an ASGI application out."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Match, Route

from loddis_runtime.errors import FrameError
from loddis_server import problems
from loddis_server.batching import StoppedError
from loddis_server.middleware import RequestMiddleware
from loddis_server.openapi import DESCRIPTION, TAGS, add_schemas
from loddis_server.problems import ProblemError, ProblemType
from loddis_server.routes import (
    batch,
    console,
    deliveries,
    detect,
    events,
    models,
    oip,
    operation,
    stream_frames,
    streams,
    videos,
)
from loddis_server.routes.console import add_console
from loddis_server.routes.documentation import add_documentation
from loddis_server.routes.refusals import refusal_answer
from loddis_server.service import Service
from loddis_server.settings import ServerSettings
from loddis_server.tracing import TracingMiddleware

__all__ = ["create_app"]

ROUTERS = (
    detect.router,
    batch.router,
    streams.router,
    videos.router,
    stream_frames.router,
    events.router,
    deliveries.router,
    models.router,
    oip.router,
    operation.router,
    console.router,
)
KINDS_BY_STATUS: dict[int, ProblemType] = {
    400: problems.MALFORMED_REQUEST,
    401: problems.UNAUTHORISED,
    403: problems.FORBIDDEN,
    404: problems.NOT_FOUND,
    405: problems.METHOD_NOT_ALLOWED,
}


class _Api(FastAPI):
    """FastAPI, with all schemas in its OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        """Give the OpenAPI document; made once."""
        if self.openapi_schema is None:
            add_schemas(super().openapi())
        return super().openapi()


def create_app(settings: ServerSettings) -> FastAPI:
    """Make a server's application; `app.state.service` is what it runs on.

    Models are found and checked here, loaded in the background once the application starts.

    Args:
        settings: Of the server.

    Raises:
        BundleError: A model cannot be served.
        OSError: The model repository cannot be read.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    app = _Api(
        title="Loddis",
        version=importlib.metadata.version("loddis"),
        summary="Detection of moving small targets in infrared frames",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # the framework's own pages load their scripts from another host
        redoc_url=None,
        exception_handlers={
            ProblemError: _on_problem,
            FrameError: _on_frame_error,
            StoppedError: _on_stopped,
            RequestValidationError: _on_invalid,
            WebSocketRequestValidationError: _on_invalid,
            HTTPException: _on_http_error,
        },
    )
    app.state.service = service
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("*",),  # those that a request names; keys are among them, cookies are not used
            expose_headers=(
                "X-Request-Id",
                "Retry-After",
                "Server-Timing",
                "Inference-Header-Content-Length",
                "X-Frame-Index",
            ),
        )
    if service.tracing is not None:
        app.add_middleware(TracingMiddleware, provider=service.tracing)
    app.add_middleware(RequestMiddleware, metrics=service.metrics)
    for router in ROUTERS:
        app.include_router(router)
    add_console(app)
    add_documentation(app)
    return app


async def _on_problem(request: Request, error: Exception) -> Response:
    """Answer what was refused on purpose."""
    assert isinstance(error, ProblemError)  # noqa: S101
    return refusal_answer(request, error)


async def _on_frame_error(request: Request, error: Exception) -> Response:
    """Answer frames that the runtime refuses."""
    return refusal_answer(request, ProblemError(problems.BAD_FRAME, str(error)))


async def _on_stopped(request: Request, error: Exception) -> Response:
    """Answer frames that the server has no time for before it ends."""
    return refusal_answer(request, ProblemError(problems.NOT_READY, str(error)))


async def _on_invalid(request: Request, error: Exception) -> Response:
    """Answer parameters that do not fit."""
    assert isinstance(error, RequestValidationError | WebSocketRequestValidationError)  # noqa: S101
    faults = []
    for fault in error.errors():
        place, *path = fault["loc"]
        # An item of a list is named by its place after the parameter.
        names = [str(part) for part in path if isinstance(part, str)]
        parameter = ".".join(map(str, path)) if place == "body" else "".join(names[-1:])
        message = fault["msg"][0].lower() + fault["msg"][1:]
        if fault["type"] == "extra_forbidden":
            message = "there is no such parameter"
        elif place != "body" and isinstance(fault.get("input"), str | int | float):  # a body may hold a password
            message = f"{message}, got {str(fault['input'])[:100]!r}"
        faults.append({"parameter": parameter or str(place), "message": message})
    detail = "; ".join(f"{fault['parameter']}: {fault['message']}" for fault in faults)
    return refusal_answer(request, ProblemError(problems.BAD_PARAMETER, detail, errors=faults))


async def _on_http_error(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses: unknown paths, wrong methods."""
    assert isinstance(error, HTTPException)  # noqa: S101
    path = request.url.path
    details = {404: f"nothing is at {path}", 405: f"{path} does not take {request.method}"}
    kind = KINDS_BY_STATUS.get(error.status_code)
    if kind is None:
        fallback = problems.INTERNAL if error.status_code >= 500 else problems.MALFORMED_REQUEST
        kind = ProblemType(fallback.slug, error.status_code, fallback.title, fallback.remedy)
    detail = details.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods_at(request)))
    return refusal_answer(request, ProblemError(kind, detail, headers=headers))


def _methods_at(request: Request) -> set[str]:
    """Give what all routes of a path take together; the framework names those of the first alone."""
    routes = [*request.app.routes, *(route for router in ROUTERS for route in router.routes)]
    return {
        method
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }
