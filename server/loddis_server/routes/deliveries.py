"""`/v1/deliveries`: whether events reach their receivers, and the way back for those that were refused."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from loddis_server.events import RECEIVER_NAME
from loddis_server.openapi import problem_answers
from loddis_server.problems import (
    BAD_PARAMETER,
    EVENTS_UNAVAILABLE,
    FORBIDDEN,
    UNAUTHORISED,
    UNKNOWN_RECEIVER,
    ProblemError,
)
from loddis_server.routes.context import service_of
from loddis_server.routes.delivery_schemas import DeliveryOverview, RetryAnswer
from loddis_server.routes.event_database import database_refusals
from loddis_server.routes.parameters import refuse_parameters
from loddis_server.security import require_scope

__all__ = ["router"]

router = APIRouter(prefix="/v1/deliveries", tags=["events"])

ReceiverName = Annotated[
    str,
    Path(pattern=RECEIVER_NAME, description="Of the receiver, in the server's settings.", examples=["control-room"]),
]
READS = [Depends(require_scope("detect"))]
MANAGES = [Depends(require_scope("manage"))]
FAULTS = [UNAUTHORISED, FORBIDDEN, BAD_PARAMETER]


@router.get("", summary="Tell how storing and delivering go", dependencies=READS, responses=problem_answers(FAULTS))
async def get_deliveries(request: Request) -> DeliveryOverview:
    """Tell whether events are stored, how many, and how the delivery to each receiver goes.

    This is answered although the event database does not work: `store` says so.
    """
    refuse_parameters(request)
    return DeliveryOverview.of(await service_of(request).events.count())


@router.post(
    "/retry",
    summary="Deliver to all receivers again",
    dependencies=MANAGES,
    responses=problem_answers([*FAULTS, EVENTS_UNAVAILABLE]),
)
async def retry_all(request: Request) -> RetryAnswer:
    """Do for every receiver what `POST /v1/deliveries/{receiver}/retry` does for one."""
    return await _retry(request, None)


@router.post(
    "/{receiver}/retry",
    summary="Deliver to a receiver again",
    dependencies=MANAGES,
    responses=problem_answers([*FAULTS, UNKNOWN_RECEIVER, EVENTS_UNAVAILABLE]),
)
async def retry_receiver(request: Request, receiver: ReceiverName) -> RetryAnswer:
    """Deliver the events again that this receiver refused too often, and try at once, however long the wait would be.

    For when it has been mended. They come before those that wait, in the order in which they were stored, each with as
    many tries as a new one. Asking twice does no harm: what is on its way already is not put back again.

    While this server is on `standby`, the one that delivers tries within half a minute if events were put back, and
    else when it would have tried anyway.
    """
    events = service_of(request).events
    if receiver not in {status.name for status in events.status.receivers}:
        raise ProblemError(UNKNOWN_RECEIVER, f"no receiver of events is called {receiver}")
    return await _retry(request, receiver)


async def _retry(request: Request, receiver: str | None) -> RetryAnswer:
    refuse_parameters(request)
    with database_refusals():
        return RetryAnswer(put_back=await service_of(request).events.retry(receiver))
