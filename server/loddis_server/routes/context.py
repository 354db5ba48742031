"""What every route may ask of the request it answers."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from loddis_server.logs import request_id_var
from loddis_server.service import Service

__all__ = ["request_id_of", "service_of"]


def service_of(request: HTTPConnection) -> Service:
    """Give the service of the application that got the request or WebSocket."""
    service: Service = request.app.state.service
    return service


def request_id_of() -> str:
    """Give the id of the request under way."""
    return request_id_var.get() or ""
