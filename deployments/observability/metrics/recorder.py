"""The way in which the deployments record: a Protocol that knows no Ray, and its silent form."""

from typing import Protocol

from deployments.observability.metrics.definitions import Metric


class MetricsRecorder(Protocol):
    """Takes records. Never raises for a value that came from outside, and never blocks for long."""

    def initialize(self, counter: Metric, **fixed: str) -> None:
        """Show a counter's series with these labels before the first event: Prometheus sees no rise from nothing."""

    def add(self, counter: Metric, amount: float = 1.0, **labels: str) -> None:
        """Raise a counter; nothing happens for an amount that is not above 0."""

    def set(self, gauge: Metric, value: float, **labels: str) -> None:
        """Say what a gauge shows now."""

    def observe(self, histogram: Metric, value: float, **labels: str) -> None:
        """Count one observation."""


class NoopMetrics:
    """Records nothing: what a deployment has outside of Ray Serve."""

    def initialize(self, counter: Metric, **fixed: str) -> None:
        """Do nothing."""

    def add(self, counter: Metric, amount: float = 1.0, **labels: str) -> None:
        """Do nothing."""

    def set(self, gauge: Metric, value: float, **labels: str) -> None:
        """Do nothing."""

    def observe(self, histogram: Metric, value: float, **labels: str) -> None:
        """Do nothing."""


NOOP_METRICS = NoopMetrics()
