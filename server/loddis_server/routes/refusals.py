"""What was refused, counted and described: the same for answers, for messages among others, for parts of a batch."""

from __future__ import annotations

from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response

from loddis_server.middleware import REFUSED
from loddis_server.problems import ProblemError, problem_document, problem_response
from loddis_server.routes.context import request_id_of, service_of

__all__ = ["refusal", "refusal_answer", "refusal_line"]


def refusal(connection: HTTPConnection, error: ProblemError) -> dict[str, Any]:
    """Count a refusal, and give its problem document."""
    _count(connection, error)
    return problem_document(
        error.kind, error.detail, instance=connection.url.path, request_id=request_id_of(), errors=error.errors
    )


def refusal_line(connection: HTTPConnection, error: ProblemError, *, frame_index: int | None) -> dict[str, Any]:
    """Count a refusal, and give the message that tells of it between answers to other frames."""
    return {"type": "problem", "frame_index": frame_index, "problem": refusal(connection, error)}


def refusal_answer(connection: HTTPConnection, error: ProblemError) -> Response:
    """Count a refusal, and give the answer to the request that it is of."""
    _count(connection, error)
    return problem_response(error, instance=connection.url.path, request_id=request_id_of())


def _count(connection: HTTPConnection, error: ProblemError) -> None:
    service_of(connection).metrics.rejected.labels(error.kind.slug).inc()
    connection.scope[REFUSED] = error.kind
