"""Everything that the client raises on purpose.

LoddisClientError
├── UsageError              called wrongly (a ValueError too)
├── FrameError              a frame that cannot be sent (a UsageError)
├── ConnectionFailed        no connection, or it broke
├── TimedOut                no answer in time
├── ProtocolError           an answer that is not one of a Loddis server
└── ServerError             the server said no; `.problem` says why
    ├── BadRequest          400, 409, 422: parameters, or a stream that is used otherwise
    │   └── LateFrame       409: a frame that does not come after the last one of its stream
    ├── Unauthorised        401, 403
    ├── NotFound            404
    │   ├── ModelNotFound
    │   └── StreamNotFound
    ├── FrameRejected       400, 413, 415, 422: the frame
    ├── Overloaded          429, 503, after all retries; `.retry_after_s`
    └── InternalError       500 and other 5xx
"""

from __future__ import annotations

from loddis_client._models import Problem

__all__ = [
    "BadRequest",
    "ConnectionFailed",
    "FrameError",
    "FrameRejected",
    "InternalError",
    "LateFrame",
    "LoddisClientError",
    "ModelNotFound",
    "NotFound",
    "Overloaded",
    "ProtocolError",
    "ServerError",
    "StreamNotFound",
    "TimedOut",
    "Unauthorised",
    "UsageError",
]


class LoddisClientError(Exception):
    """Root of all errors of the client."""


class UsageError(LoddisClientError, ValueError):
    """The client was called wrongly."""


class FrameError(UsageError):
    """A frame that cannot be sent: its shape, its type, or its file."""


class ConnectionFailed(LoddisClientError):
    """There is no connection to the server, or it broke; the message names the URL."""


class TimedOut(LoddisClientError):
    """The server did not answer in time."""


class ProtocolError(LoddisClientError):
    """An answer that is not one of a Loddis server."""


class ServerError(LoddisClientError):
    """The server refused; the message is its own.

    Attributes:
        problem: What it said.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title)
        self.problem = problem


class BadRequest(ServerError):
    """Parameters that the server does not take."""


class LateFrame(BadRequest):
    """A frame that does not come after the last one of its stream, which stays as it was."""


class Unauthorised(ServerError):
    """The API key is missing or wrong."""


class NotFound(ServerError):
    """There is nothing at that address."""


class ModelNotFound(NotFound):
    """The server has no model of that name or version."""


class StreamNotFound(NotFound):
    """The server has no stream of that name: one that frames are sent to begins with the first of them."""


class FrameRejected(ServerError):
    """A frame that the server cannot use: colour, size, damage, values."""


class Overloaded(ServerError):
    """The server has no capacity now, or is not ready; retries are used up.

    Attributes:
        retry_after_s: When to come back, seconds, if it said so.
    """

    def __init__(self, problem: Problem, *, retry_after_s: float | None) -> None:
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class InternalError(ServerError):
    """The server failed."""
