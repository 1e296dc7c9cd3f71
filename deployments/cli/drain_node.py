"""Drain this Ray node and wait until its work has ended.

    python -m deployments.cli.drain_node SECONDS [DEADLINE]

Kubernetes runs it before it ends a worker's pod (k8s/overlays/production): Ray itself gives what runs 30 s from SIGTERM
on (measured, 2.60), and a video takes minutes. A node that is drained gets no replica any more; Serve starts others
elsewhere, and those here finish what they have and end.

They wait for the others, which may have nowhere to start, but not beyond DEADLINE: Serve ends each so many seconds
before it as its `graceful_shutdown_timeout_s` says. By itself DEADLINE is as long as SECONDS.
"""

import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

import psutil

REPLICA = "ray::ServeReplica"
"""What Ray calls the process of a replica begins so."""
RAYLET = "/raylet/raylet"
"""How the command of a node's own process ends. Drained, it ends when nothing is left here, objects included."""
NODE_ID = re.compile(r" --node_id=(\w+)")
CHECK_INTERVAL_S = 1.0
MAX_HEAD_FAILURES = 120
"""A head that does not answer so many looks has gone with the cluster: nobody is left to end the replicas."""
DRAIN_TIMEOUT_S = 30.0


class NodeDrain:
    """The way out of one node, which takes `seconds` at most. `names` tells the commands of its processes.

    The drain is granted for `deadline_s`, or for what is left of `seconds`.
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
        """Ask for the drain until it is granted: a head that is being replaced is away for a minute or two.

        A node that Ray has ended itself, as its autoscaler v2 does before it deletes the pod, is drained.
        """
        while self._has_time_left():
            if not self._is_node_running() or (self._check_head() and drain(self._left_s())):
                return True
            time.sleep(CHECK_INTERVAL_S)
        return False

    def wait_for_node_to_end(self) -> bool:
        """Wait until this node has ended: no replica runs, and the last clip has left its object store.

        False if a replica is left when the time is over, or the head is gone.
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
    """Ask Ray to take this node out of service. Whether it is granted."""
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
    """Tells Ray which node this is, as its raylet was told.

    Without it Ray first connects as a driver: 28 s on two busy processors.
    """
    found = (NODE_ID.search(name) for name in names if _is_raylet(name))
    return [f"--node-id={match[1]}" for match in found if match][:1]


def list_process_names() -> list[str]:
    """What the processes are called; in a pod they are the pod's own."""
    return [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]


def is_head_reachable() -> bool:
    """Whether somebody listens where KubeRay says that the head is."""
    host, _, port = os.environ["RAY_ADDRESS"].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def main() -> int:
    """Drain, then wait. 1 if the drain was not granted or replicas were left."""
    departure = NodeDrain(list_process_names, is_head_reachable, *map(int, sys.argv[1:3]))
    return 0 if departure.request_drain(drain_node) and departure.wait_for_node_to_end() else 1


if __name__ == "__main__":
    sys.exit(main())
