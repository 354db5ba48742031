"""`/v1/events`: what happened on the streams, for as long as it is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ParamSpec, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from loddis_server.events import ID_PATTERN, Cursor, EventLog
from loddis_server.openapi import problem_answers
from loddis_server.problems import (
    BAD_PARAMETER,
    EVENTS_UNAVAILABLE,
    NO_THUMBNAIL,
    UNAUTHORISED,
    UNKNOWN_EVENT,
    ProblemError,
)
from loddis_server.routes.context import service_of
from loddis_server.routes.event_database import database_refusals
from loddis_server.routes.event_schemas import EventDelivery, EventDetail, EventPage, EventQuery
from loddis_server.routes.parameters import parameter_fault, refuse_repetition
from loddis_server.security import require_scope

__all__ = ["router"]

P = ParamSpec("P")
T = TypeVar("T")

router = APIRouter(prefix="/v1/events", tags=["events"], dependencies=[Depends(require_scope("detect"))])

EventId = Annotated[str, Path(pattern=ID_PATTERN, description="Of the event, a UUID in lower case.")]
UNCHANGING = {"Cache-Control": "private, max-age=31536000, immutable"}


@router.get(
    "",
    summary="Look for events",
    responses=problem_answers([UNAUTHORISED, BAD_PARAMETER, EVENTS_UNAVAILABLE]),
)
async def list_events(request: Request, query: Annotated[EventQuery, Query()]) -> EventPage:
    """Give events by stream, kind, time and score, page by page.

    Events are sorted by the time at which their frame was captured, and pages do not shift when others come in. To
    follow what happens, ask for the oldest first and go on from `next_cursor`, again and again; an event that was
    captured before those seen, but stored later, is then not seen.
    """
    refuse_repetition(request, repeatable=frozenset({"kind"}))
    after = Cursor.decode(query.cursor) if query.cursor is not None else None
    if after is not None and after.order != query.order:
        raise parameter_fault("cursor", f"it is of pages with the {after.order} first, got order={query.order}")
    # One more than asked for tells whether there are more.
    events = service_of(request).events
    found = await _ask(events, events.store.query, query.wanted, limit=query.limit + 1, order=query.order, after=after)
    page = found[: query.limit]
    if len(found) > query.limit or (page and query.order == "oldest"):
        return EventPage(events=page, next_cursor=Cursor.after(page[-1], query.order).encode())
    return EventPage(events=page, next_cursor=query.cursor if query.order == "oldest" else None)


@router.get(
    "/{event_id}",
    summary="Describe an event",
    responses=problem_answers([UNAUTHORISED, UNKNOWN_EVENT, BAD_PARAMETER, EVENTS_UNAVAILABLE]),
)
async def get_event(request: Request, event_id: EventId) -> EventDetail:
    """Give an event, and the receivers that have yet to get it or have refused it."""
    events = service_of(request).events
    found = await _ask(events, events.store.get, event_id)
    if found is None:
        raise _unknown(event_id)
    event, deliveries = found
    return EventDetail(event=event, deliveries=[EventDelivery.of(state) for state in deliveries])


@router.get(
    "/{event_id}/thumbnail",
    summary="Show the target of an event",
    response_class=Response,
    responses={
        200: {
            "description": "The neighbourhood of the target: 8-bit grey, one pixel of the frame to a pixel.",
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problem_answers([UNAUTHORISED, UNKNOWN_EVENT, NO_THUMBNAIL, BAD_PARAMETER, EVENTS_UNAVAILABLE]),
    },
)
async def get_thumbnail(request: Request, event_id: EventId) -> Response:
    """Give the picture of an event, where `has_thumbnail` says that there is one."""
    events = service_of(request).events
    picture = await _ask(events, events.store.thumbnail, event_id)
    if picture is None:
        if await _ask(events, events.store.get, event_id) is None:
            raise _unknown(event_id)
        raise ProblemError(NO_THUMBNAIL, "the event is about no single target, or came without a picture")
    return Response(picture, media_type="image/png", headers=UNCHANGING)


async def _ask(events: EventLog, question: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
    """Ask the database; say so if it cannot be asked."""
    with database_refusals():
        return await events.ask(question, *arguments, **options)


def _unknown(event_id: str) -> ProblemError:
    return ProblemError(UNKNOWN_EVENT, f"no event has the id {event_id}")
