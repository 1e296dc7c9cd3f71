"""Opens the tracer of a replica. Imports OpenTelemetry only when an endpoint is configured."""

from deployments.observability.tracing import NOOP_TRACER, Tracer
from deployments.settings import TraceSettings


def open_tracer(settings: TraceSettings, deployment: str) -> Tracer:
    """The tracer of a replica of `deployment`. It does nothing when no endpoint is configured."""
    if settings.endpoint is None:
        return NOOP_TRACER
    from deployments.observability.tracing_otlp import OtlpTracer

    return OtlpTracer(settings.endpoint, deployment)
