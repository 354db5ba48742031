"""`/v1/models`: what is served and what could be, and the way in and out for versions while requests go on."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Depends, Request

from loddis_server.models import ServedModel
from loddis_server.openapi import problem_answers
from loddis_server.problems import (
    BAD_PARAMETER,
    FORBIDDEN,
    MODEL_BUSY,
    MODEL_REQUIRED,
    MODEL_UNUSABLE,
    NOT_READY,
    UNAUTHORISED,
    UNKNOWN_MODEL,
)
from loddis_server.routes.context import service_of
from loddis_server.schemas import ModelDetail, ModelList, ModelVersion
from loddis_server.security import require_scope

__all__ = ["router"]

router = APIRouter(tags=["models"])

READS = [Depends(require_scope("detect"))]
MANAGES = [Depends(require_scope("manage"))]
FAULTS = [UNAUTHORISED, FORBIDDEN, UNKNOWN_MODEL, BAD_PARAMETER]


@router.get(
    "/v1/models", summary="List the models", dependencies=READS, responses=problem_answers([UNAUTHORISED, FORBIDDEN])
)
async def list_models(request: Request) -> ModelList:
    """List the models that are served, none while the server is starting, and every version in the repository."""
    models = service_of(request).models
    versions = await asyncio.to_thread(models.versions)
    return ModelList(
        models=[_describe(request, model) for model in models],
        repository=[ModelVersion.of(status) for status in versions],
    )


@router.get(
    "/v1/models/{name}", summary="Describe a model", dependencies=READS, responses=problem_answers([*FAULTS, NOT_READY])
)
async def get_model(request: Request, name: str) -> ModelDetail:
    """Describe the newest served version of a model, or the one in `NAME:VERSION`."""
    return _describe(request, service_of(request).models.find(name))


@router.get(
    "/v1/models/{name}/{version}",
    summary="Describe a version of a model",
    dependencies=READS,
    responses=problem_answers([*FAULTS, NOT_READY]),
)
async def get_model_version(request: Request, name: str, version: str) -> ModelDetail:
    """Describe one version of a model that is served."""
    return _describe(request, service_of(request).models.find(f"{name}:{version}"))


@router.post(
    "/v1/models/{name}/{version}/load",
    summary="Load a version of a model",
    dependencies=MANAGES,
    responses=problem_answers([*FAULTS, MODEL_UNUSABLE, NOT_READY]),
)
async def load_model(request: Request, name: str, version: str) -> ModelDetail:
    """Load a version from the repository as it is on disk now, and answer once it is warm and served.

    Requests go on meanwhile. If it is the newest, its name alone means it from then on; requests and streams under way
    keep the version they have. If the answer is not waited for, the load goes on; `GET /v1/models` shows its state. A
    version that is served already is answered as it is: what changed on disk since belongs into a new version.
    """
    loading = await asyncio.to_thread(service_of(request).models.load, name, version)
    return _describe(request, await asyncio.wrap_future(loading))


@router.post(
    "/v1/models/{name}/{version}/unload",
    summary="Unload a version of a model",
    dependencies=MANAGES,
    responses=problem_answers([*FAULTS, MODEL_BUSY, MODEL_REQUIRED]),
)
async def unload_model(request: Request, name: str, version: str) -> ModelVersion:
    """Serve a version no more. Requests and streams under way finish on it; then its memory is given back.

    The last version that requests without a model's name could get stays: load its successor first.
    """
    models = service_of(request).models
    models.unload(name, version)
    return ModelVersion.of(models.status(name, version))


def _describe(request: Request, model: ServedModel) -> ModelDetail:
    return ModelDetail.of(model, is_default=service_of(request).models.is_default(model))
