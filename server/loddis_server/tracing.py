"""Traces for OpenTelemetry: a span for each request, and one below it for each stage that its frames pass.

Off unless `tracing_endpoint` is set; the packages are imported only then. The trace that a request's `traceparent`
names (W3C Trace Context) is gone on with, and its id stands in the log lines of the request.
"""

from __future__ import annotations

import importlib.metadata
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loddis_runtime.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Span, Tracer

__all__ = ["RequestSpan", "TracingMiddleware", "flush", "open_tracing", "request_span_var"]

UNTRACED = frozenset({"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})


class RequestSpan:
    """The span of a request under way; stages may end on any thread.

    Args:
        span: Of the request.
        tracer: Makes those of its stages.
    """

    def __init__(self, span: Span, tracer: Tracer) -> None:
        from opentelemetry.trace import set_span_in_context

        self.span = span
        self._tracer = tracer
        self._context = set_span_in_context(span)
        self._began_ns = time.time_ns()

    @property
    def trace_id(self) -> str:
        """In 32 hexadecimal digits."""
        return f"{self.span.get_span_context().trace_id:032x}"

    def stage(self, name: str, seconds: float) -> None:
        """Add a stage that ends now.

        Args:
            name: Of the stage.
            seconds: That it took.
        """
        if self.span.is_recording():
            ended_ns = time.time_ns()
            # Stages are timed from the moment the head of the request was parsed, a little before its span begins.
            started_ns = max(ended_ns - round(seconds * 1e9), self._began_ns)
            self._tracer.start_span(name, self._context, start_time=started_ns).end(ended_ns)


request_span_var: ContextVar[RequestSpan | None] = ContextVar("request_span", default=None)


def open_tracing(endpoint: str, *, sample_ratio: float, processor: SpanProcessor | None = None) -> TracerProvider:
    """Begin to collect spans.

    Args:
        endpoint: URL that takes spans by OTLP over HTTP.
        sample_ratio: Of requests that come without a trace; those with one are traced as their `traceparent` says.
        processor: Takes the spans in place of what sends them to the endpoint.

    Raises:
        ConfigError: The packages are not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"tracing_endpoint is set, but {error.name} is not installed; pip install 'loddis[opentelemetry]' brings it"
        ) from None
    resource = Resource.create(
        {"service.name": "loddis-server", "service.version": importlib.metadata.version("loddis")}
    )
    provider = TracerProvider(
        ParentBased(TraceIdRatioBased(sample_ratio)),
        resource,
        shutdown_on_exit=False,  # a collector that does not answer must not hold the process
    )
    provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    return provider


def flush(provider: TracerProvider, *, timeout_s: float) -> None:
    """Send what is left and end; what a collector does not take in time is lost."""
    thread = threading.Thread(target=provider.shutdown, name="loddis-tracing", daemon=True)
    thread.start()
    thread.join(timeout_s)


class TracingMiddleware:
    """Gives each request its span; stands within `RequestMiddleware`, which knows the request's id.

    Args:
        app: The application within.
        provider: Of the spans.
    """

    def __init__(self, app: ASGIApp, *, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._tracer = provider.get_tracer("loddis_server")
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        from opentelemetry.trace import SpanKind, StatusCode

        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        attributes: dict[str, Any] = {
            "http.request.method": scope["method"],
            "url.path": scope["path"],
            "loddis.request_id": scope["loddis.request_id"],
        }
        parent = self._propagator.extract(dict(Headers(scope=scope)))
        span = self._tracer.start_span(scope["method"], parent, SpanKind.SERVER, attributes)

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    span.set_status(StatusCode.ERROR)
            await send(message)

        request_span = RequestSpan(span, self._tracer)
        scope["loddis.trace_id"] = request_span.trace_id
        token = request_span_var.set(request_span)
        try:
            await self._app(scope, receive, send_noted)
        except BaseException as error:
            span.record_exception(error)
            span.set_status(StatusCode.ERROR)
            raise
        finally:
            request_span_var.reset(token)
            route = getattr(scope.get("route"), "path", None)
            if route is not None:
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
            span.end()
