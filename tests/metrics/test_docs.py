"""docs/metrics.md matches the metrics table."""

from pathlib import Path

from deployments.observability.metrics.definitions import ALL_METRICS, Kind, Label, Metric

PAGE = (Path(__file__).parents[2] / "docs/metrics.md").read_text(encoding="utf-8")


def shown(label: Label) -> str:
    return f"`{label.name}`: {label.bounds or ', '.join(label.values)}"


def row(metric: Metric) -> str:
    """The metric's row on the page. A histogram has the name that its three series share."""
    name = metric.series[0].removesuffix("_bucket") if metric.kind is Kind.HISTOGRAM else metric.series[0]
    labels = "<br>".join(shown(label) for label in metric.labels)
    return f"| `{name}` | {metric.kind}, {metric.unit} | {metric.description} | {labels} |"


def test_the_page_has_every_metric_as_it_is_and_no_other() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `ray_ltx2_")]
    assert rows == [row(metric) for metric in ALL_METRICS]
