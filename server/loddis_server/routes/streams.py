"""`/v1/streams`: cameras that the server reads, the state of all streams, and what they say."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import StreamingResponse

from loddis_server import problems
from loddis_server.endless import EndlessResponse
from loddis_server.openapi import BINARY, problem_answers
from loddis_server.problems import ProblemError
from loddis_server.routes.context import service_of
from loddis_server.routes.incoming import read_in_time
from loddis_server.security import require_scope
from loddis_server.stream_schemas import StreamList, StreamRequest, StreamStatusDocument
from loddis_server.streams.hub import Message, Subscription
from loddis_server.streams.live import LiveStream
from loddis_server.streams.preview import BOUNDARY, PictureOptions, PreviewOptions, picture_parts
from loddis_server.streams.settings import STREAM_ID
from loddis_server.streams.status import stream_status

__all__ = ["router"]

router = APIRouter(tags=["streams"])

HEARTBEAT_S = 10.0  # between signs of life where a stream says nothing, so that proxies keep the connection
LARGEST_REQUEST_BYTES = 64 * 2**10
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"

StreamId = Annotated[str, Path(pattern=STREAM_ID.pattern, description="The stream's name.", examples=["mast-3"])]
detect_scope = Depends(require_scope("detect"))
manage_scope = Depends(require_scope("manage"))


@router.post(
    "/v1/streams",
    status_code=201,
    summary="Let the server read a camera or file",
    dependencies=[manage_scope],
    responses=problem_answers(
        [
            problems.EMPTY_BODY,
            problems.MALFORMED_REQUEST,
            problems.UNAUTHORISED,
            problems.FORBIDDEN,
            problems.UNKNOWN_MODEL,
            problems.STREAM_CONFLICT,
            problems.SOURCE_NOT_ALLOWED,
            problems.UPLOAD_TIMEOUT,
            problems.BODY_TOO_LARGE,
            problems.BAD_PARAMETER,
            problems.TOO_MANY_STREAMS,
            problems.NOT_READY,
        ]
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/StreamRequest"}}},
        }
    },
)
async def create_stream(request: Request) -> StreamStatusDocument:
    """Open a stream whose frames the server fetches: RTSP, HTTP MJPEG, a file or a V4L2 device.

    Only sources that the operator allows are read. The answer comes at once; the source's state tells how it goes:
    `connecting`, `live`, `stalled`, `ended` or `failed`, with the cause.
    """
    service = service_of(request)
    streams = service.streams
    wanted = _parse_request(await read_in_time(request, service, max_bytes=LARGEST_REQUEST_BYTES))
    stream = await streams.create(wanted.stream_id, wanted.source, model=wanted.model, settings=wanted.settings)
    return stream_status(stream, streams.source_status(stream))


@router.get(
    "/v1/streams",
    summary="List the streams",
    dependencies=[detect_scope],
    responses=problem_answers([problems.UNAUTHORISED, problems.FORBIDDEN]),
)
async def list_streams(request: Request) -> StreamList:
    """List all streams and how they go: those that the server reads, and those whose frames are sent to it."""
    streams = service_of(request).streams
    return StreamList(streams=[stream_status(stream, streams.source_status(stream)) for stream in streams])


OF_A_STREAM = problem_answers(
    [problems.UNAUTHORISED, problems.FORBIDDEN, problems.UNKNOWN_STREAM, problems.BAD_PARAMETER]
)


@router.get(
    "/v1/streams/{stream_id}",
    summary="Describe a stream",
    dependencies=[detect_scope],
    responses=OF_A_STREAM,
)
async def get_stream(request: Request, stream_id: StreamId) -> StreamStatusDocument:
    """Tell how a stream goes: its source, rate, lag, tracks, threshold, sensor, scene and canary."""
    streams = service_of(request).streams
    stream = streams.find(stream_id)
    return stream_status(stream, streams.source_status(stream))


@router.delete(
    "/v1/streams/{stream_id}",
    status_code=204,
    summary="End a stream",
    dependencies=[manage_scope],
    responses=OF_A_STREAM,
)
async def delete_stream(request: Request, stream_id: StreamId) -> Response:
    """End a stream: its source is closed, its listeners are told, its tracks are forgotten."""
    await service_of(request).streams.remove(stream_id, "it was deleted")
    return Response(status_code=204)


@router.get(
    "/v1/streams/{stream_id}/detections",
    summary="Listen to a stream",
    dependencies=[detect_scope],
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "One message a frame, from now on, until the stream ends.",
            "content": {
                NDJSON: {"itemSchema": {"$ref": "#/components/schemas/StreamMessage"}},
                SSE: {"schema": {"type": "string"}},
            },
        },
        **OF_A_STREAM,
        **problem_answers([problems.TOO_MANY_LISTENERS]),
    },
    openapi_extra={"x-endless": True},
)
async def listen(request: Request, stream_id: StreamId) -> Response:
    """Listen to what a stream says: `application/x-ndjson`, or `text/event-stream` where `Accept` asks for it.

    Messages are of the types `frame`, `source` and `end`. Any number may listen. Who is slow loses the oldest
    messages, which shows as a gap in `frame_index`; the camera is never slowed. Where nothing happens, an empty line
    (NDJSON) or a comment (SSE) comes every ten seconds.
    """
    service = service_of(request)
    stream = service.streams.find(stream_id)
    listener, resources = _subscribe(stream, service.streams.settings.max_listeners)
    if SSE in request.headers.get("accept", ""):
        chunks = _messages(listener, _as_event, b": nothing new\n\n")
        return EndlessResponse(chunks, media_type=SSE, resources=resources)
    return EndlessResponse(_messages(listener, _as_line, b"\n"), media_type=NDJSON, resources=resources)


@router.get(
    "/v1/streams/{stream_id}/preview",
    summary="Watch a stream",
    dependencies=[detect_scope],
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Pictures with detections and tracks drawn in, as motion JPEG: an `img` element shows it.",
            "content": {f"multipart/x-mixed-replace; boundary={BOUNDARY}": {"schema": BINARY}},
        },
        **OF_A_STREAM,
        **problem_answers([problems.TOO_MANY_LISTENERS]),
    },
    openapi_extra={"x-endless": True},
)
async def watch(request: Request, stream_id: StreamId, options: Annotated[PreviewOptions, Query()]) -> Response:
    """Watch a stream live. Pictures are drawn only while somebody watches, once for all who want the same."""
    service = service_of(request)
    stream = service.streams.find(stream_id)
    listener, resources = _subscribe(stream, service.streams.settings.max_listeners)
    parts = picture_parts(stream, listener, options)
    media_type = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
    return EndlessResponse(parts, media_type=media_type, resources=resources)


@router.get(
    "/v1/streams/{stream_id}/picture",
    summary="Show a stream's newest frame",
    dependencies=[detect_scope],
    response_class=Response,
    responses={
        200: {
            "description": "A picture as `preview` shows them.",
            "content": {"image/jpeg": {"schema": BINARY}},
            "headers": {"X-Frame-Index": {"description": "Of the frame.", "schema": {"type": "integer"}}},
        },
        **OF_A_STREAM,
        **problem_answers([problems.UNKNOWN_STREAM, problems.NO_PICTURE]),
    },
)
async def show(request: Request, stream_id: StreamId, options: Annotated[PictureOptions, Query()]) -> Response:
    """Show the newest frame with detections and tracks drawn in.

    For many cameras on one page: a browser holds few connections to a server, and a `preview` takes one of them.
    """
    stream = service_of(request).streams.find(stream_id)
    result = stream.latest
    if result is None:
        raise ProblemError(problems.NO_PICTURE, f"the stream {stream_id} has had no frame yet")
    picture = await stream.pictures.of(result, scale=options.scale)
    headers = {"Cache-Control": "no-store", "X-Frame-Index": str(result.window.frame_index)}
    return Response(picture, media_type="image/jpeg", headers=headers)


def _parse_request(body: bytes) -> StreamRequest:
    """Read what stream is wanted.

    Raises:
        ProblemError: It is no JSON.
        RequestValidationError: It says what no stream has.
    """
    try:
        return StreamRequest.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        if faults[0]["type"] == "json_invalid":
            raise ProblemError(problems.MALFORMED_REQUEST, f"expected JSON; {faults[0]['msg']}") from None
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from None


def _subscribe(stream: LiveStream, limit: int) -> tuple[Subscription, AsyncExitStack]:
    """Listen, and give what ends that."""
    if len(stream.hub) >= limit:
        raise ProblemError(
            problems.TOO_MANY_LISTENERS, f"{len(stream.hub)} listen to {stream.stream_id}, this server takes {limit}"
        )
    resources = AsyncExitStack()
    return resources.enter_context(stream.hub.subscribe()), resources


async def _messages(
    listener: Subscription, encode: Callable[[Message], bytes], heartbeat: bytes
) -> AsyncGenerator[bytes]:
    """Give what a stream says until it ends."""
    while not listener.ended:
        message = await listener.next(timeout_s=HEARTBEAT_S)
        yield heartbeat if message is None else encode(message)


def _as_line(message: Message) -> bytes:
    return message.json + b"\n"


def _as_event(message: Message) -> bytes:
    """Write a message as a server-sent event; its JSON has no line breaks."""
    index = message.document.get("frame_index")
    identity = b"" if index is None else b"id: %d\n" % index
    return b"event: %s\n%sdata: %s\n\n" % (message.kind.encode(), identity, message.json)
