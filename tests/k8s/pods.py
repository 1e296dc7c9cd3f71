"""The pods of a RayCluster, built from its templates as in KubeRay 1.7 (its controllers/ray/common/pod.go).

Input and output are plain objects: nothing runs here. The result includes `wait-gcs-ready`, the init container of
workers.
"""

import json
from copy import deepcopy
from decimal import ROUND_CEILING, Decimal
from typing import Any

Object = dict[str, Any]

RAY_PORT = 6379
BASH = ["/bin/bash", "-c", "--"]
AUTOSCALER = "autoscaler"
UNITS = {"m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
WAIT_FOR_GCS = "until : 2> /dev/null > /dev/tcp/{host}/{port}; do sleep 1; done"
"""KubeRay calls `ray health-check` instead, which takes seconds of CPU time each time."""


def head_service(cluster: Object) -> str:
    return f"{cluster['metadata']['name']}-head-svc"


def head_address(cluster: Object) -> str:
    return f"{head_service(cluster)}.{cluster['metadata']['namespace']}.svc.cluster.local"


def groups(cluster: Object) -> dict[str, Object]:
    return {each["groupName"]: each for each in cluster["spec"].get("workerGroupSpecs", [])}


def head_pod(cluster: Object, name: str) -> Object:
    spec = cluster["spec"]
    group = deepcopy(spec["headGroupSpec"])
    pod = _pod(cluster, group["template"], name, "head", "headgroup")
    parameters = {"dashboard-host": "0.0.0.0", **group["rayStartParams"]}
    container = pod["spec"]["containers"][0]
    if spec.get("enableInTreeAutoscaling"):
        parameters["no-monitor"] = "true"
        _add_autoscaler(cluster, pod)
    if options := spec.get("gcsFaultToleranceOptions"):
        _add_redis(cluster, container, options, parameters)
    return _finish(cluster, pod, parameters, "127.0.0.1")


def worker_pod(cluster: Object, group_name: str, name: str) -> Object:
    group = deepcopy(groups(cluster)[group_name])
    pod = _pod(cluster, group["template"], name, "worker", group_name)
    address = head_address(cluster)
    container = pod["spec"]["containers"][0]
    waiting = {
        "name": "wait-gcs-ready",
        "command": BASH,
        "args": [WAIT_FOR_GCS.format(host=address, port=RAY_PORT)],
        "env": [*deepcopy(container.get("env", [])), {"name": "FQ_RAY_IP", "value": address}, *_token(cluster)],
        "volumeMounts": deepcopy(container.get("volumeMounts", [])),
        "securityContext": container.get("securityContext", {}),
    }
    pod["spec"].setdefault("initContainers", []).append(waiting)
    parameters = {"address": f"{address}:{RAY_PORT}", **group["rayStartParams"]}
    if cluster["spec"].get("gcsFaultToleranceOptions"):
        _set(container, "RAY_gcs_rpc_server_reconnect_timeout_s", "600")
    if _autoscaler_version(cluster) == "v2":
        pod["spec"]["restartPolicy"] = "Never"
    for name_, value in (("FQ_RAY_IP", address), ("RAY_IP", head_service(cluster))):
        _set(container, name_, value)
    return _finish(cluster, pod, parameters, address)


def quantity(text: str | int) -> Decimal:
    """The numeric value of a Kubernetes quantity."""
    text = str(text)
    unit = text.lstrip("0123456789.")
    return Decimal(text.removesuffix(unit)) * UNITS.get(unit, 1)


def whole(text: str | int) -> int:
    return int(quantity(text).to_integral_value(ROUND_CEILING))


def _pod(cluster: Object, template: Object, name: str, kind: str, group: str) -> Object:
    meta = template.get("metadata", {})
    labels = {
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
        **meta.get("labels", {}),
        "ray.io/is-ray-node": "yes",
        "ray.io/cluster": cluster["metadata"]["name"],
        "ray.io/node-type": kind,
        "ray.io/group": group,
        "ray.io/serve": str(kind == "worker").lower(),
    }
    metadata = {"name": name, "namespace": cluster["metadata"]["namespace"], "labels": labels}
    metadata["annotations"] = dict(meta.get("annotations", {}))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"], "status": {}}


def _finish(cluster: Object, pod: Object, parameters: dict[str, str], address: str) -> Object:
    """The parts that head and workers have in common: command, variables, shared memory."""
    container = pod["spec"]["containers"][0]
    command = _ray_start(pod["metadata"]["labels"]["ray.io/node-type"], parameters, container.get("resources", {}))
    container["command"], container["args"] = BASH, [f"ulimit -n ${{RAY_START_ULIMIT_OPEN_FILES:-65536}}; {command}"]
    env = container.setdefault("env", [])
    env += [
        _field("RAY_CLUSTER_NAME", "metadata.labels['ray.io/cluster']"),
        _field("RAY_CLUSTER_NAMESPACE", "metadata.namespace"),
        _field("RAY_CLOUD_INSTANCE_ID", "metadata.name"),
        _field("RAY_NODE_TYPE_NAME", "metadata.labels['ray.io/group']"),
        *_token(cluster),
    ]
    for name, value in {
        "KUBERAY_GEN_RAY_START_CMD": command,
        "RAY_PORT": str(RAY_PORT),
        "RAY_timeout_ms_task_wait_for_death_info": "0",
        "RAY_gcs_server_request_timeout_seconds": "5",
        "RAY_SERVE_KV_TIMEOUT_S": "5",
        "RAY_ADDRESS": f"{address}:{RAY_PORT}",
        "RAY_USAGE_STATS_KUBERAY_IN_USE": "1",
        "RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE": "1",
    }.items():
        _set(container, name, value)
    _add_empty_dir(pod, container, "shared-mem", "/dev/shm", "Memory")
    for each in pod["spec"]["containers"]:
        if each["name"] == AUTOSCALER:
            for mounting in (container, each):
                _add_empty_dir(pod, mounting, "ray-logs", "/tmp/ray", "")
    return pod


def _ray_start(kind: str, parameters: dict[str, str], resources: Object) -> str:
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    found = {"metrics-export-port": "8080", "dashboard-agent-listen-port": "52365", **parameters, "block": "true"}
    if cpu := limits.get("cpu", requests.get("cpu")):
        found.setdefault("num-cpus", str(whole(cpu)))
    if memory := limits.get("memory"):
        found.setdefault("memory", str(whole(memory)))
    for name, amount in limits.items():
        if name.endswith("gpu"):
            found.setdefault("num-gpus", str(whole(amount)))
    switches = {"true": "--{0}", "false": ""}
    flags = [switches.get(value.lower(), "--{0}={1}").format(name, value) for name, value in sorted(found.items())]
    return " ".join(["ray start", *(["--head"] if kind == "head" else []), *filter(None, flags)])


def _add_autoscaler(cluster: Object, pod: Object) -> None:
    """Add the autoscaler's container to the head. Its ServiceAccount is KubeRay's own."""
    options = cluster["spec"].get("autoscalerOptions", {})
    command = "ray kuberay-autoscaler --cluster-name $(RAY_CLUSTER_NAME) --cluster-namespace $(RAY_CLUSTER_NAMESPACE)"
    pod["spec"]["serviceAccountName"] = cluster["metadata"]["name"]
    env = [
        _field("RAY_CLUSTER_NAME", "metadata.labels['ray.io/cluster']"),
        _field("RAY_CLUSTER_NAMESPACE", "metadata.namespace"),
        _field("RAY_HEAD_POD_NAME", "metadata.name"),
        {"name": "KUBERAY_CRD_VER", "value": "v1"},
        *_token(cluster),
        *options.get("env", []),
    ]
    pod["spec"]["containers"].append(
        {
            "name": AUTOSCALER,
            "command": BASH,
            "args": [command],
            "env": env,
            "volumeMounts": deepcopy(options.get("volumeMounts", [])),
            "securityContext": options.get("securityContext", {}),
        }
    )
    if version := _autoscaler_version(cluster):
        _set(pod["spec"]["containers"][0], "RAY_enable_autoscaler_v2", str(version == "v2").lower())
    if version == "v2":
        pod["spec"]["restartPolicy"] = "Never"


def _autoscaler_version(cluster: Object) -> str | None:
    if not cluster["spec"].get("enableInTreeAutoscaling"):
        return None
    return cluster["spec"].get("autoscalerOptions", {}).get("version")


def _add_redis(cluster: Object, container: Object, options: Object, parameters: dict[str, str]) -> None:
    _set(container, "RAY_external_storage_namespace", cluster["metadata"]["uid"])
    _set(container, "RAY_REDIS_ADDRESS", options["redisAddress"])
    if password := options.get("redisPassword"):
        parameters["redis-password"] = "$REDIS_PASSWORD"
        container.setdefault("env", []).append({"name": "REDIS_PASSWORD", **password})


def token_secret(cluster: Object) -> str | None:
    """The secret that the operator creates for a cluster whose Ray requires a token."""
    options = cluster["spec"].get("authOptions", {})
    return options.get("secretName", cluster["metadata"]["name"]) if options.get("mode") == "token" else None


def _token(cluster: Object) -> list[Object]:
    secret = token_secret(cluster)
    if secret is None:
        return []
    token = {"secretKeyRef": {"name": secret, "key": "auth_token"}}
    return [{"name": "RAY_AUTH_MODE", "value": "token"}, {"name": "RAY_AUTH_TOKEN", "valueFrom": token}]


def _set(container: Object, name: str, value: str) -> None:
    """Add a variable, unless the template already has one of that name."""
    env = container.setdefault("env", [])
    if name not in {each["name"] for each in env}:
        env.append({"name": name, "value": value})


def _field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _add_empty_dir(pod: Object, container: Object, name: str, path: str, medium: str) -> None:
    mounts = container.setdefault("volumeMounts", [])
    if path in {each["mountPath"] for each in mounts}:
        return
    volumes = pod["spec"].setdefault("volumes", [])
    if name not in {each["name"] for each in volumes}:
        volumes.append({"name": name, "emptyDir": {"medium": medium} if medium else {}})
    mounts.append({"name": name, "mountPath": path})


def without_scale(cluster_spec: Object) -> str:
    """The part of the spec whose change starts a new cluster: all except worker counts and tolerations."""
    found = deepcopy(cluster_spec)
    found["headGroupSpec"]["template"]["spec"].pop("tolerations", None)
    for group in found.get("workerGroupSpecs", []):
        group["template"]["spec"].pop("tolerations", None)
        for name in ("replicas", "minReplicas", "maxReplicas", "scaleStrategy"):
            group.pop(name, None)
    return json.dumps(found, sort_keys=True)
