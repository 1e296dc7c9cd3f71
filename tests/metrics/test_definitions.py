"""The metrics table, and the two recorders that follow it: Ray's and the tests' own."""

import pickle
import re

import pytest

from deployments.observability.metrics.definitions import (
    ALL_METRICS,
    CODE,
    COLD_STARTS,
    OTHER,
    TASKS_ENDED,
    Kind,
    Metric,
)
from deployments.observability.metrics.ray_recorder import RayMetricsRecorder
from deployments.observability.metrics.recorder import NOOP_METRICS, MetricsRecorder
from models import errors
from models.errors import VideoError
from tests.metrics.recorded import RecordedMetrics

RECORDERS = (NOOP_METRICS, RecordedMetrics(), RayMetricsRecorder(), pickle.loads(pickle.dumps(RayMetricsRecorder())))
CHECKING = RECORDERS[1:]

each_metric = pytest.mark.parametrize("metric", ALL_METRICS, ids=lambda metric: metric.name)
each_recorder = pytest.mark.parametrize("recorder", RECORDERS, ids=lambda recorder: type(recorder).__name__)


def labels(metric: Metric) -> dict[str, str]:
    return {label.name: label.values[0] if label.values else "x" for label in metric.labels}


@each_metric
def test_a_name_says_whose_it_is_and_in_what_unit(metric: Metric) -> None:
    assert re.fullmatch(r"ltx2_[a-z0-9_]+", metric.name)
    assert metric.description.endswith(".")
    if metric.unit.startswith("seconds"):
        assert metric.name.endswith("_seconds")
    if metric.unit == "bytes":
        assert metric.name.endswith("_bytes")
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_names_are_given_once() -> None:
    assert len({metric.name for metric in ALL_METRICS}) == len(ALL_METRICS)


@each_metric
def test_every_label_has_a_bounded_set_of_values(metric: Metric) -> None:
    for label in metric.labels:
        assert label.values or label.bounds
        assert label.name not in {"task", "task_id", "prompt"}


@each_metric
@each_recorder
def test_every_recorder_takes_every_metric(recorder: MetricsRecorder, metric: Metric) -> None:
    match metric.kind:
        case Kind.COUNTER:
            recorder.add(metric, **labels(metric))
            recorder.add(metric, 0.0, **labels(metric))
        case Kind.GAUGE:
            recorder.set(metric, 2.5, **labels(metric))
        case Kind.HISTOGRAM:
            recorder.observe(metric, 2.5, **labels(metric))


@each_recorder
def test_every_recorder_starts_a_counter_at_zero(recorder: MetricsRecorder) -> None:
    recorder.initialize(TASKS_ENDED, outcome="failed")
    recorder.initialize(COLD_STARTS)


@pytest.mark.parametrize("recorder", CHECKING, ids=lambda recorder: type(recorder).__name__)
@pytest.mark.parametrize("given", [{}, {"outcome": "failed"}, {"outcome": "failed", "code": "none", "task_id": "x"}])
def test_a_label_that_is_missing_or_not_in_the_table_is_refused(
    recorder: MetricsRecorder, given: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="has the labels"):
        recorder.add(TASKS_ENDED, **given)


def test_a_value_that_is_not_in_the_table_is_counted_as_other() -> None:
    assert TASKS_ENDED.tags({"outcome": "failed", "code": "a new one"}) == {"outcome": "failed", "code": OTHER}


def test_starting_at_zero_takes_all_values_of_the_labels_that_are_not_fixed() -> None:
    recorded = RecordedMetrics()
    recorded.initialize(TASKS_ENDED, outcome="failed")
    assert recorded.value(TASKS_ENDED, outcome="failed", code="out_of_memory") == 0.0
    assert recorded.value(TASKS_ENDED, outcome="completed", code="none") is None


def test_every_error_that_can_end_a_task_has_its_code() -> None:
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VideoError)}
    refusals = {
        "invalid_request",
        "image_too_large",
        "file_too_large",
        "idempotency_key_reused",
        "queue_full",
        "canceled",
        "reader_lost",
        "enhancement_failed",
    }
    assert codes - refusals <= set(CODE.values)
    assert not refusals & set(CODE.values)
