"""Around every request: its id, its log line, its metrics, and the answer when all else failed.

Of a WebSocket, the answer to its handshake is what is logged and counted.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loddis_server.logs import request_id_var
from loddis_server.metrics import Metrics
from loddis_server.problems import INTERNAL, NOT_READY, OVERLOADED, ProblemError, problem_response

__all__ = ["REFUSED", "RequestMiddleware", "started_at"]

logger = logging.getLogger(__name__)

REFUSED = "loddis.refused"  # in a scope: the problem that its request was refused with
REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
CLIENT_LEFT = 499  # nginx's number for a client that did not wait for its answer
PROBES = frozenset({"/livez", "/readyz"})
WEBSOCKET = "WEBSOCKET"  # stands where a request has its method
# What answers a handshake, and with which status; a refusal in full has its own. uvicorn sends a mere close as 403.
OPENINGS = {"websocket.accept": 101, "websocket.close": 403, "websocket.http.response.start": 0}
PICTURES = ("image/", "multipart/x-mixed-replace")
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def started_at(scope: Scope) -> float:
    """Give when a request came, on the clock of `time.perf_counter`."""
    started: float = scope["loddis.started"]
    return started


class RequestMiddleware:
    """Names, counts and logs requests.

    Args:
        app: The application within.
        metrics: Told of each answer.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or one WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope["loddis.started"] = time.perf_counter()
        sent = Headers(scope=scope).get("x-request-id", "")
        request_id = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        scope["loddis.request_id"] = request_id
        token = request_id_var.set(request_id)
        try:
            if scope["type"] == "http":
                await self._answer(scope, receive, send, request_id)
            else:
                await self._open(scope, receive, send, request_id)
        finally:
            request_id_var.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                if headers.get("content-type", "").startswith(PICTURES):
                    _keep_from_pages(headers, scope)
            await send(message)

        async def refuse(error: ProblemError) -> None:
            await problem_response(error, instance=scope["path"], request_id=request_id)(scope, receive, send_with_id)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = status or CLIENT_LEFT
        except asyncio.CancelledError:  # the server ends, and this request was not done when its drain was over
            if status:
                raise
            await refuse(ProblemError(NOT_READY, "the server is stopping, and this took too long"))
        except Exception:
            logger.exception("request failed", extra={"method": scope["method"], "path": scope["path"]})
            if status:  # half an answer is out: only closing the connection tells that it is no whole one
                raise
            await refuse(ProblemError(INTERNAL, "an unexpected error; the server's log has it under this request id"))
        finally:
            self._note(scope, status)

    async def _open(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if not status and message["type"] in OPENINGS:
                status = message.get("status", OPENINGS[message["type"]])
                if message["type"] != "websocket.close":
                    message.setdefault("headers", [])
                    MutableHeaders(scope=message)["X-Request-Id"] = request_id
                self._note(scope, status)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            if status:
                raise
            logger.exception("request failed", extra={"method": WEBSOCKET, "path": scope["path"]})
            error = ProblemError(INTERNAL, "an unexpected error; the server's log has it under this request id")
            await problem_response(error, instance=scope["path"], request_id=request_id)(scope, receive, send_with_id)

    def _note(self, scope: Scope, status: int) -> None:
        """Count and log an answer."""
        # The route's template and known methods only: paths and words of a client's choice are no labels.
        route = getattr(scope.get("route"), "path", None) or _mount_of(scope) or "unmatched"
        method = WEBSOCKET if scope["type"] == "websocket" else scope["method"]
        known_method = method if method == WEBSOCKET or method in KNOWN_METHODS else "other"
        self._metrics.requests.labels(known_method, route, str(status)).inc()
        is_usual = status < 400 or route in PROBES or scope.get(REFUSED) is OVERLOADED  # which `Admission` tells of
        level = logging.DEBUG if is_usual else logging.INFO
        if logger.isEnabledFor(level):
            duration_ms = (time.perf_counter() - started_at(scope)) * 1000
            known = {name: scope[f"loddis.{name}"] for name in ("key", "trace_id") if f"loddis.{name}" in scope}
            logger.log(
                level,
                "request",
                extra={
                    "method": method,
                    "path": scope["path"],
                    "status": status,
                    "duration_ms": round(duration_ms, 3),
                    **known,
                },
            )


def _keep_from_pages(headers: MutableHeaders, scope: Scope) -> None:
    """Let no page of another origin show a picture, unless the operator allows some; nor take it for anything else."""
    headers["X-Content-Type-Options"] = "nosniff"
    if not scope["app"].state.service.settings.cors_origins:
        headers["Cross-Origin-Resource-Policy"] = "same-origin"


def _mount_of(scope: Scope) -> str:
    """Give the path of the folder of files that a request was for; empty if for none."""
    path: str = scope.get("root_path", "")
    return path.removeprefix(scope.get("app_root_path", path))
