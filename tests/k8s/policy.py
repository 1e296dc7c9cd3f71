"""Translates NetworkPolicies to nftables rules in the network namespace of a pod that they select.

Policies are additive: traffic is allowed if one of them allows it. A pod that none selects has no rules. Replies to the
pod's own connections are allowed, and so is traffic from a node to its own pods, as in network plugins. Probes with
`exec` need no network.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.k8s.network import Holder

Object = Mapping[str, Any]
NAMESPACE_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Peer:
    """A participant with an address: a pod, its namespace and its labels."""

    address: str
    namespace: str
    labels: Mapping[str, str]


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Evaluate `matchLabels` and `matchExpressions`."""
    if any(labels.get(name) != value for name, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_holds(each, labels) for each in selector.get("matchExpressions", []))


def _holds(expression: Object, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", [])
    return {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression["operator"]]


def apply(policies: Sequence[Object], peer: Peer, holder: Holder, everybody: Iterable[Peer]) -> None:
    """Rewrite the rules of a pod for the current policies and pods."""
    own = [each["spec"] for each in policies if selects(each["spec"]["podSelector"], peer.labels)]
    peers = list(everybody)
    lines = ["table inet network_policy", "delete table inet network_policy", "table inet network_policy {"]
    for kind, hook, side in (("Ingress", "input", "saddr"), ("Egress", "output", "daddr")):
        bound = [spec for spec in own if kind in spec["policyTypes"]]
        if not bound:
            continue
        other = {"input": "iif", "output": "oif"}[hook]
        lines += [f"chain {hook} {{ type filter hook {hook} priority 0; policy drop;", f"{other} lo accept"]
        lines.append("ct state established,related accept")
        lines.append("icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept")
        for spec in bound:
            for rule in spec.get(kind.lower(), []):
                lines += _rules(rule, rule.get({"input": "from", "output": "to"}[hook]), side, peer.namespace, peers)
        lines += ["meta l4proto tcp reject with tcp reset", "}"]  # rejected at once, so that a test need not wait
    lines.append("}")
    holder.run("nft", "-f", "-", stdin="\n".join(lines))


def _rules(rule: Object, places: Sequence[Object] | None, side: str, namespace: str, peers: list[Peer]) -> list[str]:
    where = [""]
    if places:
        where = [f"ip {side} {each} " for place in places for each in _addresses(place, namespace, peers)]
    ports = [f"{each.get('protocol', 'TCP').lower()} dport {_port(each)} " for each in rule.get("ports", [])] or [""]
    return [f"{address}{port}accept" for address in where for port in ports]


def _port(port: Object) -> str:
    return f"{port['port']}-{port['endPort']}" if "endPort" in port else str(port["port"])


def _addresses(place: Object, namespace: str, peers: list[Peer]) -> list[str]:
    if block := place.get("ipBlock"):
        assert not block.get("except"), "not translated"
        return [str(block["cidr"])]
    namespaces = place.get("namespaceSelector", {"matchLabels": {NAMESPACE_LABEL: namespace}})
    found = [peer for peer in peers if selects(namespaces, {NAMESPACE_LABEL: peer.namespace})]
    return [peer.address for peer in found if selects(place.get("podSelector", {}), peer.labels)]
