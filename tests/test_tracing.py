"""Spans, sent to a real receiver."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest

from deployments.observability.open_tracer import open_tracer
from deployments.observability.tracing import NOOP_TRACER, in_span, with_parent
from deployments.settings import Settings, SettingsError, TraceSettings
from models.errors import EncodeFailed
from storage.tasks import RequestContext
from tests.otlp import receiving
from tests.test_log_context import TASK

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
CLIENTS = f"00-{TRACE_ID}-{SPAN_ID}-01"


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def traces(receiver):
    traces = open_tracer(TraceSettings(endpoint=receiver.endpoint), "Generator")
    yield traces
    traces.close()


def test_spans_come_under_the_clients_own_and_under_each_other(receiver, traces):
    submit = traces.start_span("submit", CLIENTS, task_id="abc")
    traces.record_span("queue", submit.traceparent, 2.5, attempt=1)
    submit.end()
    traces.close()
    found = receiver.wait_for("submit", "queue")
    assert {span.trace_id for span in found.values()} == {TRACE_ID}
    assert found["submit"].parent_id == SPAN_ID
    assert found["queue"].parent_id == found["submit"].span_id
    assert found["queue"].ended_at - found["queue"].began_at == pytest.approx(2.5, abs=1e-3)
    assert abs(found["queue"].ended_at - time.time()) < 30
    assert (found["submit"].attributes, found["queue"].attributes) == ({"task_id": "abc"}, {"attempt": 1})
    assert found["submit"].deployment == "Generator"


def test_without_a_client_each_submit_begins_a_trace_of_its_own(receiver, traces):
    first, second = traces.start_span("submit", None), traces.start_span("submit", None)
    first.end()
    second.end()
    assert first.traceparent != second.traceparent
    traces.close()
    receiver.wait_for("submit")
    assert len({span.trace_id for span in receiver.spans}) == 2
    assert {span.parent_id for span in receiver.spans} == {""}


def test_a_client_that_samples_its_trace_out_is_heeded(receiver, traces):
    unsampled = traces.start_span("submit", f"00-{TRACE_ID}-{SPAN_ID}-00")
    traces.record_span("queue", unsampled.traceparent, 1.0)
    unsampled.end()
    traces.start_span("after", None).end()
    traces.close()
    assert set(receiver.wait_for("after")) == {"after"}
    assert unsampled.traceparent.endswith("-00")


def test_a_failed_span_has_the_errors_code_and_not_its_words(receiver, traces):
    task = with_parent(TASK, traces.start_span("claim", CLIENTS))
    with pytest.raises(EncodeFailed), in_span(traces, "encode", task.context.traceparent):
        raise EncodeFailed("words of a client")
    with pytest.raises(KeyError), in_span(traces, "store", task.context.traceparent):
        raise KeyError("words of a client")
    traces.close()
    found = receiver.wait_for("encode", "store")
    assert [found[name].failed for name in ("encode", "store")] == [True, True]
    assert found["encode"].attributes == {"error.type": "encode_failed"}
    assert found["store"].attributes == {"error.type": "KeyError"}
    assert found["encode"].trace_id == TRACE_ID


def test_a_receiver_that_is_away_costs_a_task_nothing_and_an_end_a_few_seconds():
    traces = open_tracer(TraceSettings(endpoint="http://127.0.0.1:1/v1/traces"), "Generator")
    began_at = time.monotonic()
    with in_span(traces, "encode", None):
        pass
    assert time.monotonic() - began_at < 5
    traces.close()
    assert time.monotonic() - began_at < 20


def test_without_an_endpoint_a_task_goes_on_with_what_its_client_said(monkeypatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    traces = open_tracer(Settings().traces, "Generator")
    assert traces is NOOP_TRACER
    span = traces.start_span("submit", CLIENTS)
    assert span.traceparent == CLIENTS
    span.end()
    task = replace(TASK, context=RequestContext("r", CLIENTS))
    assert with_parent(task, span) == task
    traces.close()


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"}, "http://collector:4318/v1/traces"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:2/x"},
            "http://b:2/x",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "LTX2_TRACES__ENDPOINT": "http://c:3/y"}, "http://c:3/y"),
    ],
)
def test_the_standard_variables_are_read_and_our_own_wins(monkeypatch, variables, endpoint):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "LTX2_TRACES__ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings().traces.endpoint == endpoint


def test_an_endpoint_with_a_password_is_refused_without_repeating_it():
    with pytest.raises(SettingsError) as refused:
        Settings(traces={"endpoint": "http://user:secret@collector:4318/v1/traces"})
    assert "traces.endpoint" in str(refused.value)
    assert "secret" not in str(refused.value)


IMPORTS = """
import sys
import {others}
before = set(sys.modules)
import {ours}
from deployments.settings import Settings
from deployments.observability.open_tracer import open_tracer
from deployments.observability.tracing import NOOP_TRACER
assert open_tracer(Settings().traces, "Generator") is NOOP_TRACER
print(sorted(name for name in set(sys.modules) - before if name.startswith("opentelemetry")))
"""


@pytest.mark.parametrize(
    ("others", "ours"),
    [
        ("fastapi", "deployments.ingress.app, storage.task_store"),
        (
            "fastapi, ray.serve",
            "deployments.app, deployments.generator.deployment, deployments.encoder.deployment",
        ),
    ],
)
def test_nothing_of_opentelemetry_is_imported_while_traces_are_off(monkeypatch, others, ours):
    """FastAPI and Ray import its API for themselves, and Ray its SDK; no import is added to that."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, "-c", IMPORTS.format(others=others, ours=ours)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
