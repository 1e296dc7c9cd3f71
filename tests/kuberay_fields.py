"""The RayService fields that KubeRay 1.5, 1.6 and 1.7 all have, as a strict JSON Schema. Source: their CRDs.

No package contains those CRDs. Their parts that belong to Kubernetes (templates of pods, resources, variables,
services) are checked by `core_parts` against Kubernetes' schemas. Fields added after 1.5 are left out, so that no
manifest uses them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from tests.kubernetes import pods

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
CORE: Schema = {"type": "object"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}


def record(required: str = "", **fields: Schema) -> Schema:
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


def many(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


SECRET_TEXT = record(value=TEXT, valueFrom=CORE)

AUTOSCALER = record(
    env=many(CORE),
    envFrom=many(CORE),
    idleTimeoutSeconds=NUMBER,
    image=TEXT,
    imagePullPolicy=TEXT,
    resources=CORE,
    securityContext=CORE,
    upscalingMode=one_of("Default", "Aggressive", "Conservative"),
    version=one_of("v1", "v2"),
    volumeMounts=many(CORE),
)
CONTAINER_FIELDS = ("env", "envFrom", "image", "imagePullPolicy", "resources", "securityContext", "volumeMounts")
"""Those of them that a pod's container also has."""

HEAD = record(
    "template",
    enableIngress=FLAG,
    headService=CORE,
    labels=TEXTS,
    rayStartParams=TEXTS,
    resources=TEXTS,
    serviceType=TEXT,
    template=CORE,
)

WORKERS = record(
    "groupName maxReplicas minReplicas template",
    groupName=TEXT,
    idleTimeoutSeconds=NUMBER,
    labels=TEXTS,
    maxReplicas=NUMBER,
    minReplicas=NUMBER,
    numOfHosts=NUMBER,
    rayStartParams=TEXTS,
    replicas=NUMBER,
    resources=TEXTS,
    scaleStrategy=record(workersToDelete=many(TEXT)),
    suspend=FLAG,
    template=CORE,
)

CLUSTER = record(
    "headGroupSpec",
    authOptions=record(mode=one_of("disabled", "token")),
    autoscalerOptions=AUTOSCALER,
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=record(
        "redisAddress",
        externalStorageNamespace=TEXT,
        redisAddress=TEXT,
        redisPassword=SECRET_TEXT,
        redisUsername=SECRET_TEXT,
    ),
    headGroupSpec=HEAD,
    headServiceAnnotations=TEXTS,
    managedBy=TEXT,
    rayVersion=TEXT,
    suspend=FLAG,
    workerGroupSpecs=many(WORKERS),
)

UPGRADE = record(
    type=TEXT,
    clusterUpgradeOptions=record(
        "gatewayClassName intervalSeconds stepSizePercent",
        gatewayClassName=TEXT,
        intervalSeconds=NUMBER,
        maxSurgePercent=NUMBER,
        stepSizePercent=NUMBER,
    ),
)

RAY_SERVICE = record(
    "apiVersion kind metadata spec",
    apiVersion=one_of("ray.io/v1"),
    kind=one_of("RayService"),
    metadata=CORE,
    spec=record(
        "rayClusterConfig",
        deploymentUnhealthySecondThreshold=NUMBER,
        excludeHeadPodFromServeSvc=FLAG,
        rayClusterConfig=CLUSTER,
        rayClusterDeletionDelaySeconds=NUMBER,
        serveConfigV2=TEXT,
        serveService=CORE,
        serviceUnhealthySecondThreshold=NUMBER,
        upgradeStrategy=UPGRADE,
    ),
)

VALIDATOR = Draft202012Validator(RAY_SERVICE)


def unknown_fields(rayservice: Mapping[str, Any]) -> list[str]:
    """The fields of a RayService that at least one KubeRay version from 1.5 on rejects."""
    return [f"{error.json_path}: {error.message[:200]}" for error in VALIDATOR.iter_errors(rayservice)]


def core_parts(rayservice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts with a Kubernetes schema: each template as a pod; the autoscaler and Redis' secrets as a container."""
    cluster = rayservice["spec"]["rayClusterConfig"]
    for name, template in pods(rayservice):
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **template}
    autoscaler = {name: each for name, each in cluster.get("autoscalerOptions", {}).items() if name in CONTAINER_FIELDS}
    redis = cluster.get("gcsFaultToleranceOptions", {})
    secrets = [{"name": name, **redis[name]} for name in ("redisPassword", "redisUsername") if name in redis]
    containers = [{"name": "autoscaler", **autoscaler}, {"name": "redis", "env": secrets}]
    yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "options"}, "spec": {"containers": containers}}
    for service in (rayservice["spec"].get("serveService"), cluster["headGroupSpec"].get("headService")):
        if service is not None:
            yield {"apiVersion": "v1", "kind": "Service", **service}
