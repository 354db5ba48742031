"""Probes, metrics, and what problems mean."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from loddis_server.openapi import problem_answers
from loddis_server.problems import BAD_PARAMETER, CATALOGUE, FORBIDDEN, NOT_FOUND, UNAUTHORISED, ProblemError
from loddis_server.routes.context import service_of
from loddis_server.schemas import Liveness, ProblemDescription, Readiness
from loddis_server.security import require_scope

__all__ = ["router"]

router = APIRouter(tags=["operation"])


@router.get("/livez", summary="Is the process alive?", responses={503: {"model": Liveness, "description": "It hangs."}})
async def livez(request: Request) -> JSONResponse:
    """Answer 200 while the server does its work, be it only starting; 503 tells a supervisor to restart it."""
    is_alive = service_of(request).is_alive
    return JSONResponse({"status": "alive" if is_alive else "stalled"}, status_code=200 if is_alive else 503)


@router.get(
    "/readyz",
    summary="Does the server take requests?",
    responses={503: {"model": Readiness, "description": "Not yet, or not any more."}},
)
async def readyz(request: Request) -> JSONResponse:
    """Answer 200 once all models are loaded and warm, until the server is told to stop."""
    state = service_of(request).state
    return JSONResponse({"status": state}, status_code=200 if state == "ready" else 503)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    dependencies=[Depends(require_scope("detect"))],
    responses={200: {"content": {"text/plain": {}}}, **problem_answers([UNAUTHORISED, FORBIDDEN])},
)
async def metrics(request: Request) -> Response:
    """Give all metrics. Where the server has an API key, Prometheus sends it as its bearer token."""
    return Response(generate_latest(service_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/problems", summary="List the kinds of problems")
async def list_problems() -> list[ProblemDescription]:
    """List every kind of problem that this server answers with, and what to do about it."""
    return [ProblemDescription.of(kind) for kind in CATALOGUE.values()]


@router.get(
    "/problems/{slug}",
    summary="Describe a kind of problem",
    responses=problem_answers([NOT_FOUND, BAD_PARAMETER]),
)
async def get_problem(slug: str) -> ProblemDescription:
    """Describe the kind of problem that the `type` of a problem document points to."""
    if slug not in CATALOGUE:
        raise ProblemError(NOT_FOUND, f"no kind of problem is called {slug[:100]!r}")
    return ProblemDescription.of(CATALOGUE[slug])
