"""`/v2`: the Open Inference Protocol, with Triton's extensions for binary tensors, repositories and statistics."""

from __future__ import annotations

import asyncio
import importlib.metadata
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Depends, Request
from numpy.typing import NDArray
from starlette.responses import Response

from loddis_server import problems
from loddis_server.admission import Ticket
from loddis_server.middleware import started_at
from loddis_server.models import ModelState, ServedModel
from loddis_server.models.finding import parse_reference
from loddis_server.oip.inference import make_jobs, outputs_of, read_options
from loddis_server.oip.messages import (
    HEADER_LENGTH,
    InferRequest,
    InferResponse,
    answer,
    parse_request,
    read_header_length,
)
from loddis_server.oip.signature import configuration, metadata, read_input
from loddis_server.openapi import protocol_answers
from loddis_server.problems import ProblemError
from loddis_server.routes.context import service_of
from loddis_server.routes.incoming import answer_in_time, outcomes, read_in_time, receive_body
from loddis_server.security import require_scope
from loddis_server.service import Service
from loddis_server.settings import ServerSettings

__all__ = ["router"]

router = APIRouter(tags=["open inference protocol"])

READS = [Depends(require_scope("detect"))]
MANAGES = [Depends(require_scope("manage"))]
EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")
SMALL_BODY_BYTES = 64 * 1024  # of requests that carry no tensors
QUICK_JSON_BYTES = 64 * 1024  # parsed on the event loop: well under a millisecond
INDEX_STATES: Mapping[ModelState, str] = {
    "available": "UNAVAILABLE",
    "loading": "LOADING",
    "ready": "READY",
    "unloading": "UNLOADING",
    "failed": "UNAVAILABLE",
}

FAULTS = [problems.UNAUTHORISED, problems.FORBIDDEN, problems.UNKNOWN_MODEL, problems.BAD_PARAMETER, problems.NOT_READY]
INFER_FAULTS = [
    *FAULTS,
    problems.EMPTY_BODY,
    problems.MALFORMED_REQUEST,
    problems.BAD_TENSOR,
    problems.UPLOAD_TIMEOUT,
    problems.BODY_TOO_LARGE,
    problems.FRAME_TOO_LARGE,
    problems.UNSUPPORTED_MEDIA,
    problems.BAD_FRAME,
    problems.INTERNAL,
    problems.NOT_IMPLEMENTED,
    problems.OVERLOADED,
    problems.TIMEOUT,
]
INFER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "JSON, with the bytes of binary tensors behind it; then the header "
        "Inference-Header-Content-Length says where the JSON ends. Compressed bodies are refused.",
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "parameters": [
        {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "description": "Bytes of the JSON, where binary tensors follow it.",
            "schema": {"type": "integer", "minimum": 0},
        }
    ],
}
INFER_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "model": InferResponse,
        "description": "Outputs; where some are binary, Inference-Header-Content-Length says where the JSON ends.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/v2", summary="Describe the server", dependencies=READS, responses=protocol_answers(FAULTS[:2]))
async def server_metadata() -> dict[str, Any]:
    """Name the server, its release and the extensions of the protocol that it has."""
    return {"name": "loddis-server", "version": importlib.metadata.version("loddis"), "extensions": EXTENSIONS}


@router.get(
    "/v2/health/live",
    summary="Is the server alive?",
    response_class=Response,
    responses={503: {"description": "It hangs."}},
)
async def live(request: Request) -> Response:
    """Answer 200 as `/livez` does."""
    return Response(status_code=200 if service_of(request).is_alive else 503)


@router.get(
    "/v2/health/ready",
    summary="Is the server ready?",
    response_class=Response,
    responses={503: {"description": "Not now."}},
)
async def ready(request: Request) -> Response:
    """Answer 200 as `/readyz` does."""
    return Response(status_code=200 if service_of(request).state == "ready" else 503)


@router.get(
    "/v2/models/stats", summary="Statistics of all models", dependencies=READS, responses=protocol_answers(FAULTS[:2])
)
async def all_statistics(request: Request) -> dict[str, Any]:
    """Count the protocol's requests for every version since it was loaded."""
    service = service_of(request)
    return service.statistics.document(list(service.models))


