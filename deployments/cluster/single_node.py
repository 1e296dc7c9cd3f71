"""A SQLite file belongs to one host: an app on it starts on a cluster of one node, and stays on that node.

On another host a replica would make an empty file at the same path, or write through a network to a file whose locks
hold on one host alone. So such an app is refused by a cluster of several nodes, and pinned where it was built; a node
that joins later gets none of its replicas, and the log and /health say why.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from deployments.cluster.nodes import Node, can_host_replicas
from deployments.settings import SQLITE_SCHEME, SettingsError

CHECK_INTERVAL_S = 10.0
REMEDY = "for several nodes set database_url to a PostgreSQL url"

logger = logging.getLogger("ray.serve")


def require_single_node(home: str, nodes: Iterable[Node]) -> None:
    """Raise SettingsError where replicas could start on another node than `home`, the id of one."""
    if others := other_nodes(home, nodes):
        raise SettingsError(
            f"database_url is a SQLite file, which belongs to one host, and replicas could start on {_named(others)}, "
            f"too; {REMEDY}"
        )


def node_affinity(database_url: str, home: str) -> dict[str, Any]:
    """What Ray is asked of every replica, so that none starts on another host than the file's."""
    return {"label_selector": {"ray.io/node-id": home}} if database_url.startswith(SQLITE_SCHEME) else {}


def other_nodes(home: str, nodes: Iterable[Node]) -> list[str]:
    """The other nodes that could hold replicas, by their hosts' names and addresses."""
    others = [each for each in nodes if can_host_replicas(each) and each["NodeID"] != home]
    return sorted(f"{each['NodeManagerHostname']} ({each['NodeManagerAddress']})" for each in others)


class NodeMonitor:
    """Looks for nodes that have joined, from time to time, and keeps what there is to say."""

    def __init__(self, home: str, read_nodes: Callable[[], Iterable[Node]]) -> None:
        self._home = home
        self._read_nodes = read_nodes
        self.notices: tuple[str, ...] = ()

    async def run(self) -> None:
        """Look until the task is cancelled."""
        while True:
            await self.check_nodes()
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def check_nodes(self) -> None:
        """Look once. A cluster that does not answer is asked again the next time."""
        try:
            others = other_nodes(self._home, await asyncio.to_thread(self._read_nodes))
        except Exception as error:  # Ray's own, of many kinds; what was seen last still stands
            logger.warning("the nodes of the cluster could not be read: %s", error)
            return
        notices = (_unused(others),) if others else ()
        if notices != self.notices:
            logger.warning(notices[0] if notices else "the nodes that could not be used have gone")
        self.notices = notices


def _unused(others: list[str]) -> str:
    return (
        f"{_named(others)} joined the cluster and gets no replica: database_url is a SQLite file, which belongs to one "
        f"host; {REMEDY}"
    )


def _named(others: list[str]) -> str:
    return ", ".join(others)
