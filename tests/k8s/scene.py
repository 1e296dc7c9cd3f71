"""The scene of the fake cluster's tests: the overlay with an operator's values, and a client of the server."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import yaml

from deployments.settings.api_keys import hash_key
from tests.e2e.server import QUICK
from tests.k8s.backends import BUCKET, REDIS_PASSWORD, S3_PORT, Backends
from tests.k8s.kubelet import Pod, Shared
from tests.k8s.kuberay import Operator
from tests.k8s.network import Holder, Network, entered
from tests.k8s.pods import Object
from tests.kubernetes import of_kind, render
from tests.s3 import CREDENTIALS, REGION

OBJECT_STORE_BYTES = "100000000"
START_TIMEOUT_S = 400
TASK_TIMEOUT_S = 240
GPUS = 1
IDLE_WORKER_S = 5
PROXY_DRAINS_S = 2
"""Serve's own 30 s stay in effect where no autoscaler waits for an idle node: `drain_node` must cope with them."""
FIRST_KEY, SECOND_KEY = "ltx_" + "1" * 32, "ltx_" + "2" * 32


def production(
    version: str = "0.1.0", *, cpu_workers: int = 2, autoscaler: str | None = None, **generator: Any
) -> Object:
    """The overlay's RayService with an operator's values, made small: the tiny model, little memory.

    There is one GPU, so one GPU worker and one Generator; `generator` holds more settings for it. `autoscaler` is Ray's
    autoscaler version; without it, the tests request the GPU worker themselves. `version` is the tag of the images.
    """
    service = deepcopy(of_kind(render("production"), "RayService"))
    cluster = service["spec"]["rayClusterConfig"]
    cluster["enableInTreeAutoscaling"] = autoscaler is not None
    cluster["autoscalerOptions"] |= {"version": autoscaler or "v2", "idleTimeoutSeconds": IDLE_WORKER_S}
    if autoscaler:
        head_env = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
        head_env.append({"name": "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S", "value": str(PROXY_DRAINS_S)})
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        group["rayStartParams"] |= {"object-store-memory": OBJECT_STORE_BYTES, "include-log-monitor": "false"}
        group["rayStartParams"].setdefault("num-cpus", "1")  # Ray starts this number of idle workers
        for container in group["template"]["spec"]["containers"]:
            container["image"] = f"{container['image'].split(':')[0]}:{version}"
        if group.get("groupName") == "cpu":
            group.update(replicas=cpu_workers, minReplicas=cpu_workers, maxReplicas=cpu_workers)
        elif group.get("groupName") == "gpu":
            group["maxReplicas"] = GPUS
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    (application,) = config["applications"]
    application["import_path"] = "tests.k8s.app:build"
    s3 = {"region": REGION, "endpoint_url": f"http://s3:{S3_PORT}"}
    application["args"] |= {"model": "tiny", "outputs": {"url": f"s3://{BUCKET}", "s3": s3}}
    application["args"]["generator"] |= {"max_replicas": GPUS, **generator}
    for name in ("ingress", "dispatcher", "encoder"):
        application["args"][name]["replicas"] = cpu_workers
    service["spec"]["serveConfigV2"] = yaml.safe_dump(config)
    return service


def keys_of_alice(key: str) -> str:
    """The settings value that `deployments.cli.admin new-key` prints."""
    return json.dumps([{"name": "alice", "sha256": hash_key(key)}])


def secret(backends: Backends) -> dict[str, str]:
    """The secret `ltx2`, as in docs/kubernetes.md."""
    return {
        "database-url": backends.database_url,
        "api-keys": keys_of_alice(FIRST_KEY),
        "redis-password": REDIS_PASSWORD,
        "s3-access-key-id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
        "s3-secret-access-key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    }


@dataclass
class Scene:
    """The cluster, and a client in its own namespace that uses the service."""

    operator: Operator
    shared: Shared
    network: Network
    client: Holder
    key: str
    submitted: list[str] = field(default_factory=list)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request to any endpoint of the service. If none answers, try the next, as clients do."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            self.operator.reconcile()
            for pod in self.operator.endpoints():
                with suppress(httpx.HTTPError):
                    answer = self.ask(pod, method, path, **options)
                    if answer.status_code < 500:
                        return answer
            assert time.monotonic() < deadline, self.operator.describe()
            time.sleep(0.5)

    def ask(self, pod: Pod, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request to one pod."""
        headers = {"Authorization": f"Bearer {self.key}"}
        with entered(self.client):
            return httpx.request(method, f"http://{pod.address}:8004{path}", headers=headers, timeout=10, **options)

    def submit(self, **fields: Any) -> str:
        answer = self.request("POST", "/v1/video/async_t2v", json={**QUICK, **fields})
        assert answer.status_code == 200, answer.text
        self.submitted.append(str(answer.json()["task_id"]))
        return self.submitted[-1]

    def poll(self, task_id: str) -> dict[str, Any]:
        return dict(self.request("GET", f"/v1/video/tasks/{task_id}").raise_for_status().json())

    def wait_until(self, task_id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + TASK_TIMEOUT_S
        while not condition(body := self.poll(task_id)):
            assert time.monotonic() < deadline, f"still {body}\n{self.operator.describe()}"
            time.sleep(0.3)
        return body

    def wait(self, task_id: str) -> dict[str, Any]:
        return self.wait_until(task_id, lambda body: body["status"] != "processing")

    def replicas(self, pod: Pod, deployment: str) -> int:
        """The number of replicas of a deployment in a pod."""
        return len(self.replica_processes(pod, deployment))

    def replica_processes(self, pod: Pod, deployment: str = "") -> set[psutil.Process]:
        """The replica processes in a pod, of one deployment or of all."""
        mark = f"ray::ServeReplica:ltx2:{deployment}"
        found = set()
        for process in pod.ray.processes():
            with suppress(psutil.Error):
                if mark in " ".join(process.cmdline()):
                    found.add(process)
        return found


@contextmanager
def running_scene(operator: Operator, shared: Shared, network: Network) -> Iterator[Scene]:
    client = Holder("net", "uts")
    try:
        network.join(client)
        yield Scene(operator, shared, network, client, FIRST_KEY)
    finally:
        client.close()
