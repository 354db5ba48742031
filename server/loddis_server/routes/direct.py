"""Routes that are asked thirty times a second: in the document as any other, and answered without FastAPI's way there.

Its solving of dependencies costs a request a quarter of a millisecond; what such a route needs is one check of the key
and one look at the query.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeVar

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from loddis_server.keys import Scope
from loddis_server.security import authorise

__all__ = ["direct_route"]

QueryT = TypeVar("QueryT", bound=BaseModel)


def direct_route(scope: Scope, query_type: type[QueryT]) -> type[APIRoute]:
    """Give the class of routes whose endpoints take a request and its query.

    Args:
        scope: What the key must open.
        query_type: Of the query; its defaults are what an empty one means.
    """

    class DirectRoute(APIRoute):
        unasked: ClassVar[BaseModel] = query_type()

        def get_route_handler(self) -> Callable[[Request], Any]:
            endpoint: Callable[[Request, Any], Awaitable[Response]] = self.endpoint

            async def handle(request: Request) -> Response:
                authorise(request, scope)
                return await endpoint(request, _parsed(request, query_type, self.unasked))

            return handle

    return DirectRoute


def _parsed(request: Request, query_type: type[QueryT], unasked: BaseModel) -> BaseModel:
    """Read a query as FastAPI does.

    Raises:
        RequestValidationError: It does not fit.
    """
    if not request.scope["query_string"]:
        return unasked
    try:
        return query_type.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise RequestValidationError([{**fault, "loc": ("query", *fault["loc"])} for fault in error.errors()]) from None
