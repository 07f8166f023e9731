"""Traces: a span a request, within it queue, network and encode; none unless they are asked for."""

from __future__ import annotations

import http.server
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from multigen.errors import MultigenError
from multigen.serving.otel import Traces
from multigen.serving.trace import TRACE, timed
from multigen.serving.tracing import tracing_of
from tests.serving.hosted import Hosted, hosted

MAKE = "/v1/images/generations"
Traced = tuple[Hosted, InMemorySpanExporter]


@pytest.fixture(scope="module")
def traced(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    kept = InMemorySpanExporter()
    tracing = Traces(SimpleSpanProcessor(kept), {})
    with hosted(digits, tmp_path_factory.mktemp("store"), tracing=tracing) as one:
        yield one, kept


def spans(traced: Traced) -> dict[str, ReadableSpan]:
    """Those since the last call, by name."""
    one, kept = traced
    one.quiet()
    found = {span.name: span for span in kept.get_finished_spans()}
    kept.clear()
    return found


def test_a_request_is_a_span_with_its_parts(traced: Traced) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = {"prompt": "3", "steps": 3, "n": 2, "sampler": "heun", "user": "secret"}
    answer = traced[0].ask("POST", MAKE, body, {"traceparent": parent, "x-request-id": "mine"})
    assert answer.status == 200
    found = spans(traced)
    assert set(found) == {f"POST {MAKE}", "queue", "network", "encode"}
    whole = found[f"POST {MAKE}"]
    assert whole.kind is SpanKind.SERVER and whole.parent is not None
    assert f"{whole.context.trace_id:032x}" == parent.split("-")[1]
    assert dict(whole.attributes or {}) == {
        "http.request.method": "POST", "http.route": MAKE, "http.response.status_code": 200,
        "multigen.request_id": "mine",
    }  # fmt: skip
    times = {name: (span.start_time or 0, span.end_time or 0) for name, span in found.items()}
    for name in ("queue", "network", "encode"):
        part = found[name].parent
        assert part is not None and part.span_id == whole.context.span_id
        slack = 2_000_000  # ns: the clocks of the two are not the same
        assert (
            times[whole.name][0] - slack <= times[name][0] <= times[name][1] <= times[whole.name][1] + slack
        )
    assert times["queue"][1] == times["network"][0] < times["network"][1] <= times["encode"][0]
    network = found["network"].attributes or {}
    assert network["multigen.model"] == "digits" and network["multigen.state"] == "done"
    assert network["multigen.calls"] == 2 * 5  # Heun's: two of each step but the last
    assert not any("secret" in str(span.attributes) for span in found.values())
    assert whole.resource.attributes["service.name"] == "multigen"


def test_jobs_streams_and_errors_are_traced_and_probes_are_not(traced: Traced) -> None:
    one, _ = traced
    for path in ("/health", "/ready", "/metrics"):
        one.ask("GET", path)
    assert spans(traced) == {}
    assert one.ask("POST", "/v1/jobs", {"prompt": "3", "steps": 2}).status == 201
    one.quiet()
    found = spans(traced)
    assert {"POST /v1/jobs", "queue", "network", "encode"} <= set(found)  # which end after their request
    assert {span.context.trace_id for span in found.values()} == {found["POST /v1/jobs"].context.trace_id}
    one.ask("POST", MAKE, {"prompt": "3", "steps": 2, "stream": True, "partial_images": 1})
    assert {"queue", "network", "encode"} <= set(spans(traced))
    one.ask("POST", MAKE, {"prompt": "3", "steps": 0})
    (refused,) = spans(traced).values()
    assert (refused.attributes or {})["http.response.status_code"] == 400
    assert refused.status.status_code is StatusCode.UNSET  # the client's fault, not this server's


def test_nothing_is_traced_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracing_of(None, {}) is None
    address = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:1"}
    assert tracing_of(None, {**address, "OTEL_SDK_DISABLED": "true"}) is None
    assert tracing_of(None, {**address, "OTEL_TRACES_EXPORTER": "none"}) is None
    assert TRACE.get() is None
    with timed("encode"):
        pass


@pytest.mark.parametrize("address", ["localhost:4318", "collector", "ftp://x", "http://", ""])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(MultigenError, match="--otlp"):
        tracing_of(address, {})


def test_missing_packages_are_named_with_their_extra(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.startswith(("opentelemetry", "multigen.serving.otel"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MultigenError, match=r"--otlp: .*opentelemetry-sdk.*\[otel\]"):
        tracing_of("http://localhost:1", {})
    with caplog.at_level(logging.WARNING, "multigen"):
        assert tracing_of(None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:1"}) is None
    assert "[otel]" in caplog.text


def test_spans_arrive_at_a_collector() -> None:
    """By OTLP over HTTP, at the address's own path for traces."""
    came: list[tuple[str, bytes]] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tracing = tracing_of(f"http://127.0.0.1:{server.server_port}/", {})
        assert isinstance(tracing, Traces)
        tracing._tracer.start_span("POST /v1/jobs").end()
        tracing.close()
        server.shutdown()
    assert [path for path, _ in came] == ["/v1/traces"] and b"POST /v1/jobs" in came[0][1]
