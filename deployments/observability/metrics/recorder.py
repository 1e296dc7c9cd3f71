"""The `MetricsRecorder` protocol, and an implementation that does nothing."""

from typing import Protocol

from deployments.observability.metrics.definitions import Metric


class MetricsRecorder(Protocol):
    """Records metrics. Never raises for a value that a client sent, and never blocks for long."""

    def initialize(self, counter: Metric, **fixed: str) -> None:
        """Export a counter's series with these labels before the first event, so that Prometheus sees a rise."""

    def add(self, counter: Metric, amount: float = 1.0, **labels: str) -> None:
        """Raise a counter by `amount`. An amount of 0 or less has no effect."""

    def set(self, gauge: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""

    def observe(self, histogram: Metric, value: float, **labels: str) -> None:
        """Count one observation in a histogram."""


class NoopMetrics:
    """Records nothing. For deployments outside of Ray Serve, as in tests."""

    def initialize(self, counter: Metric, **fixed: str) -> None:
        """Do nothing."""

    def add(self, counter: Metric, amount: float = 1.0, **labels: str) -> None:
        """Do nothing."""

    def set(self, gauge: Metric, value: float, **labels: str) -> None:
        """Do nothing."""

    def observe(self, histogram: Metric, value: float, **labels: str) -> None:
        """Do nothing."""


NOOP_METRICS = NoopMetrics()
