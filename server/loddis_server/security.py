"""Who may use which route. Probes are open to all; so is what describes the API.

    @router.post(…, dependencies=[Depends(require_scope("manage"))])     a route
    authorise(websocket, "detect")                                        a WebSocket, before it is accepted

Where a server has no keys, all who reach it may do all, but for pages of others: `foreign_pages` says which those are.

A page cannot give its WebSockets headers, and an address is no place for a key: it stands in logs. So a key may also be
offered as a subprotocol, `loddis.key.` and the key in base64url without padding, beside `loddis.v1`, which is answered.
"""

from __future__ import annotations

import base64

from fastapi import Request
from fastapi.security import HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from starlette.requests import HTTPConnection

from loddis_server.foreign_pages import refuse_foreign_pages
from loddis_server.keys import SCOPES, KeyHolder, Scope
from loddis_server.problems import FORBIDDEN, UNAUTHORISED, ProblemError
from loddis_server.service import Service

__all__ = ["WEBSOCKET_PROTOCOL", "authorise", "offered_protocol", "require_scope"]

WEBSOCKET_PROTOCOL = "loddis.v1"
KEY_PROTOCOL = "loddis.key."
ANYBODY = KeyHolder(None, frozenset(SCOPES))


class require_scope(HTTPBearer):  # noqa: N801  # it is called like the functions that FastAPI takes here
    """The dependency that lets a request through if its key has a scope, or the server has no keys.

    One object does it all: every dependency of a route costs each of its requests tens of microseconds. As a scheme of
    FastAPI it stands in the OpenAPI document; `openapi.add_schemas` adds the header that does as well.

    Args:
        scope: What the route needs.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            scheme_name="bearer", description="Where the server has API keys: `Authorization: Bearer KEY`."
        )
        self._scope: Scope = scope

    async def __call__(self, request: Request) -> KeyHolder:  # type: ignore[override]
        """Check a request, as `authorise` does."""
        return authorise(request, self._scope)


def authorise(connection: HTTPConnection, scope: Scope) -> KeyHolder:
    """Check a request or a WebSocket that is not accepted yet.

    Args:
        connection: With its headers.
        scope: What it needs.

    Returns:
        Who it is; the name goes into the log line of the request.

    Raises:
        ProblemError: It brings no key, another, one without the scope; or, without keys, it is of a foreign page.
    """
    service: Service = connection.app.state.service
    if service.keys.is_empty:
        refuse_foreign_pages(connection.scope["headers"], service.settings.cors_origins)
        return ANYBODY
    given = _given_key(connection)
    holder = None if given is None else service.keys.holder(given)
    if holder is None:
        raise ProblemError(
            UNAUTHORISED,
            "the request brings no API key" if given is None else "the API key is not one of this server's",
            headers={"WWW-Authenticate": 'Bearer realm="loddis"'},
        )
    connection.scope["loddis.key"] = holder.name
    if scope not in holder.scopes:
        raise ProblemError(
            FORBIDDEN,
            f"this takes a key with the scope {scope}, {holder.name} has {', '.join(sorted(holder.scopes))}",
            headers={"WWW-Authenticate": f'Bearer realm="loddis", error="insufficient_scope", scope="{scope}"'},
        )
    return holder


def offered_protocol(websocket: HTTPConnection) -> str | None:
    """Give the subprotocol to answer a WebSocket with; none if the other side did not offer it.

    Args:
        websocket: Not accepted yet.
    """
    return WEBSOCKET_PROTOCOL if WEBSOCKET_PROTOCOL in websocket.scope.get("subprotocols", ()) else None


def _given_key(connection: HTTPConnection) -> str | None:
    """Find the key that somebody brings: in a header, or offered as a subprotocol."""
    scheme, credentials = get_authorization_scheme_param(connection.headers.get("authorization"))
    if scheme.lower() == "bearer" and credentials:
        return credentials
    if (header := connection.headers.get("x-api-key")) is not None:
        return header
    for protocol in connection.scope.get("subprotocols", ()):  # of WebSockets
        if protocol.startswith(KEY_PROTOCOL):
            return _from_base64url(protocol.removeprefix(KEY_PROTOCOL))
    return None


def _from_base64url(text: str) -> str:
    """Decode; what cannot be is a wrong key, not a fault."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""
