"""Kubernetes objects for tests: rendered by kustomize, and checked strictly against a CRD, so unknown fields fail."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[1]
K8S = ROOT / "k8s"
OVERLAYS = K8S / "overlays"
COMPONENTS = sorted([*(K8S / "platforms").iterdir(), *(K8S / "components").iterdir()])
"""What an operator may add to an overlay: a platform or a component."""
CRD = ROOT.parent / "shared" / "schemas" / "ray.io_rayservices.yaml"
KUBECTL = Path(sys.executable).with_name("kubectl")
"""Installed by the `dev` extra, so that no test of a manifest is skipped."""


def render(overlay: str) -> list[dict[str, Any]]:
    """The objects that `kubectl apply -k` would send."""
    command = [str(KUBECTL), "kustomize", str(OVERLAYS / overlay)]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(rendered))


def render_with(component: Path, overlay: str, folder: Path) -> list[dict[str, Any]]:
    """The objects of an overlay with one component added. The kustomization is written into `folder`."""
    resources, components = (os.path.relpath(path, folder) for path in (OVERLAYS / overlay, component))
    kustomization = {"resources": [resources], "components": [components]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    command = [str(KUBECTL), "kustomize", str(folder)]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(rendered))


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (only,) = [each for each in objects if each["kind"] == kind]
    return only


def strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema as JSON Schema that rejects every field it does not name."""
    found: dict[str, Any] = {name: value for name, value in schema.items() if name not in {"format", "default"}}
    if "properties" in schema:
        found["properties"] = {name: strict(each) for name, each in schema["properties"].items()}
        found["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    if isinstance(schema.get("items"), Mapping):
        found["items"] = strict(schema["items"])
    if isinstance(schema.get("additionalProperties"), Mapping):
        found["additionalProperties"] = strict(schema["additionalProperties"])
    return found


def problems(rayservice: Mapping[str, Any]) -> list[str]:
    """The violations of KubeRay's CRD. `metadata` belongs to Kubernetes and is not checked."""
    validator = validator_of(CRD, rayservice["apiVersion"].removeprefix("ray.io/"))
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(dict(rayservice))]


@cache
def validator_of(crd: Path, version: str) -> Draft202012Validator:
    return Draft202012Validator(strict(schema_of(crd, version)))


@cache
def schema_of(crd: Path, version: str) -> dict[str, Any]:
    """The schema of one version of a CRD. Reading the file takes seconds."""
    definition = yaml.load(crd.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    versions = {each["name"]: each["schema"]["openAPIV3Schema"] for each in definition["spec"]["versions"]}
    return dict(versions[version])


def pods(rayservice: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and template of each kind of pod in it."""
    cluster = rayservice["spec"]["rayClusterConfig"]
    yield "head", cluster["headGroupSpec"]["template"]
    for group in cluster.get("workerGroupSpecs", []):
        yield group["groupName"], group["template"]
