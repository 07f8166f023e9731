"""Traces for OpenTelemetry: a span a request, within it queue, network and encode. Imported when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Receive, Scope, Send

from multigen.serving.trace import TRACE, Value
from multigen.version import __version__

# What supervisors and Prometheus ask all day.
_UNTRACED = ("/health", "/ready", "/metrics")


class Traces:
    """Spans of a server's requests, sent where `processor` sends them. Nothing is set for other code of the process."""

    def __init__(self, processor: SpanProcessor, environ: Mapping[str, str] = os.environ) -> None:
        named = {} if environ.get("OTEL_SERVICE_NAME") else {"service.name": "multigen"}
        self._provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("multigen", __version__)

    @classmethod
    def to(cls, endpoint: str | None) -> Traces:
        """To a collector by OTLP over HTTP; None: where OTEL_* of the environment say."""
        if endpoint is None:
            return cls(BatchSpanProcessor(OTLPSpanExporter()))
        base = endpoint.rstrip("/")
        address = base if base.endswith("/v1/traces") else f"{base}/v1/traces"
        return cls(BatchSpanProcessor(OTLPSpanExporter(endpoint=address)))

    def around(self, app: ASGIApp) -> ASGIApp:
        """An app whose requests are traced."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"].endswith(_UNTRACED):
                await app(scope, receive, send)
                return
            headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
            context = TraceContextTextMapPropagator().extract(headers)
            span = self._tracer.start_span(scope["method"], context, SpanKind.SERVER)
            token = TRACE.set(_Request(self._tracer, span))
            try:
                await app(scope, receive, send)
            finally:
                TRACE.reset(token)
                span.end()

        return traced

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


class _Request:
    """The trace of one request."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer, self._span, self._context = tracer, span, set_span_in_context(span)

    def part(self, name: str, begin: float, end: float, attributes: Mapping[str, Value]) -> None:
        named = {f"multigen.{key}": value for key, value in attributes.items()}
        span = self._tracer.start_span(name, self._context, attributes=named, start_time=_ns(begin))
        span.end(_ns(max(begin, end)))

    def answered(self, *, method: str, route: str, status: int, id: str) -> None:
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {"http.request.method": method, "http.route": route, "multigen.request_id": id,
             "http.response.status_code": status or 499}
        )  # fmt: skip
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
