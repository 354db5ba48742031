"""`POST /v1/detect`: one frame in, its detections out."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Annotated

import cv2
import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive

from loddis_runtime.detections import Detections
from loddis_runtime.drawing import draw_detections
from loddis_runtime.frames import Frame
from loddis_server import problems
from loddis_server.admission import Ticket
from loddis_server.bodies import plan_body, read_body
from loddis_server.metrics import Stage
from loddis_server.middleware import started_at
from loddis_server.openapi import FRAME_BODY, FRAME_HEADERS, PNG_ANSWER, problem_answers
from loddis_server.pipeline import DetectionJob
from loddis_server.problems import ProblemError
from loddis_server.routes.context import request_id_of, service_of
from loddis_server.routes.parameters import parameter_fault, refuse_repetition
from loddis_server.schemas import DetectQuery, DetectResponse
from loddis_server.security import require_api_key
from loddis_server.service import Service

__all__ = ["router"]

router = APIRouter(tags=["detection"], dependencies=[Depends(require_api_key)])

ENLARGED_UP_TO_PX = 2**20  # pictures of larger frames are drawn at their own size
LARGEST_SIDE_PX = 1_000_000  # of a PNG: more is not written
STATE_HEADERS = ("x-stream-id", "x-frame-index")
SHOWN_STAGES: tuple[Stage, ...] = ("decode", "queue", "prepare", "infer", "finish", "total")

ANSWERS = problem_answers(
    [
        problems.EMPTY_BODY,
        problems.MALFORMED_REQUEST,
        problems.UNAUTHORISED,
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
        return await _detect(request, query, service, ticket)


async def _detect(request: Request, query: DetectQuery, service: Service, ticket: Ticket) -> Response:
    """Answer a request that was let in."""
    settings = service.settings
    started = started_at(request.scope)
    deadline_s = started + settings.request_timeout_s
    _refuse_state(request)
    refuse_repetition(request)
    model = service.models.find(query.model)
    plan = plan_body(request.headers, max_pixels=settings.max_frame_pixels)
    try:
        async with asyncio.timeout(deadline_s - time.perf_counter()):
            body = await read_body(request.receive, request.headers, max_bytes=settings.max_body_bytes)
    except TimeoutError:
        raise ProblemError(
            problems.UPLOAD_TIMEOUT,
            f"the body was not here {settings.request_timeout_s:g} s after the head of the request",
        ) from None
    received = time.perf_counter()
    job = DetectionJob(
        plan(body), model, ticket, score_threshold=query.score_threshold, max_detections=query.max_detections
    )
    job.seconds["receive"] = received - started
    service.metrics.stages["receive"].observe(received - started)
    try:
        async with asyncio.timeout(deadline_s - received):
            detections = await _outcome(service, job, request.receive)
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


async def _outcome(service: Service, job: DetectionJob, receive: Receive) -> Detections:
    """Wait for the detections, but no longer than the other side does."""
    result = service.pipeline.submit(job)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((result, leaving), return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        service.metrics.dropped.labels("client_left").inc()
        raise ClientDisconnect
    finally:
        leaving.cancel()
        job.abandon()


async def _left(receive: Receive) -> None:
    """Wait until the other side is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _render(service: Service, job: DetectionJob, detections: Detections) -> bytes:
    """Draw the detections; gives a PNG."""
    started = time.perf_counter()
    picture = await service.pipeline.run_in_worker(partial(_draw, _frame_of(job), detections))
    job.seconds["render"] = time.perf_counter() - started
    service.metrics.stages["render"].observe(job.seconds["render"])
    return picture


def _draw(frame: Frame, detections: Detections) -> bytes:
    scale = 2 if frame.size <= ENLARGED_UP_TO_PX else 1
    height, width = frame.shape[0] * scale, frame.shape[1] * scale
    if max(height, width) <= LARGEST_SIDE_PX:
        is_encoded, picture = cv2.imencode(".png", draw_detections(frame, detections, scale=scale))
        if is_encoded and picture.size:
            return picture.tobytes()
    raise parameter_fault("return", f"a picture of {width} x {height} pixels cannot be drawn; ask for JSON")


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
