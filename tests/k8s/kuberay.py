"""KubeRay's operator for one RayService, limited to what runs: clusters, pods, Serve's config, the switch.

Each call of `reconcile` does what KubeRay 1.7 does (rayservice_controller.go, raycluster_controller.go).
"""

import json
import secrets
import string
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import yaml

from tests.k8s.backends import Backends
from tests.k8s.kubelet import Pod, Shared
from tests.k8s.network import Holder, Network, entered
from tests.k8s.pods import Object, groups, head_address, head_pod, token_secret, whole, without_scale, worker_pod
from tests.k8s.policy import selects

NAMESPACE = "ltx2"
DOMAIN = f"{NAMESPACE}.svc.cluster.local"
SERVE_SERVICE_ADDRESS = "10.96.0.7"
LOOK_EVERY_S = 0.5
APPLICATIONS = "/api/serve/applications/"
NAME_CACHE_S = 30.0
"""How long the cluster's name server returns the address of a removed pod after another is ready: CoreDNS' own cache
time."""


@dataclass
class Cluster:
    """A RayCluster and its pods."""

    made: Object
    pods: list[Pod] = field(default_factory=list)
    waiting: list[Object] = field(default_factory=list)
    """Pods that were created, but for which no node has a GPU."""
    submitted: str = ""
    """The Serve config that was submitted last."""
    applications: dict[str, Any] = field(default_factory=dict)
    ends_at: float | None = None
    head_known_as: str = ""
    """The head's address in the name server."""
    head_moved_at: float = 0.0

    @property
    def name(self) -> str:
        return str(self.made["metadata"]["name"])

    @property
    def head(self) -> Pod | None:
        return next(iter(self.of("headgroup")), None)

    def of(self, group: str) -> list[Pod]:
        """The pods of a group, including those that are ending."""
        return [pod for pod in self.pods if pod.labels["ray.io/group"] == group]

    @property
    def replica_states(self) -> set[str]:
        """The states of all replicas, as Serve reports them."""
        deployments = [each for app in self.applications.values() for each in app["deployments"].values()]
        return {replica["state"] for each in deployments for replica in each["replicas"]}

    @property
    def running(self) -> bool:
        return bool(self.applications) and all(each["status"] == "RUNNING" for each in self.applications.values())


