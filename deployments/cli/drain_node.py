"""Drain this Ray node and wait until its work has ended.

    python -m deployments.cli.drain_node SECONDS [DEADLINE]

Kubernetes runs this command before it ends a worker's pod (k8s/overlays/production). By itself Ray gives running work
30 s from SIGTERM on (measured, 2.60), but a video takes minutes. A drained node gets no new replicas. Serve starts
replacements on other nodes; the replicas here finish their work and end.

The replicas here wait until their replacements run. When no node has room for those, they wait until Serve ends them:
`graceful_shutdown_timeout_s` before DEADLINE. DEADLINE is in seconds and defaults to SECONDS.
"""

import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

import psutil

from deployments.cluster.ports import find_node_id

REPLICA = "ray::ServeReplica"
"""The command line of a replica's process begins with this."""
RAYLET = "/raylet/raylet"
"""The command of the node's raylet ends with this. A drained raylet exits when replicas and objects are gone."""
CHECK_INTERVAL_S = 1.0
MAX_HEAD_FAILURES = 120
"""Failed head checks in a row before the head counts as gone. Nothing would end the replicas then."""
DRAIN_TIMEOUT_S = 30.0


class NodeDrain:
    """Drains one node, in at most `seconds`.

    `names` returns the command lines of the node's processes. `head_answers` checks the cluster's head. The deadline
    passed to Ray is `deadline_s`, or what is left of `seconds` if that is less.
    """

    def __init__(
        self,
        names: Callable[[], Iterable[str]],
        head_answers: Callable[[], bool],
        seconds: float,
        deadline_s: float = math.inf,
    ) -> None:
        self._list_process_names = names
        self._is_head_reachable = head_answers
        self._deadline = time.monotonic() + seconds
        self._deadline_s = deadline_s
        self._head_failures = 0

    def request_drain(self, drain: Callable[[int], bool]) -> bool:
        """Ask Ray for the drain until it accepts. A head that is being replaced does not answer for a minute or two.

        Also returns True when the node has ended already: Ray's autoscaler v2 drains a node before it deletes the pod.
        """
        while self._has_time_left():
            if not self._is_node_running() or (self._check_head() and drain(self._left_s())):
                return True
            time.sleep(CHECK_INTERVAL_S)
        return False

    def wait_for_node_to_end(self) -> bool:
        """Wait until this node has ended: no replica runs, and the last clip has left its object store.

        Returns False if a replica still runs when the time is over or the head is gone.
        """
        while self._has_time_left() and self._is_node_running():
            self._check_head()
            time.sleep(CHECK_INTERVAL_S)
        return not any(name.startswith(REPLICA) for name in self._list_process_names())

    def _is_node_running(self) -> bool:
        return any(_is_raylet(name) or name.startswith(REPLICA) for name in self._list_process_names())

    def _left_s(self) -> int:
        return max(1, int(min(self._deadline_s, self._deadline - time.monotonic())))

    def _check_head(self) -> bool:
        hears = self._is_head_reachable()
        self._head_failures = 0 if hears else self._head_failures + 1
        return hears

    def _has_time_left(self) -> bool:
        return time.monotonic() < self._deadline and self._head_failures < MAX_HEAD_FAILURES


def _is_raylet(name: str) -> bool:
    return name.split(" ", 1)[0].endswith(RAYLET)


def drain_node(seconds: int) -> bool:
    """Ask Ray to drain this node, with a deadline of `seconds`. Returns whether Ray accepted."""
    ray = shutil.which("ray") or "ray"
    reason = ("--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=its pod ends")
    command = [
        ray,
        "drain-node",
        *reason,
        *node_option(list_process_names()),
        f"--deadline-remaining-seconds={seconds}",
    ]
    try:
        return subprocess.run(command, check=False, timeout=DRAIN_TIMEOUT_S).returncode == 0  # noqa: S603
    except subprocess.TimeoutExpired:
        return False


def node_option(names: Iterable[str]) -> list[str]:
    """The option that names this node, with the id from its raylet's command line; empty when no raylet runs.

    Without this option the `ray` command first connects as a driver, which took 28 s on two busy CPU cores.
    """
    found = (find_node_id(name) for name in names if _is_raylet(name))
    return [f"--node-id={node}" for node in found if node][:1]


def list_process_names() -> list[str]:
    """Command lines of all visible processes. In a pod, these are the pod's own."""
    return [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]


def is_head_reachable() -> bool:
    """Whether a TCP connection to the head succeeds. KubeRay puts its address into RAY_ADDRESS."""
    host, _, port = os.environ["RAY_ADDRESS"].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def main() -> int:
    """Drain, then wait. Returns 1 if the drain was not accepted or replicas still run."""
    departure = NodeDrain(list_process_names, is_head_reachable, *map(int, sys.argv[1:3]))
    return 0 if departure.request_drain(drain_node) and departure.wait_for_node_to_end() else 1


if __name__ == "__main__":
    sys.exit(main())
