"""Kubernetes' own schemas, strictly: every core object of the manifests, and every template of a pod in them."""

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import ValidationError, validate

from tests.k8s.pods import head_pod, worker_pod
from tests.kubernetes import KUBECTL, OVERLAYS, ROOT, of_kind, pods, render

K8S = ROOT / "k8s"
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
"""What Kubernetes brings along. Others are custom resources, whose schemas come with their operators."""
CUSTOM = {"ray.io/v1", "gateway.networking.k8s.io/v1", "gateway.envoyproxy.io/v1alpha1"}
RENDERED = sorted(path.parent for kind in ("overlays", "storage", "weights") for path in (K8S / kind).glob("*/kustom*"))
each_version = pytest.mark.parametrize("version", VERSIONS)


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
@pytest.mark.parametrize("overlay", sorted(path.name for path in OVERLAYS.iterdir()))
def test_kubernetes_knows_every_field_of_the_pods(version: str, overlay: str) -> None:
    service = of_kind(render(overlay), "RayService")
    for name, template in pods(service):
        validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **template}, version, strict=True)


@each_version
def test_the_pods_of_the_fake_operator_are_pods(version: str) -> None:
    """So that what the tests of a cluster start is what Kubernetes would."""
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
