"""The rendered NetworkPolicy, enforced by nftables: required connections work, forbidden ones do not."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import pytest

from tests.k8s.needs import needs_nftables
from tests.k8s.network import Holder, Network, entered
from tests.k8s.policy import Peer, apply
from tests.kubernetes import of_kind, pods, render

pytestmark = needs_nftables
SERVER, DASHBOARD, GCS, CLIENT, AGENT, RAYLET, METRICS = 8004, 8265, 6379, 10001, 52365, 11000, (8080, 44217, 44227)
PORTS = (SERVER, DASHBOARD, GCS, CLIENT, AGENT, RAYLET, *METRICS)
PATIENCE_S = 2.0
STRANGERS = {
    "gateway": "envoy-gateway-system",
    "operator": "kuberay-system",
    "prometheus": "monitoring",
    "neighbour": "ltx2",
    "stranger": "default",
}
"""Other pods in the cluster, by namespace. The neighbor is a pod of another app beside the server."""
OPEN_OUTSIDE = {53, 443, 5432, 6379, 6380, 6443}
"""The name server, buckets and webhooks, PostgreSQL, Redis, the Kubernetes API."""
SHUT_OUTSIDE = {22, 25, 80, 8080, 9000}


@cache
def objects(overlay: str) -> tuple[dict[str, Any], ...]:
    return tuple(render(overlay))


class Reach:
    """Pods with a listener on every port, and the connections between them."""

    def __init__(self, overlay: str, network: Network, stack: ExitStack) -> None:
        service = of_kind(list(objects(overlay)), "RayService")
        ours = {name: ("ltx2", template["metadata"]["labels"]) for name, template in pods(service)}
        others = {name: (namespace, {}) for name, namespace in STRANGERS.items()}
        self.holders: dict[str, Holder] = {}
        self.peers: dict[str, Peer] = {}
        for name, (namespace, labels) in {**ours, **others, "outside": ("elsewhere", {})}.items():
            holder = Holder("net", "uts")
            stack.callback(holder.close)
            self.holders[name] = holder
            self.peers[name] = Peer(network.join(holder), namespace, labels)
            ports = OPEN_OUTSIDE | SHUT_OUTSIDE if name == "outside" else PORTS
            with entered(holder):
                for port in ports:
                    stack.enter_context(socket.create_server(("0.0.0.0", port)))
        self.ours = set(ours)
        policies = [each for each in objects(overlay) if each["kind"] == "NetworkPolicy"]
        for name, holder in self.holders.items():
            apply(policies, self.peers[name], holder, self.peers.values())

    def reaches(self, source: str, target: str, port: int) -> bool:
        with entered(self.holders[source]):
            try:
                socket.create_connection((self.peers[target].address, port), timeout=PATIENCE_S).close()
            except OSError:
                return False
        return True

    def reached(self, source: str, target: str, ports: Any = PORTS) -> set[int]:
        return {port for port in ports if self.reaches(source, target, port)}


@contextmanager
def cluster(overlay: str) -> Iterator[Reach]:
    with Network() as network, ExitStack() as stack:
        yield Reach(overlay, network, stack)


EXPECTED: Mapping[str, Mapping[str, set[int]]] = {
    "production": {
        "gateway": {SERVER},
        "operator": {SERVER, DASHBOARD},
        "prometheus": set(METRICS),
        "neighbour": set(),
        "stranger": set(),
    },
    "single": {
        "gateway": {SERVER},
        "operator": {SERVER, DASHBOARD},
        "prometheus": {SERVER, *METRICS},
        "neighbour": {SERVER},
        "stranger": {SERVER},
    },
}


@pytest.mark.parametrize("overlay", EXPECTED)
def test_each_stranger_reaches_what_it_is_there_for_and_nothing_else(overlay: str) -> None:
    with cluster(overlay) as reach:
        for target in reach.ours:
            found = {source: reach.reached(source, target) for source in STRANGERS}
            assert found == EXPECTED[overlay], target


def test_the_pods_of_the_server_reach_each_other_and_outside_what_they_need() -> None:
    with cluster("production") as reach:
        assert reach.ours == {"head", "cpu", "gpu"}
        for source in reach.ours:
            for target in reach.ours - {source}:
                assert reach.reached(source, target) == set(PORTS)
            assert reach.reached(source, "outside", OPEN_OUTSIDE | SHUT_OUTSIDE) == OPEN_OUTSIDE
            assert reach.reached(source, "neighbour", {SERVER, DASHBOARD}) == set()


def test_without_the_policy_everything_is_reached() -> None:
    """Shows that the policy blocks what is blocked in the other tests."""
    with cluster("production") as reach:
        for holder in reach.holders.values():
            holder.run("nft", "flush", "ruleset")
        assert reach.reached("stranger", "head") == set(PORTS)
        assert reach.reached("gpu", "outside", SHUT_OUTSIDE) == SHUT_OUTSIDE


def test_names_are_looked_up_by_udp() -> None:
    with cluster("production") as reach:
        with entered(reach.holders["outside"]):
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.bind(("0.0.0.0", 53))
            server.settimeout(PATIENCE_S)
        with server, entered(reach.holders["gpu"]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"?", (reach.peers["outside"].address, 53))
            question, asker = server.recvfrom(10)
            assert (question, asker[0]) == (b"?", reach.peers["gpu"].address)


def test_a_rule_that_nftables_cannot_read_is_found() -> None:
    with Network() as network:
        holder = Holder("net", "uts")
        try:
            peer = Peer(network.join(holder), "ltx2", {})
            rules = [{"ports": [{"port": "no such name"}]}]
            policy = {"spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules}}
            with pytest.raises(AssertionError, match="nft"):
                apply([policy], peer, holder, [])
        finally:
            holder.close()
