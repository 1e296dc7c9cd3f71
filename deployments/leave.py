"""Take a Ray node out of service without losing what runs on it: `python -m deployments.leave SECONDS [DEADLINE]`.

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
LOOK_EVERY_S = 1.0
MOST_SILENT = 120
"""A head that does not answer so many looks has gone with the cluster: nobody is left to end the replicas."""
DRAIN_PATIENCE_S = 30.0


class Departure:
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
        self._names = names
        self._head_answers = head_answers
        self._give_up = time.monotonic() + seconds
        self._deadline_s = deadline_s
        self._silent = 0

    def drain(self, drain: Callable[[int], bool]) -> bool:
        """Ask for the drain until it is granted: a head that is being replaced is away for a minute or two.

        A node that Ray has ended itself, as its autoscaler v2 does before it deletes the pod, is drained.
        """
        while self._may_go_on():
            if not self._node_runs() or (self._head_hears() and drain(self._left_s())):
                return True
            time.sleep(LOOK_EVERY_S)
        return False

    def wait(self) -> bool:
        """Wait until this node has ended: no replica runs, and the last clip has left its object store.

        False if a replica is left when the time is over, or the head is gone.
        """
        while self._may_go_on() and self._node_runs():
            self._head_hears()
            time.sleep(LOOK_EVERY_S)
        return not any(name.startswith(REPLICA) for name in self._names())

    def _node_runs(self) -> bool:
        return any(_is_raylet(name) or name.startswith(REPLICA) for name in self._names())

    def _left_s(self) -> int:
        return max(1, int(min(self._deadline_s, self._give_up - time.monotonic())))

    def _head_hears(self) -> bool:
        hears = self._head_answers()
        self._silent = 0 if hears else self._silent + 1
        return hears

    def _may_go_on(self) -> bool:
        return time.monotonic() < self._give_up and self._silent < MOST_SILENT


def _is_raylet(name: str) -> bool:
    return name.split(" ", 1)[0].endswith(RAYLET)


def drain(seconds: int) -> bool:
    """Ask Ray to take this node out of service. Whether it is granted."""
    ray = shutil.which("ray") or "ray"
    reason = ("--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=its pod ends")
    command = [ray, "drain-node", *reason, *node_option(process_names()), f"--deadline-remaining-seconds={seconds}"]
    try:
        return subprocess.run(command, check=False, timeout=DRAIN_PATIENCE_S).returncode == 0  # noqa: S603
    except subprocess.TimeoutExpired:
        return False


def node_option(names: Iterable[str]) -> list[str]:
    """Tells Ray which node this is, as its raylet was told.

    Without it Ray first connects as a driver: 28 s on two busy processors.
    """
    found = (NODE_ID.search(name) for name in names if _is_raylet(name))
    return [f"--node-id={match[1]}" for match in found if match][:1]


def process_names() -> list[str]:
    """What the processes are called; in a pod they are the pod's own."""
    return [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]


def head_answers() -> bool:
    """Whether somebody listens where KubeRay says that the head is."""
    host, _, port = os.environ["RAY_ADDRESS"].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def main() -> int:
    """Drain, then wait. 1 if the drain was not granted or replicas were left."""
    departure = Departure(process_names, head_answers, *map(int, sys.argv[1:3]))
    return 0 if departure.drain(drain) and departure.wait() else 1


if __name__ == "__main__":
    sys.exit(main())
