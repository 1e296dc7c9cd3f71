"""The alert rules and the dashboard use existing metrics, and the page explains each alert."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.observability.metrics.definitions import ALL_METRICS

ROOT = Path(__file__).parents[2]
OBSERVABILITY = ROOT / "observability"
ALERTS = OBSERVABILITY / "alerts.yaml"
DASHBOARD: dict[str, Any] = json.loads((OBSERVABILITY / "dashboard.json").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
PROMTOOL = shutil.which("promtool")
OURS = {name: metric for metric in ALL_METRICS for name in metric.series}
RAYS = {
    "ray_serve_deployment_replica_healthy",
    "ray_node_gpus_utilization",
    "ray_node_disk_utilization_percentage",
    "ray_node_mem_used",
    "ray_node_mem_total",
    "ray_object_store_used_memory",
    "ray_object_store_available_memory",
}
"""Ray's own metrics on the dashboard. Read from the endpoint of Ray 2.60; the GPU's from its source."""

KUBERAYS = {"kuberay_service_condition_ready", "kuberay_service_condition_upgrade_in_progress"}
"""Metrics of KubeRay's operator, read from its source (1.4 to 1.7): 1 for each condition, with the status as a label.
"""

tool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: it comes with Prometheus")


def queries() -> Iterator[tuple[str, str]]:
    yield from ((rule["alert"], rule["expr"]) for rule in RULES)
    for panel in DASHBOARD["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", []))


each_query = pytest.mark.parametrize(("where", "query"), list(queries()))


@each_query
def test_every_metric_of_a_query_is_there(where: str, query: str) -> None:
    names = set(re.findall(r"\b(?:kube)?ray_\w+", query))
    assert names <= set(OURS) | RAYS | KUBERAYS
    assert names or "ALERTS" in query


@each_query
def test_every_label_of_a_query_has_the_values_that_it_asks_for(where: str, query: str) -> None:
    for name, selectors in re.findall(r"(ray_ltx2_\w+)\{([^}]*)\}", query):
        labels = {label.name: label for label in OURS[name].labels}
        for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', selectors):
            assert label in {*labels, "application"}
            if operator in ("=", "!=") and label in labels and labels[label].values:
                assert value in labels[label].values


def test_panels_take_the_data_source_of_whoever_looks_and_have_numbers_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    shown = [panel for panel in panels if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in shown} == {"${datasource}"}
    assert "datasource" in {variable["type"] for variable in DASHBOARD["templating"]["list"]}


def test_no_two_panels_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


@tool
def test_prometheus_takes_the_rules() -> None:
    subprocess.run(["promtool", "check", "rules", str(ALERTS)], check=True, capture_output=True)


@tool
def test_every_alert_fires_on_what_it_is_for_and_is_silent_on_what_is_near_to_it() -> None:
    command = ["promtool", "test", "rules", str(OBSERVABILITY / "alerts_test.yaml")]
    tested = subprocess.run(command, check=False, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stderr + tested.stdout


@tool
@pytest.mark.parametrize(
    ("panel", "shown"),
    [
        ("Claims", {"{}": 1}),
        ("Queued", {"{}": 1}),
        ("Oldest in the queue", {"{}": 1}),
        ("Queue", {"{}": 1}),
        ("Where tasks stand now", {'{state="queued"}': 1, '{state="denoising"}': 1}),
        ("Generators", {'{state="ready"}': 1}),
    ],
)
def test_the_last_values_of_a_dispatcher_that_died_do_not_count_twice(
    panel: str, shown: dict[str, int], tmp_path: Path
) -> None:
    """Ray exports them for 20 s beside those of the next Dispatcher."""
    (query, *_) = (expr for title, expr in queries() if title == panel)
    gauges = (
        'tasks{state="queued",',
        'tasks{state="denoising",',
        'generators{state="ready",',
        "oldest_queued_age_seconds{",
        "paused{",
    )
    series = [
        {"series": f'ray_ltx2_{gauge}application="ltx2",replica="{replica}"}}', "values": "1"}
        for gauge in gauges
        for replica in "ab"
    ]
    expected = [{"labels": labels, "value": value} for labels, value in shown.items()]
    asked = {"expr": query.replace("$application", ".*"), "eval_time": "0m", "exp_samples": expected}
    test = {"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": [asked]}]}
    (tmp_path / "panel.yaml").write_text(yaml.safe_dump(test))
    told = subprocess.run(["promtool", "test", "rules", "panel.yaml"], cwd=tmp_path, check=False, capture_output=True)
    assert told.returncode == 0, told.stdout.decode()


def test_no_alert_is_without_a_test_that_it_fires_and_one_that_it_does_not() -> None:
    tests = yaml.safe_load((OBSERVABILITY / "alerts_test.yaml").read_text(encoding="utf-8"))["tests"]
    names = {each["name"] for each in tests}
    assert names == {f"{rule['alert']} {kind}" for rule in RULES for kind in ("fires", "is silent")}


def test_the_page_says_of_every_alert_what_it_means() -> None:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    headings = [line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")]
    assert headings == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/metrics.md#{rule['alert'].lower()}"
