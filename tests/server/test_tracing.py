"""Traces: what a collector of OpenTelemetry gets, over a real connection."""

from __future__ import annotations

import builtins
import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from loddis_runtime.errors import ConfigError
from loddis_server.service import Service
from support.frame_files import png_file, spot_frame
from support.live_server import LiveServer, settings_for

PNG = png_file(spot_frame((40, 30)))
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resource: dict[str, str] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - as the base class has it
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        for group in request.resource_spans:
            self.resource |= {one.key: one.value.string_value for one in group.resource.attributes}
            for scope in group.scope_spans:
                self.spans += scope.spans

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def run_requests(collector: Collector, repository: Path, **settings: Any) -> None:
    """Serve a traced frame, one without a trace, a refusal and a probe; the spans are there once the server is gone."""
    with (
        LiveServer(settings_for(repository, tracing_endpoint=collector.url, **settings)) as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        headers = {**SAMPLED, "X-Request-Id": "mine"}
        assert client.post("/v1/detect?return=image", content=PNG, headers=headers).status_code == 200
        assert client.post("/v1/detect", content=PNG).status_code == 200
        assert client.post("/v1/detect?model=nothing", content=PNG, headers=SAMPLED).status_code == 404
        assert client.get("/readyz", headers=SAMPLED).status_code == 200


def test_a_request_goes_on_with_the_trace_it_brings(collector: Collector, repository: Path) -> None:
    run_requests(collector, repository)
    assert collector.resource["service.name"] == "loddis-server"
    ours = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    requests = [span for span in ours if span.parent_span_id.hex() == PARENT]
    answered, refused = sorted(requests, key=lambda span: span.start_time_unix_nano)
    assert answered.name == refused.name == "POST /v1/detect"
    assert attributes(answered) == {
        "http.request.method": "POST",
        "url.path": "/v1/detect",
        "http.route": "/v1/detect",
        "http.response.status_code": 200,
        "loddis.request_id": "mine",
    }
    assert attributes(refused)["http.response.status_code"] == 404
    stages = {span.name: span for span in ours if span.parent_span_id == answered.span_id}
    assert set(stages) == {"receive", "decode", "prepare", "queue", "infer", "finish", "render"}
    for span in stages.values():
        assert answered.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= answered.end_time_unix_nano
    assert not any(span.parent_span_id == refused.span_id for span in ours)


def test_requests_without_a_trace_begin_their_own(collector: Collector, repository: Path) -> None:
    run_requests(collector, repository)
    (own,) = [span for span in collector.spans if not span.parent_span_id]
    assert own.trace_id.hex() != TRACE
    assert sum(span.trace_id == own.trace_id for span in collector.spans) == 7


def test_a_ratio_of_none_traces_what_comes_with_a_trace(collector: Collector, repository: Path) -> None:
    run_requests(collector, repository, tracing_sample_ratio=0.0)
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}


def test_the_log_names_the_trace(collector: Collector, repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="loddis_server.middleware"):
        run_requests(collector, repository)
    lines = [record.__dict__ for record in caplog.records if record.getMessage() == "request"]
    assert [line.get("trace_id") == TRACE for line in lines] == [True, False, True, False]
    assert "trace_id" not in lines[-1]


def test_a_collector_that_is_not_there_costs_no_request(repository: Path) -> None:
    collector = Collector()
    collector.close()
    run_requests(collector, repository)
    assert collector.spans == []


def test_what_is_off_is_not_imported() -> None:
    code = (
        "import sys, loddis_server.serving\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_packages_that_are_missing_are_named(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without_exporter(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("opentelemetry.exporter"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return found(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_exporter)
    with pytest.raises(ConfigError, match=r"pip install 'loddis\[opentelemetry\]'"):
        Service(settings_for(repository, tracing_endpoint="http://127.0.0.1:4318/v1/traces"))
