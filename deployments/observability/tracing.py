"""Traces: one trace per task, over all four deployments.

A span refers to its parent with a `traceparent` (W3C Trace Context), which travels with the task in `Task.context`.
This module does not import OpenTelemetry: `tracing_otlp.py` does, and only when an endpoint is configured.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from storage.tasks import Task

Value = str | int | float


class Span(Protocol):
    """A span that has started."""

    @property
    def traceparent(self) -> str | None:
        """The `traceparent` for child spans. None when there is no trace."""

    def end(self, failed: str | None = None) -> None:
        """End the span now. `failed` is the code of the error that ended it. A second call has no effect."""


class Tracer(Protocol):
    """Creates the spans of one process. Never raises. Only `close` waits for the receiver."""

    def start_span(self, name: str, parent: str | None, **attributes: Value) -> Span:
        """Start a span now."""

    def record_span(self, name: str, parent: str | None, seconds: float, **attributes: Value) -> None:
        """Record a span that took `seconds` and ends now."""

    def close(self) -> None:
        """Send the remaining spans. Waits a few seconds at most."""


@dataclass(frozen=True)
class _NoopSpan:
    traceparent: str | None

    def end(self, failed: str | None = None) -> None:
        pass


class _NoopTracer:
    def start_span(self, name: str, parent: str | None, **attributes: Value) -> Span:  # noqa: ARG002
        return _NoopSpan(parent)

    def record_span(self, name: str, parent: str | None, seconds: float, **attributes: Value) -> None:
        pass

    def close(self) -> None:
        pass


NOOP_TRACER: Tracer = _NoopTracer()


@contextmanager
def in_span(tracer: Tracer, name: str, parent: str | None, **attributes: Value) -> Iterator[Span]:
    """Run the context inside a span. An exception that leaves the context marks the span as failed."""
    span = tracer.start_span(name, parent, **attributes)
    try:
        yield span
    except BaseException as error:
        span.end(error_code(error))
        raise
    span.end()


def with_parent(task: Task, span: Span) -> Task:
    """Copy the task for the next deployment, whose spans become children of `span`."""
    return replace(task, context=replace(task.context, traceparent=span.traceparent))


def error_code(error: BaseException) -> str:
    """The error code for a failed span. Never the error message, which may contain text from a client."""
    return str(getattr(error, "code", type(error).__name__))
