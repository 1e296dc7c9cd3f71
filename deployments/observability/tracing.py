"""Where the time of a task goes, as one trace over the four deployments.

A span names its parent by a `traceparent` (W3C Trace Context), which travels with the task in `Task.context`. This
module does not import OpenTelemetry: `tracing_otlp.py` does, and only where an endpoint is configured.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from storage.tasks import Task

Value = str | int | float


class Span(Protocol):
    """One stretch of time that has begun."""

    @property
    def traceparent(self) -> str | None:
        """What its children name as their parent."""

    def end(self, failed: str | None = None) -> None:
        """End it now; `failed` is the code of the error that ended it. A second end changes nothing."""


class Tracer(Protocol):
    """The spans of one process. Never raises and never waits for the receiver, but for `close`."""

    def start_span(self, name: str, parent: str | None, **attributes: Value) -> Span:
        """Begin a span now."""

    def record_span(self, name: str, parent: str | None, seconds: float, **attributes: Value) -> None:
        """Note a span that took `seconds` and ends now."""

    def close(self) -> None:
        """Send what is left, for a few seconds at most."""


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
    """A span around what is done within; it fails with the error that leaves it."""
    span = tracer.start_span(name, parent, **attributes)
    try:
        yield span
    except BaseException as error:
        span.end(error_code(error))
        raise
    span.end()


def with_parent(task: Task, span: Span) -> Task:
    """The task as the next deployment gets it: its spans come under `span`."""
    return replace(task, context=replace(task.context, traceparent=span.traceparent))


def error_code(error: BaseException) -> str:
    """What a failed span says. Never the message: it may hold what a client sent."""
    return str(getattr(error, "code", type(error).__name__))
