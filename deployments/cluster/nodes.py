"""The nodes of the Ray cluster, as `ray.nodes()` describes them."""

from collections.abc import Mapping
from typing import Any

Node = Mapping[str, Any]


def can_host_replicas(node: Node) -> bool:
    """Whether replicas may run on `node`. A head node with neither CPUs nor GPUs runs none."""
    found = node["Resources"]
    return bool(node["Alive"]) and (found.get("CPU", 0) > 0 or found.get("GPU", 0) > 0)
