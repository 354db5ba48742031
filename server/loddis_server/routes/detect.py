"""`POST /v1/detect`: one frame in, its detections out; with `X-Stream-Id`, as part of a stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import cv2
import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from loddis_runtime.detections import Detections
from loddis_runtime.drawing import draw_detections
from loddis_runtime.frames import Frame
from loddis_server import problems
from loddis_server.admission import Ticket
from loddis_server.bodies import FrameReader, plan_body
from loddis_server.jobs import DetectionJob
from loddis_server.metrics import Stage, shown_ms
from loddis_server.middleware import started_at
from loddis_server.models import ServedModel
from loddis_server.openapi import FRAME_BODY, FRAME_HEADERS, PNG_ANSWER, STREAM_HEADERS, problem_answers
from loddis_server.routes.context import request_id_of, service_of
from loddis_server.routes.direct import direct_route
from loddis_server.routes.incoming import (
    answer_in_time,
    outcomes,
    receive_body,
    server_timing,
    unless_left,
)
from loddis_server.routes.parameters import parameter_fault, refuse_repetition
from loddis_server.routes.stream_headers import StreamHeaders, read_stream_headers
from loddis_server.schemas import DetectQuery, DetectResponse
from loddis_server.security import require_scope
from loddis_server.service import Service
from loddis_server.stream_schemas import FrameMessage
from loddis_server.streams.session import FrameOptions

__all__ = ["detection_document", "router"]

router = APIRouter(
    tags=["detection"],
    dependencies=[Depends(require_scope("detect"))],
    route_class=direct_route("detect", DetectQuery),
)

ENLARGED_UP_TO_PX = 2**20  # pictures of larger frames are drawn at their own size
LARGEST_SIDE_PX = 1_000_000  # of a PNG: more is not written

ANSWERS = problem_answers(
    [
        problems.EMPTY_BODY,
        problems.MALFORMED_REQUEST,
        problems.UNAUTHORISED,
        problems.FORBIDDEN,
        problems.UNKNOWN_MODEL,
        problems.LATE_FRAME,
        problems.STREAM_CONFLICT,
        problems.TOO_MANY_STREAMS,
        problems.UPLOAD_TIMEOUT,
        problems.BODY_TOO_LARGE,
        problems.FRAME_TOO_LARGE,
        problems.UNSUPPORTED_MEDIA,
        problems.BAD_PARAMETER,
        problems.BAD_FRAME,
        problems.TRUE_COLOUR,
        problems.TRUNCATED_IMAGE,
        problems.INTERNAL,
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
            "model": DetectResponse | FrameMessage,
            "description": "Detections, best first; for a frame of a stream also tracks; or a picture of them.",
            "content": PNG_ANSWER,
        },
        **ANSWERS,
    },
    openapi_extra={**FRAME_BODY, "parameters": [*FRAME_HEADERS, *STREAM_HEADERS]},
)
async def detect(request: Request, query: Annotated[DetectQuery, Query()]) -> Response:
    """Find moving small targets in one infrared frame.

    The body is the frame; its size in bytes and pixels is checked before it is decoded. A frame stands for itself: a
    model with a window sees it as a scene that stands still. With `X-Stream-Id` it is the next frame of a stream, which
    its first frame opens: the answer is a `FrameMessage` with tracks, and a frame that does not come after the last one
    is refused with 409.
    """
    service = service_of(request)
    with service.admission.enter() as ticket:
        refuse_repetition(request)
        stream = read_stream_headers(request.headers)
        if stream is not None:
            return await _detect_in_stream(request, query, service, ticket, stream)
        with service.models.lease(query.model) as model:
            return await _detect(request, query, service, ticket, model)


async def _detect(
    request: Request, query: DetectQuery, service: Service, ticket: Ticket, model: ServedModel
) -> Response:
    """Answer a frame that stands for itself."""
    reader, receive_s = await _receive_frame(request, service, ticket)
    job = DetectionJob(
        reader, model, ticket, score_threshold=query.score_threshold, max_detections=query.max_detections
    )
    job.note("receive", receive_s)
    async with answer_in_time(request, service):
        (detections,) = await outcomes(service, [job], request.receive)
        picture = None
        if query.return_ == "image":
            picture = await _render(service, job.note, partial(_draw, _frame_of(job), detections))
    job.seconds["total"] = time.perf_counter() - started_at(request.scope)
    service.metrics.stages["total"].observe(job.seconds["total"])
    service.metrics.frames.labels(model.name).inc()
    service.metrics.detections.labels(model.name).inc(len(detections))
    return _answer(picture or orjson.dumps(detection_document(job, detections)), picture, job.seconds)


async def _detect_in_stream(
    request: Request, query: DetectQuery, service: Service, ticket: Ticket, headers: StreamHeaders
) -> Response:
    """Answer a frame of a stream. Once it is taken into the stream it is worked on, whoever waits."""
    reader, receive_s = await _receive_frame(request, service, ticket)
    stream = service.streams.open(headers.stream_id, model=query.model)
    options = FrameOptions(
        frame_index=headers.frame_index,
        timestamp_s=headers.timestamp_s,
        captured_at=time.time(),
        reset=headers.reset,
        score_threshold=query.score_threshold,
        max_detections=query.max_detections,
    )
    async with answer_in_time(request, service):
        answer = await unless_left(service, request.receive, stream.detect(reader, options, place=ticket))
        seconds: dict[Stage, float] = {"receive": receive_s, **answer.seconds}
        picture = None
        if query.return_ == "image":
            result = answer.result
            draw = partial(_draw, result.frame, result.detections)
            picture = await _render(service, seconds.__setitem__, draw)
    seconds["total"] = time.perf_counter() - started_at(request.scope)
    service.metrics.stages["total"].observe(seconds["total"])
    return _answer(picture or answer.message.json, picture, seconds)


async def _receive_frame(request: Request, service: Service, ticket: Ticket) -> tuple[FrameReader, float]:
    """Receive the body of a request; gives the way to its frame, and the seconds since the request came."""
    plan = plan_body(request.headers, max_pixels=service.settings.max_frame_pixels)
    body, receive_s = await receive_body(request, service)
    ticket.confirm()
    return plan(body), receive_s


def _answer(content: bytes, picture: bytes | None, seconds: dict[Stage, float]) -> Response:
    media_type = "application/json" if picture is None else "image/png"
    return Response(content, media_type=media_type, headers=server_timing(seconds))


async def _render(service: Service, note: Callable[[Stage, float], None], draw: partial[bytes]) -> bytes:
    """Draw, and note how long that took; gives a PNG."""
    started = time.perf_counter()
    picture = await service.pipeline.run_in_worker(draw)
    seconds = time.perf_counter() - started
    note("render", seconds)
    service.metrics.stages["render"].observe(seconds)
    return picture


def _draw(frame: Frame, detections: Detections) -> bytes:
    scale = 2 if frame.size <= ENLARGED_UP_TO_PX else 1
    height, width = frame.shape[0] * scale, frame.shape[1] * scale
    if max(height, width) <= LARGEST_SIDE_PX:
        is_encoded, picture = cv2.imencode(".png", draw_detections(frame, detections, scale=scale))
        if is_encoded and picture.size:
            return picture.tobytes()
    raise parameter_fault("return", f"a picture of {width} x {height} pixels cannot be drawn; ask for JSON")


def detection_document(job: DetectionJob, detections: Detections) -> dict[str, Any]:
    """Give the answer to a frame that stands for itself; `DetectResponse` describes it."""
    frame = _frame_of(job)
    return {
        "model": {"name": job.model.name, "version": job.model.version},
        "frame": {"width": frame.shape[1], "height": frame.shape[0], "dtype": frame.dtype.name},
        "detections": detections.to_records(),
        "timing_ms": shown_ms(job.seconds),
        "request_id": request_id_of(),
    }


def _frame_of(job: DetectionJob) -> Frame:
    """Give the frame of a job that is done."""
    if job.prepared is None:
        raise RuntimeError("a job without a frame has no detections")
    return job.prepared.frame
