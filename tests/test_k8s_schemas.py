"""Strict schemas: Kubernetes' own for core objects and pods, KubeRay's for RayService, and Prometheus operator's."""

import importlib
import subprocess
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from kubernetes_validate import ValidationError, validate

from tests.k8s.pods import head_pod, worker_pod
from tests.kuberay_fields import RAY_SERVICE, core_parts, unknown_fields
from tests.kubernetes import (
    COMPONENTS,
    CRD,
    K8S,
    KUBECTL,
    OVERLAYS,
    ROOT,
    of_kind,
    pods,
    render,
    render_with,
    schema_of,
)

VERSIONS = ("1.30.0", "1.37.0")
CORE = {
    "v1",
    "batch/v1",
    "policy/v1",
    "networking.k8s.io/v1",
    "rbac.authorization.k8s.io/v1",
    "scheduling.k8s.io/v1",
    "apps/v1",
}
"""The API groups of Kubernetes itself. Others are custom resources, whose schemas come with their operators."""
CUSTOM = {"ray.io/v1", "gateway.networking.k8s.io/v1", "gateway.envoyproxy.io/v1alpha1"}
RENDERED = sorted(path.parent for kind in ("overlays", "storage", "weights") for path in (K8S / kind).glob("*/kustom*"))
each_version = pytest.mark.parametrize("version", VERSIONS)
each_overlay = pytest.mark.parametrize("overlay", sorted(path.name for path in OVERLAYS.iterdir()))


@cache
def objects(folder: Path) -> tuple[dict[str, Any], ...]:
    command = [str(KUBECTL), "kustomize", str(folder)]
    return tuple(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def examples() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((K8S / "examples").glob("*.yaml")):
        for each in yaml.safe_load_all(path.read_text()):
            yield path.name, each


def everything() -> list[tuple[str, dict[str, Any]]]:
    rendered = [(str(folder.relative_to(K8S)), each) for folder in RENDERED for each in objects(folder)]
    return [*rendered, *examples()]


@each_version
def test_kubernetes_knows_every_field_of_the_core_objects(version: str) -> None:
    seen = set()
    for place, each in everything():
        if each["apiVersion"] in CORE:
            validate(each, version, strict=True)
            seen.add(each["kind"])
        else:
            assert each["apiVersion"] in CUSTOM, f"{place}: {each['kind']}"
    assert {"NetworkPolicy", "PodDisruptionBudget", "PersistentVolumeClaim", "Namespace", "Job"} <= seen


@each_version
@each_overlay
def test_kubernetes_knows_every_field_of_the_pods(version: str, overlay: str) -> None:
    service = of_kind(render(overlay), "RayService")
    for name, template in pods(service):
        validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **template}, version, strict=True)


