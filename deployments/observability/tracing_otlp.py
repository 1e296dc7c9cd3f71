"""Sends spans with OTLP over HTTP, in the background.

The standard `OTEL_*` variables set headers, certificates and sampling. This module is imported only when an endpoint is
configured. It creates its own tracer provider and does not set the global one, which Ray may set.
"""

import threading
import time

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from deployments.observability.tracing import Span, Value

SERVICE = "ltx2-server"
DEPLOYMENT = "ltx2.deployment"
SHUTDOWN_TIMEOUT_S = 3.0
"""How long an ending replica tries to send its remaining spans."""
W3C = TraceContextTextMapPropagator()


class OtlpTracer:
    """The tracer of one replica."""

    def __init__(self, endpoint: str, deployment: str) -> None:
        ours = Resource({"service.name": SERVICE, DEPLOYMENT: deployment})
        provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._processor = BatchSpanProcessor(OTLPSpanExporter(endpoint))
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer(SERVICE)

    def start_span(self, name: str, parent: str | None, **attributes: Value) -> Span:
        """Start a span now. A `submit` span without a parent starts a new trace; with one it continues the client's."""
        kind = SpanKind.SERVER if name == "submit" else SpanKind.INTERNAL
        return _Span(self._tracer.start_span(name, _context(parent), kind, attributes))

    def record_span(self, name: str, parent: str | None, seconds: float, **attributes: Value) -> None:
        """Record a span that took `seconds` and ends now."""
        now_ns = time.time_ns()
        began_ns = now_ns - int(seconds * 1e9)
        self._tracer.start_span(name, _context(parent), SpanKind.INTERNAL, attributes, start_time=began_ns).end(now_ns)

    def close(self) -> None:
        """Send the remaining spans. The processor's own shutdown would wait longer for a receiver that is away."""
        ending = threading.Thread(target=self._processor.shutdown, name="last spans", daemon=True)
        ending.start()
        ending.join(SHUTDOWN_TIMEOUT_S)


class _Span:
    def __init__(self, span: OtelSpan) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        W3C.inject(carrier, set_span_in_context(self._span, Context()))
        return carrier.get("traceparent")

    def end(self, failed: str | None = None) -> None:
        if not self._span.is_recording():
            return
        if failed is not None:
            self._span.set_attribute("error.type", failed)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def _context(parent: str | None) -> Context:
    return Context() if parent is None else W3C.extract({"traceparent": parent}, Context())
