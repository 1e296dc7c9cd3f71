"""Records metrics with Ray, whose Prometheus endpoint adds the deployment and the replica as labels."""

import threading
from typing import Any

from ray.serve import metrics

from deployments.observability.metrics.definitions import Kind, Metric

_making = threading.Lock()
"""One lock per process: a recorder is pickled on its way to its replica, and a lock cannot be pickled."""


class RayMetricsRecorder:
    """Created in the driver and bound to a deployment. It creates Ray's metrics in the replica, at the first record."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def initialize(self, counter: Metric, **fixed: str) -> None:
        """Export a counter's series with these labels before the first event, with the value 0."""
        for tags in counter.all_tags(fixed):
            # `inc` refuses 0 (Ray 2.60). Without a 0, a series would first appear as 1, and Prometheus sees no rise.
            self._of(counter)._record(0.0, tags)  # noqa: SLF001

    def add(self, counter: Metric, amount: float = 1.0, **labels: str) -> None:
        """Raise a counter by `amount`, if that is above 0."""
        if amount > 0:
            self._of(counter).inc(amount, counter.tags(labels))

    def set(self, gauge: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._of(gauge).set(value, gauge.tags(labels))

    def observe(self, histogram: Metric, value: float, **labels: str) -> None:
        """Count one observation in a histogram."""
        self._of(histogram).observe(value, histogram.tags(labels))

    def _of(self, metric: Metric) -> Any:
        with _making:
            if metric.name not in self._made:
                self._made[metric.name] = _make(metric)
            return self._made[metric.name]


def _make(metric: Metric) -> Any:
    names: Any = tuple(label.name for label in metric.labels)  # Ray's annotation, tuple[str], allows only one name
    match metric.kind:
        case Kind.COUNTER:
            return metrics.Counter(metric.name, metric.description, names)
        case Kind.GAUGE:
            return metrics.Gauge(metric.name, metric.description, names)
        case Kind.HISTOGRAM:
            return metrics.Histogram(metric.name, metric.description, list(metric.buckets), names)
