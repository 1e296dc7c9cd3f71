"""A metrics recorder that stores the values, and enforces the definitions of the metrics table."""

from collections import defaultdict

from deployments.observability.metrics.definitions import Kind, Metric

Series = tuple[str, tuple[tuple[str, str], ...]]


class RecordedMetrics:
    """Counters are summed, gauges keep the last value, histograms list their observations."""

    def __init__(self) -> None:
        self.values: dict[Series, float] = {}
        self.observations: dict[Series, list[float]] = defaultdict(list)

    def initialize(self, counter: Metric, **fixed: str) -> None:
        for tags in counter.all_tags(fixed):
            self.values.setdefault(_series(counter, tags), 0.0)

    def add(self, counter: Metric, amount: float = 1.0, **labels: str) -> None:
        assert counter.kind is Kind.COUNTER
        series = _series(counter, counter.tags(labels))
        if amount > 0:
            self.values[series] = self.values.get(series, 0.0) + amount

    def set(self, gauge: Metric, value: float, **labels: str) -> None:
        assert gauge.kind is Kind.GAUGE
        self.values[_series(gauge, gauge.tags(labels))] = value

    def observe(self, histogram: Metric, value: float, **labels: str) -> None:
        assert histogram.kind is Kind.HISTOGRAM
        self.observations[_series(histogram, histogram.tags(labels))].append(value)

    def value(self, metric: Metric, **labels: str) -> float | None:
        return self.values.get(_series(metric, labels))

    def seen(self, histogram: Metric, **labels: str) -> list[float]:
        return self.observations.get(_series(histogram, labels), [])


def _series(metric: Metric, tags: dict[str, str]) -> Series:
    return metric.name, tuple(sorted(tags.items()))
