"""Take a Ray node out of service without losing what runs on it: `python -m deployments.leave SECONDS`.

Kubernetes runs it before it ends a worker's pod (k8s/overlays/production): Ray itself gives what runs 30 s from SIGTERM
on (measured, 2.60), and a video takes minutes. A node that is drained gets no replica any more; Serve starts others
elsewhere, and those here finish what they have and end.
"""

import os
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
LOOK_EVERY_S = 1.0
MOST_SILENT = 120
"""A head that does not answer so many looks has gone with the cluster: nobody is left to end the replicas."""
DRAIN_PATIENCE_S = 30.0


class Departure:
    """The way out of one node, which takes `seconds` at most. `names` tells the commands of its processes."""

    def __init__(self, names: Callable[[], Iterable[str]], head_answers: Callable[[], bool], seconds: float) -> None:
        self._names = names
        self._head_answers = head_answers
        self._give_up = time.monotonic() + seconds
        self._silent = 0

    def drain(self, drain: Callable[[int], bool]) -> bool:
        """Ask for the drain until it is granted: a head that is being replaced is away for a minute or two."""
        while self._may_go_on():
            if self._head_hears() and drain(max(1, int(self._give_up - time.monotonic()))):
                return True
            time.sleep(LOOK_EVERY_S)
        return False

    def wait(self) -> bool:
        """Wait until this node has ended: no replica runs, and the last clip has left its object store.

        False if a replica is left when the time is over, or the head is gone.
        """
        while self._may_go_on() and any(_is_raylet(name) or name.startswith(REPLICA) for name in self._names()):
            self._head_hears()
            time.sleep(LOOK_EVERY_S)
        return not any(name.startswith(REPLICA) for name in self._names())

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
    command = [ray, "drain-node", *reason, f"--deadline-remaining-seconds={seconds}"]
    try:
        return subprocess.run(command, check=False, timeout=DRAIN_PATIENCE_S).returncode == 0  # noqa: S603
    except subprocess.TimeoutExpired:
        return False


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
    departure = Departure(process_names, head_answers, int(sys.argv[1]))
    return 0 if departure.drain(drain) and departure.wait() else 1


if __name__ == "__main__":
    sys.exit(main())