@each_version
def test_the_pods_of_the_fake_operator_are_pods(version: str) -> None:
    """Shows that the cluster tests start what Kubernetes would start."""
    service = of_kind(render("production"), "RayService")
    metadata = {"name": "ltx2-abcde", "namespace": "ltx2", "uid": "1"}
    cluster = {"metadata": metadata, "spec": service["spec"]["rayClusterConfig"]}
    for pod in (head_pod(cluster, "head"), *(worker_pod(cluster, name, name) for name in ("cpu", "gpu"))):
        for container in pod["spec"]["containers"]:
            container.setdefault("image", "ltx2-server")
        validate(pod, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    (policy,) = [each for each in objects(OVERLAYS / "production") if each["kind"] == "NetworkPolicy"]
    with pytest.raises(ValidationError):
        validate({**policy, "spec": {**policy["spec"], "ingres": []}}, VERSIONS[0], strict=True)


@each_overlay
@pytest.mark.parametrize("component", [None, *COMPONENTS], ids=lambda path: path.name if path else "alone")
def test_every_kuberay_since_1_5_knows_every_field(overlay: str, component: Path | None, tmp_path: Path) -> None:
    found = render_with(component, overlay, tmp_path.resolve()) if component else render(overlay)
    service = of_kind(found, "RayService")
    assert unknown_fields(service) == []
    for part in core_parts(service):
        validate(part, VERSIONS[0], strict=True)


@pytest.mark.parametrize(
    ("place", "field"),
    [
        ((), "suspend"),  # of KubeRay 1.7
        (("rayClusterConfig",), "upgradeStrategy"),  # of 1.6
        (("rayClusterConfig", "autoscalerOptions"), "idleTimeoutSecond"),
        (("rayClusterConfig", "workerGroupSpecs", 0), "maxReplica"),
    ],
)
def test_a_field_that_some_kuberay_does_not_know_is_found(place: tuple[str | int, ...], field: str) -> None:
    service = deepcopy(of_kind(render("production"), "RayService"))
    plant(service, place, field)
    (problem,) = unknown_fields(service)
    assert f"'{field}'" in problem


def plant(made: dict[str, Any], place: tuple[str | int, ...], field: str) -> None:
    """Write a field into an object's spec, at the given place."""
    at = made["spec"]
    for step in place:
        at = at[step]
    at[field] = "x"


@pytest.mark.parametrize("options", ["autoscalerOptions", "gcsFaultToleranceOptions"])
def test_a_field_that_kubernetes_does_not_know_is_found_in_what_kuberay_takes_from_it(options: str) -> None:
    service = deepcopy(of_kind(render("production"), "RayService"))
    at = service["spec"]["rayClusterConfig"][options]
    if options == "autoscalerOptions":
        at["volumeMounts"][0]["mountpath"] = "/"
    else:
        at["redisPassword"]["valueFrom"]["secretKey"] = {}
    assert unknown_fields(service) == []
    *_, containers = (part for part in core_parts(service) if part["kind"] == "Pod")
    with pytest.raises(ValidationError):
        validate(containers, VERSIONS[0], strict=True)


@pytest.mark.skipif(not CRD.exists(), reason=f"KubeRay's CRD is not at {CRD}")
def test_the_fields_of_a_rayservice_are_those_of_kuberays_crd() -> None:
    theirs = schema_of(CRD, "v1")["properties"]["spec"]
    assert list(differences(RAY_SERVICE["properties"]["spec"], theirs)) == []


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], place: str = "spec") -> Iterator[str]:
    """The fields that the CRD lacks, or for which it has another type or other values."""
    if any(ours.get(word) != theirs.get(word) for word in ("type", "enum")):
        yield place
    for name, field in ours.get("properties", {}).items():
        if name in theirs["properties"]:
            yield from differences(field, theirs["properties"][name], f"{place}.{name}")
        else:
            yield f"{place}.{name}"
    if "items" in ours:
        yield from differences(ours["items"], theirs["items"], f"{place}[]")


@each_overlay
def test_the_prometheus_operator_knows_every_field(overlay: str, tmp_path: Path) -> None:
    found = render_with(ROOT / "observability", overlay, tmp_path.resolve())
    for kind in ("PodMonitor", "PrometheusRule"):
        assert [error.message for error in of_operator(kind).iter_errors(of_kind(found, kind))] == []


@pytest.mark.parametrize(
    ("kind", "place", "field"),
    [
        ("PodMonitor", ("podMetricsEndpoints", 0), "relabeling"),
        ("PodMonitor", ("podMetricsEndpoints", 0, "relabelings", 0), "target"),
        ("PrometheusRule", ("groups", 0, "rules", 0), "severity"),
    ],
)
def test_a_field_that_the_prometheus_operator_does_not_know_is_found(
    kind: str, place: tuple[str | int, ...], field: str, tmp_path: Path
) -> None:
    wrong = of_kind(render_with(ROOT / "observability", "production", tmp_path.resolve()), kind)
    plant(wrong, place, field)
    assert [error for error in of_operator(kind).iter_errors(wrong) if f"'{field}'" in error.message]


@cache
def of_operator(kind: str) -> Draft202012Validator:
    """The strict schema of one of its objects, from a package that generates models from its CRDs."""
    models = importlib.import_module("cloudcoil.models.prometheus_operator.v1")
    schema = getattr(models, kind).model_json_schema(by_alias=True)
    for each in (schema, *schema["$defs"].values()):
        if "properties" in each:
            each["additionalProperties"] = False
    return Draft202012Validator(schema)