class Operator:
    """`gpus` is the number of GPUs of the nodes. A pod that needs more stays pending."""

    def __init__(self, shared: Shared, network: Network, backends: Backends, gpus: int) -> None:
        self._shared = shared
        self._backends = backends
        self._network = network
        self._gpus = gpus
        self._holder = Holder("net", "uts")
        self.address = network.join(self._holder)
        self._service: Object = {}
        self.active: Cluster | None = None
        self.pending: Cluster | None = None
        self.old: list[Cluster] = []
        self.said: list[str] = []
        self.killed: list[Pod] = []
        """Pods that were killed after their grace period while their cluster existed.

        When a cluster is deleted, its head ends, and Ray stops no worker without a head. Those workers are killed after
        preStop and are not in this list."""
        self._skipped_s = 0.0

    @property
    def clusters(self) -> list[Cluster]:
        return [each for each in (self.active, self.pending, *self.old) if each is not None]

    @property
    def pods(self) -> list[Pod]:
        return [pod for cluster in self.clusters for pod in cluster.pods]

    def apply(self, rayservice: Object) -> None:
        """Apply it like `kubectl apply`."""
        self._service = deepcopy(rayservice)

    def seconds_left(self, cluster: Cluster) -> float:
        """Seconds until a superseded cluster is deleted."""
        assert cluster.ends_at is not None
        return cluster.ends_at - self._now()

    def skip(self, seconds: float) -> None:
        """Advance the operator's clock, so that its waits end sooner."""
        self._skipped_s += seconds

    def _now(self) -> float:
        return time.monotonic() + self._skipped_s

    def until(self, condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
        """Reconcile until the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not (found := self._reconciled(condition)):
            assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s\n{self.describe()}"
            time.sleep(LOOK_EVERY_S)
        return found

    def _reconciled(self, condition: Callable[[], Any]) -> Any:
        self.reconcile()
        return condition()

    def reconcile(self) -> None:
        self._prepare_cluster()
        for cluster in self.clusters:
            self._reconcile_pods(cluster)
            self._publish()
        for each in filter(None, (self.active, self.pending)):
            self._reconcile_serve(each)
        self._promote()
        self._delete_old()

    def evict(self, pod: Pod, budget: Object) -> bool:
        """Evict a pod like `kubectl drain`. Returns False if the disruption budget refuses, which is status 429."""
        spec = budget["spec"]
        bound = [each for each in self.pods if selects(spec["selector"], each.labels)]
        healthy = [each for each in bound if each.ready]
        spare = not pod.ready and spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        if pod in bound and not spare and len(healthy) <= spec["minAvailable"]:
            return False
        pod.delete()
        return True

    def endpoints(self) -> list[Pod]:
        """The pods behind ltx2-serve-svc: the ready workers of the active cluster."""
        if self.active is None:
            return []
        return [pod for pod in self.active.pods if pod.ready and pod.labels["ray.io/serve"] == "true"]

    def describe(self) -> str:
        lines = list(self.said)
        for cluster in self.clusters:
            lines.append(f"{cluster.name}: {json.dumps(cluster.applications)[:3000]}")
            for pod in cluster.pods:
                restarts = [each.restarts for each in pod.containers]
                lines.append(f"{pod.name}: ready {pod.ready}, leaving {pod.leaving}, restarts {restarts}, {pod.events}")
                lines.append(pod.log()[-1500:])
        return "\n".join(lines)

    def _say(self, what: str) -> None:
        self.said.append(f"{datetime.now(UTC):%H:%M:%S} {what}")

    def close(self) -> None:
        for pod in self.pods:
            if not pod.gone:
                pod.lose()
        self._holder.close()

    def _prepare_cluster(self) -> None:
        newest = self.pending or self.active
        spec = self._service["spec"]["rayClusterConfig"]
        if newest is not None:
            strategy = self._service["spec"].get("upgradeStrategy", {}).get("type", "NewCluster")
            if strategy != "NewCluster" or without_scale(newest.made["spec"]) == without_scale(spec):
                return
        if self.pending is not None:
            self._retire(self.pending)
        self.pending = self._make_cluster(spec)

    def _make_cluster(self, spec: Object) -> Cluster:
        name = f"{self._service['metadata']['name']}-{_suffix()}"
        metadata = {"name": name, "namespace": NAMESPACE, "uid": secrets.token_hex(16)}
        made = {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": metadata,
            "spec": deepcopy(spec),
            "status": {},
        }
        cluster = Cluster(made)
        if secret := token_secret(cluster.made):
            self._shared.secrets[secret] = {"auth_token": secrets.token_urlsafe(32)}
        self._say(f"made {name}")
        return cluster

    def _reconcile_pods(self, cluster: Cluster) -> None:
        if cluster.ends_at is not None and self._now() >= cluster.ends_at:
            return
        for pod in cluster.pods:
            if pod.failed and not pod.leaving:
                pod.delete()
        self._forget_gone(cluster)
        if cluster.head is None:
            self._start(cluster, head_pod(cluster.made, f"{cluster.name}-head-{_suffix()}"))
        for name, group in groups(cluster.made).items():
            self._scale(cluster, name, group)
        for made in list(cluster.waiting):
            if _gpus(made) <= self._free_gpus():
                cluster.waiting.remove(made)
                self._start(cluster, made)

    def _forget_gone(self, cluster: Cluster) -> None:
        self.killed += [pod for pod in cluster.pods if pod.gone and pod.killed]
        cluster.pods = [pod for pod in cluster.pods if not pod.gone]

    def _scale(self, cluster: Cluster, name: str, group: Object) -> None:
        doomed = group.get("scaleStrategy", {}).get("workersToDelete", [])
        for pod in cluster.of(name):
            if pod.name in doomed:
                pod.delete()
        cluster.waiting = [made for made in cluster.waiting if made["metadata"]["name"] not in doomed]
        wanted = min(max(group.get("replicas", 0), group["minReplicas"]), group["maxReplicas"])
        waiting = [made for made in cluster.waiting if made["metadata"]["labels"]["ray.io/group"] == name]
        for _ in range(wanted - len(cluster.of(name)) - len(waiting)):
            cluster.waiting.append(worker_pod(cluster.made, name, f"{cluster.name}-{name}-worker-{_suffix()}"))

    def _free_gpus(self) -> int:
        return self._gpus - sum(_gpus(pod.made) for pod in self.pods if not pod.gone)

    def _start(self, cluster: Cluster, made: Object) -> None:
        pod = Pod(made, self._shared, self._network)
        cluster.pods.append(pod)
        self._publish()
        pod.start()

    def _publish(self) -> None:
        """Update the name server's service names. A service without its own address has that of its pod."""
        names = {f"{name}.{DOMAIN}": address for name, (address, _) in self._shared.services.items()}
        for cluster in self.clusters:
            if cluster.head is not None:
                names[head_address(cluster.made)] = self._known_address(cluster, cluster.head)
        self._backends.publish(names)

    def _known_address(self, cluster: Cluster, head: Pod) -> str:
        if head.address == cluster.head_known_as:
            cluster.head_moved_at = 0.0
        elif not cluster.head_known_as:
            cluster.head_known_as = head.address
        elif not cluster.head_moved_at:
            cluster.head_moved_at = time.monotonic() if head.ready else 0.0
        elif time.monotonic() - cluster.head_moved_at > NAME_CACHE_S:
            cluster.head_known_as = head.address
        return cluster.head_known_as

    def _reconcile_serve(self, cluster: Cluster) -> None:
        if cluster.head is None or not cluster.head.ready:
            return
        config = self._service["spec"]["serveConfigV2"]
        if config != self._wanted(cluster):
            return
        try:
            with entered(self._holder), self._dashboard(cluster) as dashboard:
                cluster.applications = dashboard.get(APPLICATIONS).raise_for_status().json()["applications"]
                if cluster.submitted != config or not cluster.applications:
                    answer = dashboard.put(APPLICATIONS, json=yaml.safe_load(config))
                    assert answer.is_success, answer.text
                    cluster.submitted = config
                    cluster.applications = {}
        except httpx.HTTPError as error:
            self._say(f"{cluster.name}: {type(error).__name__}: {error}")

    def _wanted(self, cluster: Cluster) -> str:
        """The config to submit: the newest cluster gets the new one; the active one keeps its own until the switch."""
        if cluster is self.active and self.pending is not None:
            return cluster.submitted
        return str(self._service["spec"]["serveConfigV2"])

    def _dashboard(self, cluster: Cluster) -> httpx.Client:
        assert cluster.head is not None
        secret = token_secret(cluster.made)
        token = self._shared.secrets[secret]["auth_token"] if secret else ""
        headers = {"x-ray-authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=f"http://{cluster.head.address}:8265", headers=headers, timeout=10)

    def _promote(self) -> None:
        if self.pending is None or not self.pending.running:
            return
        if self.active is not None:
            self._retire(self.active)
        self.active, self.pending = self.pending, None
        self._shared.services["ltx2-serve-svc"] = (SERVE_SERVICE_ADDRESS, {"serve": 8004})
        self._say(f"switched to {self.active.name}")

    def _retire(self, cluster: Cluster) -> None:
        delay_s = self._service["spec"].get("rayClusterDeletionDelaySeconds", 60)
        cluster.ends_at = self._now() + delay_s
        self.old.append(cluster)

    def _delete_old(self) -> None:
        for cluster in list(self.old):
            assert cluster.ends_at is not None
            if self._now() < cluster.ends_at:
                continue
            cluster.waiting = []
            for pod in cluster.pods:
                pod.delete()
            cluster.pods = [pod for pod in cluster.pods if not pod.gone]
            if not cluster.pods:
                self.old.remove(cluster)
                self._say(f"deleted {cluster.name}")


def _suffix() -> str:
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(5))


def _gpus(pod: Object) -> int:
    limits = pod["spec"]["containers"][0].get("resources", {}).get("limits", {})
    return whole(limits.get("nvidia.com/gpu", 0))