@router.get("/v2/models/{name}", summary="Describe a model", dependencies=READS, responses=protocol_answers(FAULTS))
@router.get(
    "/v2/models/{name}/versions/{version}",
    summary="Describe a version of a model",
    dependencies=READS,
    responses=protocol_answers(FAULTS),
)
async def model_metadata(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Describe the tensors that a model takes and gives."""
    models = service_of(request).models
    model = models.find(_reference(name, version))
    versions = sorted((one.version for one in models if one.name == model.name), key=int)
    return metadata(model, versions)


@router.get(
    "/v2/models/{name}/ready",
    summary="Is a model ready?",
    dependencies=READS,
    response_class=Response,
    responses=protocol_answers(FAULTS),
)
@router.get(
    "/v2/models/{name}/versions/{version}/ready",
    summary="Is a version of a model ready?",
    dependencies=READS,
    response_class=Response,
    responses=protocol_answers(FAULTS),
)
async def model_ready(request: Request, name: str, version: str | None = None) -> Response:
    """Answer 200 if the model is served."""
    service_of(request).models.find(_reference(name, version))
    return Response()


@router.get(
    "/v2/models/{name}/config",
    summary="Configuration of a model",
    dependencies=READS,
    responses=protocol_answers(FAULTS),
)
@router.get(
    "/v2/models/{name}/versions/{version}/config",
    summary="Configuration of a version of a model",
    dependencies=READS,
    responses=protocol_answers(FAULTS),
)
async def model_configuration(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Describe the model as a configuration of Triton's."""
    service = service_of(request)
    return configuration(service.models.find(_reference(name, version)), max_frames=service.settings.queue_capacity)


@router.get(
    "/v2/models/{name}/stats", summary="Statistics of a model", dependencies=READS, responses=protocol_answers(FAULTS)
)
@router.get(
    "/v2/models/{name}/versions/{version}/stats",
    summary="Statistics of a version of a model",
    dependencies=READS,
    responses=protocol_answers(FAULTS),
)
async def model_statistics(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Count the protocol's requests since the version was loaded."""
    service = service_of(request)
    return service.statistics.document([service.models.find(_reference(name, version))])


@router.post(
    "/v2/models/{name}/infer",
    summary="Infer",
    dependencies=READS,
    response_class=Response,
    responses={**INFER_ANSWER, **protocol_answers(INFER_FAULTS)},
    openapi_extra=INFER_BODY,
)
@router.post(
    "/v2/models/{name}/versions/{version}/infer",
    summary="Infer with a version of a model",
    dependencies=READS,
    response_class=Response,
    responses={**INFER_ANSWER, **protocol_answers(INFER_FAULTS)},
    openapi_extra=INFER_BODY,
)
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """Run the network on its own input, `frames`, or the whole of the server on an `image`; metadata describe both.

    Each frame of a batch needs a place among those that the server takes at once, and shares runs of the network with
    the frames of other requests.
    """
    service = service_of(request)
    with ExitStack() as held:
        ticket = held.enter_context(service.admission.enter())
        model = held.enter_context(service.models.lease(_reference(name, version)))
        try:
            return await _infer(request, service, model, ticket, held)
        except BaseException:
            service.statistics.failed(model, time.perf_counter() - started_at(request.scope))
            raise


@router.post(
    "/v2/repository/index", summary="List the repository", dependencies=READS, responses=protocol_answers(FAULTS[:2])
)
async def repository_index(request: Request) -> list[dict[str, str]]:
    """List every version on disk or in use; with `{"ready": true}` only those that are served."""
    only_ready = (await _small_document(request)).get("ready") is True
    versions = await asyncio.to_thread(service_of(request).models.versions)
    return [
        {"name": one.name, "version": one.version, "state": INDEX_STATES[one.state], "reason": one.cause or ""}
        for one in versions
        if one.state == "ready" or not only_ready
    ]


@router.post(
    "/v2/repository/models/{name}/load",
    summary="Load a model",
    dependencies=MANAGES,
    response_class=Response,
    responses=protocol_answers([*FAULTS, problems.MODEL_UNUSABLE, problems.NOT_IMPLEMENTED]),
)
async def repository_load(request: Request, name: str) -> Response:
    """Load the newest version on disk of a model, or the one of `NAME:VERSION`; answers once it is served."""
    if (await _small_document(request)).get("parameters"):
        raise ProblemError(
            problems.NOT_IMPLEMENTED, "models are loaded as they are on disk: parameters are not available"
        )
    loading = await asyncio.to_thread(service_of(request).models.load, *parse_reference(name))
    await asyncio.wrap_future(loading)
    return Response()


@router.post(
    "/v2/repository/models/{name}/unload",
    summary="Unload a model",
    dependencies=MANAGES,
    response_class=Response,
    responses=protocol_answers([*FAULTS, problems.MODEL_BUSY, problems.MODEL_REQUIRED]),
)
async def repository_unload(request: Request, name: str) -> Response:
    """Unload all versions of a model, or the one of `NAME:VERSION`; what is under way finishes on them."""
    await _small_document(request)
    service_of(request).models.unload(*parse_reference(name))
    return Response()


async def _infer(request: Request, service: Service, model: ServedModel, ticket: Ticket, held: ExitStack) -> Response:
    """Answer a request for inference that was let in."""
    settings = service.settings
    started = started_at(request.scope)
    json_bytes = read_header_length(request.headers)
    body, _ = await receive_body(request, service)
    async with answer_in_time(request, service):
        read = partial(_read, body, json_bytes, model, settings)
        is_quick = (len(body) if json_bytes is None else json_bytes) <= QUICK_JSON_BYTES
        message, name, array = read() if is_quick else await service.pipeline.run_in_worker(read)
        options = read_options(name, message.parameters)
        for _ in range(len(array) - 1):  # the ticket of the request is the first frame's
            held.enter_context(service.admission.enter()).arrived()
        jobs = make_jobs(name, array, model, ticket, options)
        found = await outcomes(service, jobs, request.receive)
    content, header_bytes = answer(message, model.name, model.version, outputs_of(jobs, found))
    seconds = time.perf_counter() - started
    service.statistics.succeeded(model, jobs, seconds)
    service.metrics.stages["total"].observe(seconds)
    service.metrics.frames.labels(model.name).inc(len(jobs))
    service.metrics.detections.labels(model.name).inc(sum(len(one) for one in found))
    if header_bytes is None:
        return Response(content, media_type="application/json")
    return Response(content, media_type="application/octet-stream", headers={HEADER_LENGTH: str(header_bytes)})


def _read(
    body: bytes, json_bytes: int | None, model: ServedModel, settings: ServerSettings
) -> tuple[InferRequest, str, NDArray[Any]]:
    """Read a request and its one input."""
    message, parts = parse_request(body, json_bytes)
    if len(message.inputs) != 1:
        names = ", ".join(tensor.name for tensor in message.inputs)
        raise ProblemError(problems.BAD_TENSOR, f"expected one input, frames or image, got {names}")
    (tensor,) = message.inputs
    array = read_input(
        tensor,
        parts[0],
        model.detector.manifest,
        max_frames=settings.queue_capacity,  # each needs a place
        max_pixels=settings.max_frame_pixels,
    )
    return message, tensor.name, array


async def _small_document(request: Request) -> dict[str, Any]:
    """Read the JSON object of a request that carries no tensors; it may be left out."""
    try:
        body = await read_in_time(request, service_of(request), max_bytes=SMALL_BODY_BYTES)
    except ProblemError as error:
        if error.kind is problems.EMPTY_BODY:
            return {}
        raise
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProblemError(problems.MALFORMED_REQUEST, f"the request is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ProblemError(problems.MALFORMED_REQUEST, "expected a JSON object")
    return document


def _reference(name: str, version: str | None) -> str:
    return name if version is None else f"{name}:{version}"
