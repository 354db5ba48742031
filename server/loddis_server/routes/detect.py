"""`POST /v1/detect`: one frame in, its detections out."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from typing import Annotated

import cv2
import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from loddis_runtime.detections import Detections
from loddis_runtime.drawing import draw_detections
from loddis_runtime.frames import Frame
from loddis_server import problems
from loddis_server.admission import Ticket
from loddis_server.bodies import plan_body
from loddis_server.metrics import Stage
from loddis_server.middleware import started_at
from loddis_server.models import ServedModel
from loddis_server.openapi import FRAME_BODY, FRAME_HEADERS, PNG_ANSWER, problem_answers
from loddis_server.pipeline import DetectionJob
from loddis_server.problems import ProblemError
from loddis_server.routes.context import request_id_of, service_of
from loddis_server.routes.outcomes import outcomes
from loddis_server.routes.uploads import deadline_of, receive_body
from loddis_server.schemas import DetectQuery, DetectResponse
from loddis_server.security import require_scope
from loddis_server.service import Service

__all__ = ["router"]

router = APIRouter(tags=["detection"], dependencies=[Depends(require_scope("detect"))])

ENLARGED_UP_TO_PX = 2**20  # pictures of larger frames are drawn at their own size
LARGEST_SIDE_PX = 1_000_000  # of a PNG: more is not written
STATE_HEADERS = ("x-stream-id", "x-frame-index")
SHOWN_STAGES: tuple[Stage, ...] = ("decode", "queue", "prepare", "infer", "finish", "total")

ANSWERS = problem_answers(
    [
        problems.EMPTY_BODY,
        problems.MALFORMED_REQUEST,
        problems.UNAUTHORISED,
        problems.FORBIDDEN,
        problems.UNKNOWN_MODEL,
        problems.UPLOAD_TIMEOUT,
        problems.BODY_TOO_LARGE,
        problems.FRAME_TOO_LARGE,
        problems.UNSUPPORTED_MEDIA,
        problems.BAD_PARAMETER,
        problems.BAD_FRAME,
        problems.TRUE_COLOUR,
        problems.TRUNCATED_IMAGE,
        problems.INTERNAL,
        problems.NOT_IMPLEMENTED,
        problems.NOT_READY,
        problems.OVERLOADED,
        problems.TIMEOUT,
    ]
)


@router.post(
    "/v1/detect",
    summary="Detect targets in one frame",
    response_class=Response,
    responses={
        200: {
            "model": DetectResponse,
            "description": "Detections, best first; or a picture of them.",
            "content": PNG_ANSWER,
        },
        **ANSWERS,
    },
    openapi_extra={**FRAME_BODY, "parameters": FRAME_HEADERS},
)
async def detect(request: Request, query: Annotated[DetectQuery, Query()]) -> Response:
    """Find moving small targets in one infrared frame.

    The body is the frame; its size in bytes and pixels is checked before it is decoded. Each frame stands for itself:
    a model with a window sees it as a scene that stands still.
    """
    service = service_of(request)
    with service.admission.enter() as ticket:
        _refuse_state(request)
        _refuse_repetition(request)
        with service.models.lease(query.model) as model:
            return await _detect(request, query, service, ticket, model)


async def _detect(
    request: Request, query: DetectQuery, service: Service, ticket: Ticket, model: ServedModel
) -> Response:
    """Answer a request that was let in."""
    settings = service.settings
    started = started_at(request.scope)
    plan = plan_body(request.headers, max_pixels=settings.max_frame_pixels)
    body = await receive_body(request, settings)
    received = time.perf_counter()
    job = DetectionJob(
        plan(body), model, ticket, score_threshold=query.score_threshold, max_detections=query.max_detections
    )
    job.note("receive", received - started)
    service.metrics.stages["receive"].observe(received - started)
    try:
        async with asyncio.timeout(deadline_of(request, settings) - received):
            (detections,) = await outcomes(service, [job], request.receive)
            picture = await _render(service, job, detections) if query.return_ == "image" else None
    except TimeoutError:
        service.metrics.dropped.labels("timeout").inc()
        raise ProblemError(
            problems.TIMEOUT, f"no answer {settings.request_timeout_s:g} s after the head of the request"
        ) from None
    _account(service, job, detections, total_s=time.perf_counter() - started)
    content, media_type = (picture, "image/png") if picture is not None else (_document(job, detections), None)
    return Response(
        content,
        media_type=media_type or "application/json",
        headers={"Server-Timing": ", ".join(f"{stage};dur={s * 1000:.3f}" for stage, s in job.seconds.items())},
    )


async def _render(service: Service, job: DetectionJob, detections: Detections) -> bytes:
    """Draw the detections; gives a PNG."""
    started = time.perf_counter()
    picture = await service.pipeline.run_in_worker(partial(_draw, _frame_of(job), detections))
    job.note("render", time.perf_counter() - started)
    service.metrics.stages["render"].observe(job.seconds["render"])
    return picture


def _draw(frame: Frame, detections: Detections) -> bytes:
    scale = 2 if frame.size <= ENLARGED_UP_TO_PX else 1
    height, width = frame.shape[0] * scale, frame.shape[1] * scale
    if max(height, width) <= LARGEST_SIDE_PX:
        is_encoded, picture = cv2.imencode(".png", draw_detections(frame, detections, scale=scale))
        if is_encoded and picture.size:
            return picture.tobytes()
    raise _parameter_fault("return", f"a picture of {width} x {height} pixels cannot be drawn; ask for JSON")


def _parameter_fault(parameter: str, message: str) -> ProblemError:
    """Give the error for a parameter that its own type cannot tell is wrong."""
    errors = [{"parameter": parameter, "message": message}]
    return ProblemError(problems.BAD_PARAMETER, f"{parameter}: {message}", errors=errors)


def _account(service: Service, job: DetectionJob, detections: Detections, *, total_s: float) -> None:
    """Count what was done."""
    job.seconds["total"] = total_s
    service.metrics.stages["total"].observe(total_s)
    service.metrics.frames.labels(job.model.name).inc()
    service.metrics.detections.labels(job.model.name).inc(len(detections))


def _document(job: DetectionJob, detections: Detections) -> bytes:
    """Give the answer; `DetectResponse` describes it."""
    frame = _frame_of(job)
    return orjson.dumps(
        {
            "model": {"name": job.model.name, "version": job.model.version},
            "frame": {"width": frame.shape[1], "height": frame.shape[0], "dtype": frame.dtype.name},
            "detections": detections.to_records(),
            "timing_ms": {stage: round(job.seconds[stage] * 1000, 3) for stage in SHOWN_STAGES},
            "request_id": request_id_of(),
        }
    )


def _frame_of(job: DetectionJob) -> Frame:
    """Give the frame of a job that is done."""
    if job.prepared is None:
        raise RuntimeError("a job without a frame has no detections")
    return job.prepared.frame


def _refuse_state(request: Request) -> None:
    """Answer those who expect state between frames, which would otherwise go missing without a word."""
    for name in STATE_HEADERS:
        if name in request.headers:
            raise ProblemError(
                problems.NOT_IMPLEMENTED,
                f"streams are not available in this release: leave {name.title()} out, each frame stands for itself",
            )


def _refuse_repetition(request: Request) -> None:
    """Refuse a parameter that is there twice: one of its values would be dropped without a word."""
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if times > 1:
            raise _parameter_fault(name, f"it is there {times} times, expected once")
