"""A SQLite file belongs to one host: an app on SQLite starts on a cluster of one node and stays on that node.

A replica on another host would create an empty file at the same path. On a network file system it would write to a
file whose locks only work within one host. So `build` refuses a cluster of several nodes and pins the app to its node.
A node that joins later gets no replica of the app; the log and /health say why.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from deployments.settings import SQLITE_SCHEME, SettingsError

Node = Mapping[str, Any]


def can_host_replicas(node: Node) -> bool:
    """Whether replicas may run on `node`. A head node with neither CPUs nor GPUs runs none."""
    found = node["Resources"]
    return bool(node["Alive"]) and (found.get("CPU", 0) > 0 or found.get("GPU", 0) > 0)


CHECK_INTERVAL_S = 10.0
REMEDY = "for several nodes set database_url to a PostgreSQL url"

logger = logging.getLogger("ray.serve")


def require_single_node(home: str, nodes: Iterable[Node]) -> None:
    """Raise SettingsError when replicas could start on a node other than `home`, which is a node id."""
    if others := other_nodes(home, nodes):
        raise SettingsError(
            f"database_url is a SQLite file, which belongs to one host, and replicas could start on {_named(others)}, "
            f"too; {REMEDY}"
        )


def node_affinity(database_url: str, home: str) -> dict[str, Any]:
    """The actor options that keep every replica on the node with the SQLite file; empty for PostgreSQL."""
    return {"label_selector": {"ray.io/node-id": home}} if database_url.startswith(SQLITE_SCHEME) else {}


def other_nodes(home: str, nodes: Iterable[Node]) -> list[str]:
    """The other nodes that could run replicas, as "HOSTNAME (ADDRESS)"."""
    others = [each for each in nodes if can_host_replicas(each) and each["NodeID"] != home]
    return sorted(f"{each['NodeManagerHostname']} ({each['NodeManagerAddress']})" for each in others)


class NodeMonitor:
    """Looks for nodes that have joined, every CHECK_INTERVAL_S seconds. `notices` is for /health."""

    def __init__(self, home: str, read_nodes: Callable[[], Iterable[Node]]) -> None:
        self._home = home
        self._read_nodes = read_nodes
        self.notices: tuple[str, ...] = ()

    async def run(self) -> None:
        """Check until this asyncio task is canceled."""
        while True:
            await self.check_nodes()
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def check_nodes(self) -> None:
        """Check once. When the cluster does not answer, the last notices stay."""
        try:
            others = other_nodes(self._home, await asyncio.to_thread(self._read_nodes))
        except Exception as error:  # Ray raises many kinds of errors here
            logger.warning("the nodes of the cluster could not be read: %s", error)
            return
        notices = (_unused(others),) if others else ()
        if notices != self.notices:
            logger.warning(notices[0] if notices else "the nodes that got no replica have left the cluster")
        self.notices = notices


def _unused(others: list[str]) -> str:
    return (
        f"{_named(others)} joined the cluster and gets no replica: database_url is a SQLite file, which belongs to one "
        f"host; {REMEDY}"
    )


def _named(others: list[str]) -> str:
    return ", ".join(others)
