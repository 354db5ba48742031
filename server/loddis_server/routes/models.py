"""`GET /v1/models`: what is served."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from loddis_server.openapi import problem_answers
from loddis_server.problems import BAD_PARAMETER, UNAUTHORISED, UNKNOWN_MODEL
from loddis_server.routes.context import service_of
from loddis_server.schemas import ModelDetail, ModelList
from loddis_server.security import require_api_key

__all__ = ["router"]

router = APIRouter(tags=["models"], dependencies=[Depends(require_api_key)])


@router.get("/v1/models", summary="List the models", responses=problem_answers([UNAUTHORISED]))
async def list_models(request: Request) -> ModelList:
    """List all models that are served; none while the server is starting."""
    return ModelList(models=[ModelDetail.of(model) for model in service_of(request).models])


@router.get(
    "/v1/models/{name}",
    summary="Describe a model",
    responses=problem_answers([UNAUTHORISED, UNKNOWN_MODEL, BAD_PARAMETER]),
)
async def get_model(request: Request, name: str) -> ModelDetail:
    """Describe the newest served version of a model, or the one in `NAME:VERSION`."""
    return ModelDetail.of(service_of(request).models.find(name))


@router.get(
    "/v1/models/{name}/{version}",
    summary="Describe a version of a model",
    responses=problem_answers([UNAUTHORISED, UNKNOWN_MODEL, BAD_PARAMETER]),
)
async def get_model_version(request: Request, name: str, version: str) -> ModelDetail:
    """Describe one version of a model."""
    return ModelDetail.of(service_of(request).models.find(f"{name}:{version}"))
