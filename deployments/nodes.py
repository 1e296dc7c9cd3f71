"""The nodes of the Ray cluster, as `ray.nodes()` describes them."""

from collections.abc import Mapping
from typing import Any

Node = Mapping[str, Any]


def works(node: Node) -> bool:
    """Whether replicas may run on a node: a head without CPUs takes none."""
    return bool(node["Alive"]) and node["Resources"].get("CPU", 0) > 0
