"""`POST /v1/detect/batch`: several frames in, the detections of each out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any, TypeAlias

import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from loddis_runtime.errors import FrameError
from loddis_server import problems
from loddis_server.admission import Admission, Ticket
from loddis_server.bodies import MULTIPART, read_part
from loddis_server.forms import Part, boundary_of, frame_parts
from loddis_server.jobs import DetectionJob
from loddis_server.middleware import started_at
from loddis_server.models import ServedModel
from loddis_server.openapi import BINARY, problem_answers
from loddis_server.problems import ProblemError
from loddis_server.routes.context import request_id_of, service_of
from loddis_server.routes.detect import detection_document
from loddis_server.routes.incoming import answer_in_time, receive_body, time_left_s, unless_left
from loddis_server.routes.parameters import refuse_repetition
from loddis_server.routes.refusals import refusal
from loddis_server.schemas import DetectOptions
from loddis_server.security import require_scope
from loddis_server.service import Service
from loddis_server.stream_schemas import BatchResponse

__all__ = ["router"]

logger = logging.getLogger(__name__)

router = APIRouter(tags=["detection"], dependencies=[Depends(require_scope("detect"))])

Outcome: TypeAlias = dict[str, Any]

FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A form whose parts are all called `frame`; each is a frame, as `POST /v1/detect` takes it.",
        "content": {
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "required": ["frame"],
                    "properties": {"frame": {"type": "array", "minItems": 1, "items": BINARY}},
                }
            }
        },
    }
}


@router.post(
    "/v1/detect/batch",
    summary="Detect targets in several frames",
    response_class=Response,
    responses={
        200: {"model": BatchResponse, "description": "The outcome of each frame, in their order."},
        **problem_answers(
            [
                problems.EMPTY_BODY,
                problems.MALFORMED_REQUEST,
                problems.UNAUTHORISED,
                problems.FORBIDDEN,
                problems.UNKNOWN_MODEL,
                problems.UPLOAD_TIMEOUT,
                problems.BODY_TOO_LARGE,
                problems.UNSUPPORTED_MEDIA,
                problems.BAD_PARAMETER,
                problems.INTERNAL,
                problems.NOT_READY,
                problems.OVERLOADED,
                problems.TIMEOUT,
            ]
        ),
    },
    openapi_extra=FORM,
)
async def detect_batch(request: Request, query: Annotated[DetectOptions, Query()]) -> Response:
    """Find moving small targets in several frames, each of which stands for itself.

    A frame that cannot be used has a problem document in its place; the others are answered. Frames of a request are
    done a few at a time, as other requests leave places. A request whose frames could not all be done in time, behind
    those of others, is refused with 503.
    """
    service = service_of(request)
    with service.admission.enter() as ticket, service.models.lease(query.model) as model:
        refuse_repetition(request)
        content_type = request.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != MULTIPART:
            came = content_type[:80] or "no Content-Type"
            raise ProblemError(problems.UNSUPPORTED_MEDIA, f"expected {MULTIPART}, got {came}")
        boundary = boundary_of(content_type)
        body, _ = await receive_body(request, service)
        ticket.confirm()
        parts = await service.pipeline.run_in_worker(
            lambda: frame_parts(body, boundary, limit=service.settings.max_batch_frames)
        )
        async with answer_in_time(request, service):
            service.admission.check_time(len(parts), within_s=time_left_s(request, service))
            detect = partial(_outcome, request, service, model, query)
            results = await unless_left(service, request.receive, _in_turns(service.admission, ticket, detect, parts))
    service.metrics.stages["total"].observe(time.perf_counter() - started_at(request.scope))
    return Response(orjson.dumps({"results": results, "request_id": request_id_of()}), media_type="application/json")


async def _in_turns(
    admission: Admission, own: Ticket, detect: Callable[[Part, Ticket], Coroutine[Any, Any, Outcome]], parts: list[Part]
) -> list[Outcome]:
    """Detect in all parts: one after the other in the place of their request, and others where places are left."""
    outcomes: list[asyncio.Task[Outcome]] = []
    in_own: asyncio.Task[Outcome] | None = None
    admission.promised += len(parts)
    try:
        async with asyncio.TaskGroup() as running:
            for part in parts:
                while (place := own if in_own is None or in_own.done() else admission.spare()) is None:
                    under_way = [task for task in outcomes if not task.done()]
                    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                admission.promised -= 1
                task = running.create_task(detect(part, place))
                outcomes.append(task)
                if place is not own:
                    task.add_done_callback(place.leave)
                else:
                    if in_own is not None:  # the first was counted with its request
                        admission.ask()
                    in_own = task
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    finally:
        admission.promised -= len(parts) - len(outcomes)
    return [outcome.result() for outcome in outcomes]


async def _outcome(
    request: Request, service: Service, model: ServedModel, query: DetectOptions, part: Part, ticket: Ticket
) -> Outcome:
    """Detect in one part; what is wrong with it is its outcome."""
    try:
        reader = read_part(part, headers=request.headers, max_pixels=service.settings.max_frame_pixels)
        job = DetectionJob(
            reader, model, ticket, score_threshold=query.score_threshold, max_detections=query.max_detections
        )
        try:
            detections = await service.pipeline.submit(job)
        finally:
            job.abandon()
    except FrameError as error:
        return _refused(request, part, ProblemError(problems.BAD_FRAME, str(error)))
    except ProblemError as error:
        return _refused(request, part, error)
    job.seconds["total"] = time.perf_counter() - started_at(request.scope)
    service.metrics.frames.labels(model.name).inc()
    service.metrics.detections.labels(model.name).inc(len(detections))
    return {"name": part.file_name, "result": detection_document(job, detections), "problem": None}


def _refused(request: Request, part: Part, error: ProblemError) -> Outcome:
    return {"name": part.file_name, "result": None, "problem": refusal(request, error)}
