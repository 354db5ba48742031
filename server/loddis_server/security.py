"""The API key: who may use the server. Probes are open to all; so is what describes the API."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from loddis_server.problems import UNAUTHORISED, ProblemError

__all__ = ["require_api_key"]

bearer_scheme = HTTPBearer(
    auto_error=False, scheme_name="bearer", description="Where the server has an API key: `Authorization: Bearer KEY`."
)
header_scheme = APIKeyHeader(
    name="X-API-Key", auto_error=False, scheme_name="header", description="The same key in a header of its own."
)


async def require_api_key(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(bearer_scheme)],
    header: Annotated[str | None, Security(header_scheme)],
) -> None:
    """Let a request through if the server has no key, or the request brings it.

    Raises:
        ProblemError: It brings none, or another.
    """
    expected = request.app.state.service.settings.api_key
    if expected is None:
        return
    given = bearer.credentials if bearer is not None else header
    # In time that does not depend on where the two differ.
    if given is None or not hmac.compare_digest(given.encode(), expected.get_secret_value().encode()):
        raise ProblemError(
            UNAUTHORISED,
            "the request brings no API key" if given is None else "the API key is not the one of this server",
            headers={"WWW-Authenticate": 'Bearer realm="loddis"'},
        )
